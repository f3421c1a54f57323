//go:build full

package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// Tests of losses and changes of the stores of provisioned clusters.

const etcdSet = "controlPlane.backingStore.etcd.deploy.statefulSet."

// threeMembers chooses an etcd of three members with volumes of a size.
func threeMembers(size string) func(map[string]any) {
	return func(d map[string]any) {
		site.Set(d, "controlPlane.backingStore.etcd.deploy.enabled", true)
		site.Set(d, etcdSet+"highAvailability.replicas", 3)
		site.Set(d, etcdSet+"persistence.volumeClaim.size", size)
	}
}

func TestEtcdMemberWithoutItsVolumeIsReplaced(t *testing.T) {
	cluster := newCluster(t, threeMembers("2Gi"))
	mustSucceed(t, cluster, "provision")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	failures := make(chan string, 1)
	go func() {
		defer close(failures)
		for i := 0; ctx.Err() == nil; i++ {
			if out, err := cluster.Kubectl(t.Context(), "create", "configmap",
				fmt.Sprintf("written-%d", i)); err != nil {
				failures <- fmt.Sprintf("writing configmap %d: %v: %s", i, err, out)
				return
			}
		}
	}()

	lose := func(member string) {
		hostKubectl(t, cluster, "delete", "pvc", "data-"+member, "--wait=false")
		hostKubectl(t, cluster, "delete", "pod", member, "--wait=true")
	}
	lose("team-c-etcd-1")
	log := func() string {
		out, _ := cluster.HostKubectl(t.Context(), "logs", "team-c-etcd-1", "-c", "etcd")
		return out
	}
	eventually(t, "the member is kept", func() bool {
		return strings.Contains(log(), "team-c-etcd-1 of etcd has no data, and has already been bootstrapped")
	}, log)
	mustSucceed(t, cluster, "provision")
	hostKubectl(t, cluster, "rollout", "status", "statefulset/team-c-etcd", "--timeout="+patience.String())
	lose("team-c-etcd-2")
	mustSucceed(t, cluster, "provision") // it waits for the member, and notices meanwhile that it is lost
	hostKubectl(t, cluster, "rollout", "status", "statefulset/team-c-etcd", "--timeout="+patience.String())
	stop()
	assert.Equal(t, <-failures, "", "writes go on all the while")
	assertContains(t, step(t, mustSucceed(t, cluster, "provision"), "control-plane").Message, "unchanged")
}

func TestVolumesOfEtcdGrowWhereTheirClassAllowsIt(t *testing.T) {
	cluster := newCluster(t, threeMembers("2Gi"))
	mustSucceed(t, cluster, "provision")
	cluster.VCluster = threeMembers("3Gi")
	assert.NilError(t, cluster.ApplyDocuments(t.Context()))
	message := step(t, mustFail(t, cluster, "provision"), "validate").Message
	assertContains(t, message, "does not let PersistentVolumeClaim data-team-c-etcd-0 grow", "allowVolumeExpansion")

	const class = "storageclass/local-path"
	hostKubectl(t, teamA(), "patch", class, "-p", `{"allowVolumeExpansion":true}`)
	t.Cleanup(func() {
		_, _ = env.HostKubectl(context.Background(), "patch", class, "-p", `{"allowVolumeExpansion":null}`)
	})
	mustSucceed(t, cluster, "provision")
	sizes := hostKubectl(t, cluster, "get", "pvc", "-o", "jsonpath={.items[*].spec.resources.requests.storage}")
	assert.Equal(t, sizes, "3Gi 3Gi 3Gi")
	cluster.VCluster = threeMembers("2Gi")
	assert.NilError(t, cluster.ApplyDocuments(t.Context()))
	message = step(t, mustFail(t, cluster, "provision"), "validate").Message
	assertContains(t, message, "a volume does not shrink; write 3Gi or more")
}

func TestARestoreIsNeverBehindItsArchive(t *testing.T) {
	older, newer := lab.Versions[len(lab.Versions)-2], lab.Versions[len(lab.Versions)-1]
	at := func(version string) func(map[string]any) {
		return func(d map[string]any) { site.Set(d, "controlPlane.distro.k8s.image.tag", version) }
	}
	for _, version := range []string{older, newer} {
		_, err := env.Lab.ControlPlaneImage(t.Context(), version)
		assert.NilError(t, err)
	}
	cluster := newCluster(t, at(newer))
	mustSucceed(t, cluster, "provision")
	mustSucceed(t, cluster, "deprovision", "machines=keep")
	cluster.VCluster = at(older)
	assert.NilError(t, cluster.ApplyDocuments(t.Context()))
	restored := mustSucceed(t, cluster, "restore", "replaceVolumes=true")
	assertContains(t, step(t, restored, "restore").Message, "vcluster.yaml has another version: write "+newer)
	assertContains(t, kubectl(t, cluster, "version"), "Server Version: "+newer)
	mustSucceed(t, cluster, "provision")
	assertContains(t, kubectl(t, cluster, "version"), "Server Version: "+newer)
}
