package controlplane

import (
	"fmt"
	"os"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/pod-security-admission/api"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/errclass"
)

// tenant returns the cluster's Namespace with a PodSecurity level; "" for none.
func tenant(level string) *corev1.Namespace {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "tenant"}}
	if level != "" {
		namespace.Labels = map[string]string{api.EnforceLevelLabel: level}
	}
	return namespace
}

func TestEveryPodOfOursPassesRestricted(t *testing.T) {
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	check := func(t *testing.T, name string, pod *corev1.PodTemplateSpec) {
		t.Helper()
		beyond, err := beyondLevel(restricted, pod)
		assert.NilError(t, err)
		assert.Check(t, beyond == "", "%s: %s", name, beyond)
	}
	for name, vcluster := range map[string]string{
		"sqlite": controlplanetest.SQLite, "etcd": controlplanetest.With(controlplanetest.EtcdSection),
		"external": controlplanetest.With(controlplanetest.ExternalSection),
		"custom":   controlplanetest.With(controlplanetest.CustomSection),
		"bundles": controlplanetest.Replace(controlplanetest.SQLite, "{enabled: true}",
			"{enabled: true, importNodeBinaries: true}"),
	} {
		t.Run(name, func(t *testing.T) {
			p := provisioner(t, vcluster, tenant("restricted"))
			assert.NilError(t, p.CheckPods(t.Context()))
			set, err := p.controlPlane("")
			assert.NilError(t, err)
			check(t, "control plane", &set.Spec.Template)
			if name == "etcd" {
				set, err = p.etcd("", keptOfEtcd{})
				assert.NilError(t, err)
				check(t, "etcd", &set.Spec.Template)
			}
			for _, job := range []Job{
				{Component: hosted.Backup, ReadsCluster: true, Store: true},
				{Component: hosted.Backup, Store: true, After: 7, Holding: true},
			} {
				made, err := p.RenderJob(job)
				assert.NilError(t, err)
				check(t, "Job", &made.Spec.Template)
				assert.NilError(t, p.CheckJob(t.Context(), made))
			}
		})
	}
}

// The plugin is a container in the pod of Argo's agent.
func TestThePluginsContainerPassesRestricted(t *testing.T) {
	text, err := os.ReadFile("../../install/plugin/argosy-executor-plugin-configmap.yaml")
	assert.NilError(t, err)
	var plugin corev1.ConfigMap
	assert.NilError(t, yaml.Unmarshal(text, &plugin))
	var container corev1.Container
	assert.NilError(t, yaml.Unmarshal([]byte(plugin.Data["sidecar.container"]), &container))
	assert.Assert(t, container.Name != "")
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	beyond, err := beyondLevel(restricted, &corev1.PodTemplateSpec{
		Spec: corev1.PodSpec{Containers: []corev1.Container{container}},
	})
	assert.NilError(t, err)
	assert.Equal(t, beyond, "")
}

func TestPodsBeyondTheNamespacesLevelAreRefused(t *testing.T) {
	const sets = "controlPlane:\n  statefulSet: "
	const etcd = "controlPlane:\n  backingStore: {etcd: {deploy: {enabled: true, statefulSet: "
	sidecar := func(settings string) string {
		return sets + "{sidecarContainers: [{name: a, image: a, " + settings + "}]}"
	}
	const path = "{persistence: {addVolumes: [{name: h, hostPath: {path: /}}]}}"
	for name, one := range map[string]struct{ section, says string }{
		"privileged":      {sets + "{security: {containerSecurityContext: {privileged: true}}}", "privileged"},
		"a sidecar":       {sidecar("securityContext: {privileged: true}"), "privileged"},
		"a capability":    {sidecar("securityContext: {capabilities: {add: [SYS_ADMIN]}}"), "SYS_ADMIN"},
		"a host's /proc":  {sidecar("securityContext: {procMount: Unmasked}"), "procMount"},
		"a host's port":   {sidecar("ports: [{containerPort: 1, hostPort: 1}]"), "hostPort"},
		"a host's folder": {sets + path, "hostPath"},
		"an init container": {
			sets + "{initContainers: [{name: a, image: a, securityContext: {privileged: true}}]}", "privileged",
		},
		"no seccomp": {
			sets + "{security: {podSecurityContext: {seccompProfile: {type: Unconfined}}}}", "seccompProfile",
		},
		"etcd privileged": {
			etcd + "{security: {containerSecurityContext: {privileged: true}}}}}}", "etcd.deploy.statefulSet",
		},
		"etcd in a host's folder": {etcd + path + "}}}", "hostPath"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, level := range []string{"", "baseline", "restricted", "privileged ", "unreadable"} {
				p := provisioner(t, controlplanetest.With(one.section), tenant(level))
				if level == "unreadable" {
					p.Host.(*fake.Clientset).PrependReactor("get", "namespaces", namespaceForbidden)
				}
				_, err := allowed(p).Validate(t.Context(), func(string) {})
				assert.ErrorContains(t, err, one.says, "%q", level)
				assert.ErrorContains(t, err, "kubectl label namespace tenant "+
					"pod-security.kubernetes.io/enforce=privileged")
				assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)

				before := len(p.Host.(*fake.Clientset).Actions())
				_, err = p.Provision(t.Context(), false, func(string) {})
				assert.ErrorContains(t, err, one.says, "a step without its plan")
				for _, action := range p.Host.(*fake.Clientset).Actions()[before:] {
					assert.Equal(t, action.GetVerb(), "get", "something was changed before")
				}
			}
			p := provisioner(t, controlplanetest.With(one.section), tenant("privileged"))
			assert.NilError(t, p.CheckPods(t.Context()))
		})
	}
}

func namespaceForbidden(clienttesting.Action) (bool, runtime.Object, error) {
	return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, "tenant", fmt.Errorf("no"))
}

func TestRootIsRefusedOnlyInARestrictedNamespace(t *testing.T) {
	root := controlplanetest.With(
		"controlPlane:\n  statefulSet: {security: {podSecurityContext: {runAsUser: 0, runAsNonRoot: false}}}")
	assert.NilError(t, provisioner(t, root, tenant("")).CheckPods(t.Context()))
	err := provisioner(t, root, tenant("restricted")).CheckPods(t.Context())
	assert.ErrorContains(t, err, "runAsNonRoot")

	job, err := provisioner(t, root).RenderJob(Job{Component: hosted.Backup})
	assert.NilError(t, err)
	assert.NilError(t, provisioner(t, root, tenant("")).CheckJob(t.Context(), job))
	assert.ErrorContains(t, provisioner(t, root, tenant("restricted")).CheckJob(t.Context(), job), "runAsNonRoot")
}
