package config_test

import (
	"encoding/json"
	"errors"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

func TestTheIdentityOfAClusterIsWrittenAsJSON(t *testing.T) {
	identity := parse(t, hostedVCluster, hostedFleet).Identity()
	text, err := json.Marshal(identity)
	assert.NilError(t, err)
	assert.Equal(t, string(text), `{"podCIDR":"10.244.0.0/16","serviceCIDR":"10.96.0.0/12",`+
		`"clusterDomain":"cluster.local","store":"sqlite","privateNodes":true}`)
	var again config.Identity
	assert.NilError(t, json.Unmarshal(text, &again))
	assert.Equal(t, again, identity)
}

func TestTheIdentityOfAClusterCannotBeChanged(t *testing.T) {
	const etcd = "  backingStore: {etcd: {deploy: {enabled: true}}}\n"
	created := config.Identity{
		PodCIDR: "10.244.0.0/16", ServiceCIDR: "10.96.0.0/12", ClusterDomain: "cluster.local",
		Store: "sqlite", PrivateNodes: true,
	}
	for name, test := range map[string]struct {
		vcluster string
		before   func(*config.Identity)
		want     []string
	}{
		"nothing": {hostedVCluster, func(*config.Identity) {}, nil},
		"another way to write a network": {
			hostedVCluster +
				"networking: {podCIDR: 'fd00:0::/64', serviceCIDR: 'fd01::/112'}\n",
			func(i *config.Identity) { i.PodCIDR, i.ServiceCIDR = "fd00::/64", "fd01::/112" }, nil,
		},
		"pods": {
			hostedVCluster + "networking: {podCIDR: 10.64.0.0/16}\n", func(*config.Identity) {},
			[]string{"networking.podCIDR: is 10.64.0.0/16, and the cluster was created with 10.244.0.0/16: every " +
				"node has its part of that network; set it back, or deprovision"},
		},
		"services": {
			hostedVCluster + "networking: {serviceCIDR: 10.128.0.0/16}\n", func(*config.Identity) {},
			[]string{"networking.serviceCIDR: is 10.128.0.0/16, and the cluster was created with 10.96.0.0/12"},
		},
		"domain": {
			hostedVCluster + "networking: {advanced: {clusterDomain: team-a.example.com}}\n",
			func(*config.Identity) {},
			[]string{"networking.advanced.clusterDomain: is team-a.example.com, and the cluster was created with " +
				"cluster.local"},
		},
		"machines of its own": {
			hostedVCluster, func(i *config.Identity) { i.PrivateNodes = false },
			[]string{"privateNodes.enabled: is true, and the cluster was created with false"},
		},
		"into etcd": {
			hostedVCluster + etcd, func(*config.Identity) {},
			[]string{"controlPlane.backingStore: is etcd, and the cluster was created with sqlite: provisioning " +
				"moves no data", "deprovision and restore"},
		},
		"out of etcd": {
			hostedVCluster, func(i *config.Identity) { i.Store = config.StoreEtcd },
			[]string{"controlPlane.backingStore: is sqlite, and the cluster was created with etcd: only a change " +
				"into etcd is possible; set it back"},
		},
		"all at once": {
			hostedVCluster, func(i *config.Identity) { *i = config.Identity{Store: config.StoreExternal} },
			[]string{
				"privateNodes.enabled", "networking.podCIDR", "networking.serviceCIDR",
				"networking.advanced.clusterDomain", "controlPlane.backingStore",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := created
			test.before(&before)
			err := parse(t, test.vcluster, hostedFleet).CheckImmutable(before)
			if len(test.want) == 0 {
				assert.NilError(t, err)
				return
			}
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			for _, want := range test.want {
				assert.Assert(t, cmp.Contains(err.Error(), want))
			}
			var problems config.Problems
			assert.Assert(t, errors.As(err, &problems))
		})
	}
}

func TestTheFirstServiceAddressesAreForApiserverAndDNS(t *testing.T) {
	for network, want := range map[string][2]string{
		"10.96.0.0/12":  {"10.96.0.1", "10.96.0.10"},
		"10.128.0.0/16": {"10.128.0.1", "10.128.0.10"},
		"10.1.2.240/28": {"10.1.2.241", "10.1.2.250"},
		"fd01::/112":    {"fd01::1", "fd01::a"},
	} {
		pods := "10.244.0.0/16"
		if network == "fd01::/112" {
			pods = "fd00::/48"
		}
		c := parse(t, hostedVCluster+"networking: {podCIDR: '"+pods+"', serviceCIDR: '"+network+"'}\n", hostedFleet)
		assert.Equal(t, c.APIServiceIP().String(), want[0])
		assert.Equal(t, c.ClusterDNS().String(), want[1])
	}
	assert.Assert(t, !(&config.Cluster{}).ClusterDNS().IsValid())
}
