package config

// Hosted reports whether Argosy provisions the control plane: when argosy.yaml names no cluster.kubeconfigSecret.
func (c *Cluster) Hosted() bool { return c.Fleet.Cluster.KubeconfigSecret == "" }

// KubeconfigSecret returns the name of the Secret with the cluster's admin kubeconfig: the user's, or
// "<cluster>-kubeconfig", which provisioning writes.
func (c *Cluster) KubeconfigSecret() string {
	if c.Hosted() {
		return c.Name + "-kubeconfig"
	}
	return c.Fleet.Cluster.KubeconfigSecret
}

// BundlesFromControlPlane reports whether machines get their node bundles from the control plane's own address: for a
// hosted cluster with privateNodes.importNodeBinaries, unless argosy.yaml names a bundles.repository;
// Fleet.Bundles.Repository is empty then.
func (c *Cluster) BundlesFromControlPlane() bool {
	return c.Hosted() && c.VCluster.PrivateNodes.ImportNodeBinaries && c.Fleet.Bundles.Repository == ""
}
