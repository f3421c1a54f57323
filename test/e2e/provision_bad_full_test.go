//go:build full

package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

func TestProvisionFailureNamesCause(t *testing.T) {
	for i, tt := range []struct {
		name     string
		vcluster func(document map[string]any)
		prepare  func(t *testing.T, cluster *site.HostedCluster)
		step     string
		// want is a part of the step's message; CLUSTER stands for the cluster's name.
		want string
	}{
		{
			"networks that overlap", func(d map[string]any) { site.Set(d, "networking.serviceCIDR", "10.64.128.0/17") },
			nil, "validate", "overlap",
		},
		{"a load balancer that gives no address", func(d map[string]any) {
			site.Set(d, "controlPlane.service.spec.loadBalancerClass", "example.com/none")
		}, nil, "control-plane", "no load balancer of the host cluster gave it one"},
		{"an image that can't be pulled", func(d map[string]any) {
			site.Set(d, "controlPlane.distro.k8s.image.tag",
				"v1.37.99")
		}, nil, "control-plane", "kubernetes:v1.37.99-full"},
		{"a volume that stays pending", func(d map[string]any) {
			site.Set(d, "controlPlane.statefulSet.persistence.volumeClaim.storageClass", "no-such-class")
		}, nil, "control-plane", "PersistentVolumeClaim CLUSTER-data is pending (StorageClass no-such-class)"},
		{"a folder of a host", func(d map[string]any) {
			site.Set(d, "controlPlane.statefulSet.persistence.addVolumes",
				[]any{map[string]any{"name": "host", "hostPath": map[string]any{"path": "/"}}})
		}, nil, "validate", "hostPath"},
		{"a quota that is used up", nil, func(t *testing.T, cluster *site.HostedCluster) {
			hostKubectl(t, cluster, "create", "quota", "small", "--hard=persistentvolumeclaims=0")
		}, "control-plane", "exceeded quota"},
		{"a missing permission", nil, func(t *testing.T, cluster *site.HostedCluster) {
			hostKubectl(t, cluster, "delete", "rolebinding", "argosy-provision")
			hostKubectl(t, cluster, "create", "role", "reader", "--verb=get,list",
				"--resource=configmaps,secrets")
			hostKubectl(t, cluster, "create", "rolebinding", "reader", "--role=reader",
				"--serviceaccount="+cluster.Name+":argosy-executor-plugin")
		}, "validate", "statefulsets.apps"},
		{"a data source that is none", func(d map[string]any) {
			site.Set(d, "controlPlane.backingStore.database.external",
				map[string]any{"enabled": true, "connector": "database"})
		}, func(t *testing.T, cluster *site.HostedCluster) {
			hostKubectl(t, cluster, "create", "secret", "generic", "database",
				"--from-literal=dataSource=host=db")
		}, "validate", "does not begin with postgres:// or mysql://"},
		{"a database that does not answer", func(d map[string]any) {
			site.Set(d, "controlPlane.backingStore.database.external",
				map[string]any{"enabled": true, "connector": "database"})
		}, func(t *testing.T, cluster *site.HostedCluster) {
			hostKubectl(t, cluster, "create", "secret", "generic", "database",
				"--from-literal=dataSource=postgres://kine:s3cret@10.117.0.1:1/kine")
		}, "control-plane", "connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cluster := env.HostedCluster(fmt.Sprintf("team-d%d", i))
			cluster.VCluster = tt.vcluster
			cluster.Fleet = func(document map[string]any) { site.Set(document, "controlPlane.timeout", "40s") }
			assert.NilError(t, cluster.Remove(t.Context()))
			t.Cleanup(func() { assert.NilError(t, cluster.Remove(context.Background())) })
			assert.NilError(t, cluster.Install(t.Context()))
			if tt.prepare != nil {
				tt.prepare(t, cluster)
			}
			message := step(t, mustFail(t, cluster, "provision"), tt.step).Message
			assertContains(t, message, strings.ReplaceAll(tt.want, "CLUSTER", cluster.Name))
			assert.Assert(t, !strings.Contains(message, "s3cret"), message)
		})
	}
}
