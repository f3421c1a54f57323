package config

import (
	"fmt"

	"argosy.dev/argosy/pkg/errclass"
)

// Identity holds the settings that a hosted cluster keeps for its whole life. Provisioning stores them beside the
// cluster's keys, and every later run compares.
type Identity struct {
	// PodCIDR and ServiceCIDR are in the addresses of everything that runs.
	PodCIDR     string `json:"podCIDR"`
	ServiceCIDR string `json:"serviceCIDR"`
	// ClusterDomain is in every pod's DNS settings.
	ClusterDomain string `json:"clusterDomain"`
	// Store holds the cluster's state.
	Store StoreKind `json:"store"`
	// PrivateNodes reports that the cluster has machines of its own.
	PrivateNodes bool `json:"privateNodes"`
	// KubernetesVersion is the version that a cluster was created with whose documents named none; such a cluster keeps
	// it. It is not compared.
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
}

// Identity returns the identity of the cluster as the documents describe it now.
func (c *Cluster) Identity() Identity {
	networking := c.VCluster.Networking
	version := ""
	if !c.NamesVersion() {
		version = c.KubernetesVersion()
	}
	return Identity{
		KubernetesVersion: version,
		PodCIDR:           canonical(networking.PodCIDR),
		ServiceCIDR:       canonical(networking.ServiceCIDR),
		ClusterDomain:     networking.Advanced.ClusterDomain,
		Store:             c.Store().Kind,
		PrivateNodes:      c.VCluster.PrivateNodes.Enabled,
	}
}

// CheckImmutable compares the documents with the settings that the cluster was created with. Its error has class
// errclass.Configuration and Problems in its chain, one for each setting that differs.
func (c *Cluster) CheckImmutable(previous Identity) error {
	const setBack = "set it back, or deprovision the cluster and provision it anew"
	wanted := c.Identity()
	var problems Problems
	for _, setting := range []struct{ key, was, is, reason, instead string }{
		{
			"privateNodes.enabled", fmt.Sprint(previous.PrivateNodes), fmt.Sprint(wanted.PrivateNodes),
			"a cluster has machines of its own from the start or never", setBack,
		},
		{"networking.podCIDR", previous.PodCIDR, wanted.PodCIDR, "every node has its part of that network", setBack},
		{
			"networking.serviceCIDR", previous.ServiceCIDR, wanted.ServiceCIDR,
			"every Service has its address in that network", setBack,
		},
		{
			"networking.advanced.clusterDomain", previous.ClusterDomain, wanted.ClusterDomain,
			"every pod looks for Services in that domain", setBack,
		},
		{
			"controlPlane.backingStore", string(previous.Store), string(wanted.Store), storeReason(wanted.Store),
			storeAdvice(wanted.Store),
		},
	} {
		if setting.was != setting.is {
			problems = append(problems, Problem{
				Document: VClusterDocument, Key: setting.key, Suggestion: setting.instead,
				Text: fmt.Sprintf("is %s, and the cluster was created with %s: %s", setting.is, setting.was,
					setting.reason),
			})
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return errclass.Errorf(errclass.Configuration, "comparing cluster %q with its settings at creation: %w", c.Name,
		problems)
}

// storeReason returns the reason why another store is refused. As in the original, a cluster may change to etcd; but
// provisioning moves no data from store to store.
func storeReason(wanted StoreKind) string {
	if wanted == StoreEtcd {
		return "provisioning moves no data from one store to another"
	}
	return "only a change into etcd is possible"
}

func storeAdvice(wanted StoreKind) string {
	if wanted == StoreEtcd {
		return "set it back, or move the data with the workflows deprovision and restore: with the store as it was " +
			"submit deprovision with machines=keep, which makes a final backup; change the store, and submit restore " +
			"with replaceVolumes=true"
	}
	return "set it back, or use controlPlane.backingStore.etcd.deploy"
}
