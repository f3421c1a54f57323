package controlplane

import (
	"slices"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

// everyPod returns each pod that runs for a cluster, by its purpose.
func everyPod(t *testing.T, p *Provisioner) map[string]corev1.PodSpec {
	t.Helper()
	set, err := p.controlPlane("digest")
	assert.NilError(t, err)
	pods := map[string]corev1.PodSpec{"control plane": set.Spec.Template.Spec}
	if p.Cluster.Store().Kind == config.StoreEtcd {
		set, err := p.etcd("digest", keptOfEtcd{})
		assert.NilError(t, err)
		pods["etcd"] = set.Spec.Template.Spec
	}
	for name, job := range map[string]Job{
		"backup":  {Component: hosted.Backup, ReadsCluster: true, Store: true, Args: p.StoreFlags()},
		"restore": {Component: hosted.Restore, Store: true, Holding: !p.Persists(), Args: p.StoreFlags()},
	} {
		if pods[name], err = p.jobPod(job); err != nil {
			t.Fatal(err)
		}
	}
	return pods
}

// filesIn returns the files that a container has in certsDir, and the Secrets that it has as a whole.
func filesIn(pod corev1.PodSpec, container corev1.Container) (files, whole []string) {
	for _, mount := range container.VolumeMounts {
		for _, volume := range pod.Volumes {
			if volume.Name != mount.Name {
				continue
			}
			if volume.Secret != nil {
				whole = append(whole, volume.Secret.SecretName)
			}
			if volume.Projected == nil {
				continue
			}
			for _, source := range volume.Projected.Sources {
				if len(source.Secret.Items) == 0 {
					whole = append(whole, source.Secret.Name)
				}
				for _, item := range source.Secret.Items {
					files = append(files, item.Path)
				}
			}
		}
	}
	slices.Sort(files)
	return files, whole
}

func TestContainersHaveOnlyTheKeysOfTheirArguments(t *testing.T) {
	for name, vcluster := range map[string]string{
		"sqlite": controlplanetest.SQLite, "etcd": controlplanetest.With(controlplanetest.EtcdSection),
		"external": controlplanetest.With(controlplanetest.ExternalSection),
	} {
		p := provisioner(t, vcluster)
		for purpose, pod := range everyPod(t, p) {
			for _, container := range append(slices.Clone(pod.InitContainers), pod.Containers...) {
				t.Run(name+"/"+purpose+"/"+container.Name, func(t *testing.T) {
					files, whole := filesIn(pod, container)
					assert.DeepEqual(t, files, certFiles(container))
					if container.Name != "kube-controller-manager" {
						assert.Assert(t, !slices.Contains(files, "ca.key"),
							"the authority's key is the controller manager's alone")
					}
					if container.Name != "kube-controller-manager" && container.Name != "kube-apiserver" {
						assert.Assert(t, !slices.Contains(files, "sa.key"),
							"service accounts' key signs and is used by two")
					}
					// An archive holds all keys, so the container that writes one reads them.
					if purpose == "backup" && container.Name == JobContainer {
						assert.DeepEqual(t, whole, []string{"team-a-pki"})
						return
					}
					assert.Equal(t, len(whole), 0, "%v", whole)
				})
			}
		}
	}
}

func TestUsersCommandGetsTheFilesThatItNames(t *testing.T) {
	p := provisioner(t, controlplanetest.Replace(controlplanetest.SQLite, "image: {tag: v1.34.4}",
		`image: {tag: v1.34.4}, scheduler: {command: [sh, -c, "exec kube-scheduler --kubeconfig=/etc/argosy/certs/scheduler.conf --client-ca-file=/etc/argosy/certs/ca.crt"]}`))
	assert.DeepEqual(t, certFiles(p.scheduler()), []string{"ca.crt", "scheduler.conf"})
}
