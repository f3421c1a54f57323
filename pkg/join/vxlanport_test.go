package join_test

import (
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/node/spec"
)

// The port that firewalls must let through is that of the cluster's flannel:
//
//	cluster             | flannel             | port
//	hosted              | as by default       | 8472
//	hosted              | port: 4789          | 4789
//	hosted              | backend: host-gw    | none
//	hosted              | enabled: false      | none
//	exists              |                     | not known
func TestFirewallsAreToldThePortOfFlannel(t *testing.T) {
	for name, tt := range map[string]struct {
		exists            bool
		vcluster, flannel string
		port              int
	}{
		"by default":       {port: 8472},
		"another port":     {flannel: "flannel: {port: 4789}", port: 4789},
		"host-gw":          {flannel: "flannel: {backend: host-gw}"},
		"another network":  {vcluster: "deploy: {cni: {flannel: {enabled: false}}}"},
		"existing cluster": {exists: true},
	} {
		t.Run(name, func(t *testing.T) {
			secret := ""
			if tt.exists {
				secret = "cluster: {kubeconfigSecret: kubeconfig}\n"
			}
			cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"+tt.vcluster+"\n"),
				fmt.Appendf(nil, "apiVersion: argosy.dev/v1alpha1\nkind: Fleet\n%s%s\n"+
					"machines: [{name: m1, address: 192.0.2.1}]\n", secret, tt.flannel))
			assert.NilError(t, err)
			machine := &fakeMachine{plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}}
			joiner := newJoiner(t, machine, newClient())
			joiner.Cluster.VCluster, joiner.Cluster.Fleet.Flannel = cluster.VCluster, cluster.Fleet.Flannel
			joiner.Cluster.Fleet.Cluster = cluster.Fleet.Cluster
			found, err := joiner.Inspect(t.Context(), firstMachine(joiner), spec.KindJoin)
			assert.NilError(t, err)
			assert.Equal(t, found.Operation.Join.VXLANPort, tt.port)
		})
	}
}
