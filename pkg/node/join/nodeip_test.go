package join

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

func TestTheNodeGetsTheAddressOfTheMachine(t *testing.T) {
	public := spec.Interface{
		Name: "eth0", Addresses: []string{"203.0.113.5", "2001:db8::5"}, Default4: true,
		Default6: true,
	}
	private := spec.Interface{Name: "eth1", Addresses: []string{"10.0.0.5", "fd00::5"}}
	vlan := spec.Interface{Name: "bond0.7", Addresses: []string{"172.16.7.5"}}
	for name, test := range map[string]struct {
		address    string
		interfaces []spec.Interface
		dns        string
		args       []spec.Arg
		nodeIP     string
		remark     string
	}{
		"on the second interface": {
			address: "10.0.0.5", interfaces: []spec.Interface{public, private}, nodeIP: "10.0.0.5",
			remark: "The node gets the address 10.0.0.5 of eth1, at which the machine is reached",
		},
		"on a VLAN": {
			address: "172.16.7.5", interfaces: []spec.Interface{public, private, vlan}, nodeIP: "172.16.7.5",
			remark: "of bond0.7",
		},
		"IPv6 on the second interface": {
			address: "fd00::5", interfaces: []spec.Interface{public, private}, dns: "fd01::a", nodeIP: "fd00::5",
			remark: "The node gets the address fd00::5 of eth1",
		},
		"on the default route's interface": {address: "203.0.113.5", interfaces: []spec.Interface{public, private}},
		"the only one":                     {address: "203.0.113.5", interfaces: []spec.Interface{public}},
		"no default route":                 {address: "10.0.0.5", interfaces: []spec.Interface{private, vlan}},
		"a default route of the other family": {
			address: "10.0.0.5", interfaces: []spec.Interface{{
				Name: "eth0", Addresses: []string{"fd00::1"},
				Default6: true,
			}, private},
		},
		"behind NAT": {
			address: "198.51.100.9", interfaces: []spec.Interface{public, private},
			remark: "has the interfaces eth0 (203.0.113.5, 2001:db8::5), eth1 (10.0.0.5, fd00::5), and the node gets",
		},
		"a name, one interface": {interfaces: []spec.Interface{public}},
		"a name, several interfaces": {interfaces: []spec.Interface{public, private}, remark: "has the interfaces " +
			"eth0"},
		"set in the documents": {
			address: "10.0.0.5", interfaces: []spec.Interface{public, private},
			args: []spec.Arg{{Name: "node-ip", Value: "203.0.113.5"}},
		},
		"IPv6 cluster, reached over IPv4": {
			address: "203.0.113.5", interfaces: []spec.Interface{public}, dns: "fd01::a", nodeIP: "::",
		},
		"IPv6 cluster, reached over IPv6": {
			address: "2001:db8::5", interfaces: []spec.Interface{public}, dns: "fd01::a", nodeIP: "::",
		},
		"IPv6 cluster, reached over IPv6 behind NAT": {
			address: "2001:db8::99", interfaces: []spec.Interface{public, private}, dns: "fd01::a", nodeIP: "::",
		},
		"IPv6 cluster, no default route": {
			address: "fd00::5", interfaces: []spec.Interface{private}, dns: "fd01::a", nodeIP: "fd00::5",
		},
		"IPv6 cluster, reached by name": {interfaces: []spec.Interface{public}, dns: "fd01::a", nodeIP: "::"},
		"IPv4 cluster, reached over " +
			"IPv4": {address: "203.0.113.5", interfaces: []spec.Interface{public}, dns: "10.96.0.10"},
	} {
		t.Run(name, func(t *testing.T) {
			j := &spec.Join{Address: test.address}
			j.Registration.KubeletExtraArgs = test.args
			if test.dns != "" {
				j.KubeletConfig = "clusterDNS: [\"" + test.dns + "\"]\n"
			}
			address, remark := nodeIP(j, test.interfaces)
			assert.Equal(t, address, test.nodeIP)
			assert.Assert(t, strings.Contains(remark, test.remark) && (remark == "") == (test.remark == ""), remark)
		})
	}
}

func TestOnlyAJoinSetsTheNodesAddress(t *testing.T) {
	m := nodeWithSettings(t)
	// An IPv6 cluster's node gets "::" on every machine.
	m.join.KubeletConfig = "clusterDNS: [\"fd01::a\"]\n"
	assert.Equal(t, len(currentArgs(m.context)), 0, "a node that joined without stays so")

	registration := renderJoin(withNodeIP(m.host, m.join), "/d", testToken)["nodeRegistration"].(object)
	assert.DeepEqual(t, registration["kubeletExtraArgs"], []spec.Arg{{Name: "node-ip", Value: "::"}})
	m.write(layout.KubeletFlags, "KUBELET_KUBEADM_ARGS=\"--node-ip=::\"\n")
	assert.DeepEqual(t, currentArgs(m.context), []spec.Arg{{Name: "node-ip", Value: "::"}})
	assert.NilError(t, writeGivenSettings(m.context, ""))
	m.remove(layout.KubeletFlags)
	assert.DeepEqual(t, currentArgs(m.context), []spec.Arg{{Name: "node-ip", Value: "::"}}) // the file was lost
}
