package addons

import (
	"slices"

	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// Image is one that a site without internet must mirror.
type Image struct {
	// Reference as it is pulled, e.g. "ghcr.io/flannel-io/flannel:v0.26.7".
	Reference string `json:"reference"`
	// For is the name of the component that needs it, e.g. "flannel".
	For string `json:"for"`
}

// Images returns all images that cluster pulls, with the version of Kubernetes given or, when that is empty, of the
// documents: those of the control plane, of the addons that are on and of pods that these start, and pause.
func Images(cluster *config.Cluster, version string) ([]Image, error) {
	at := *cluster
	k8s := &at.VCluster.ControlPlane.Distro.K8s
	if version == "" {
		version = cluster.KubernetesVersion()
	}
	if version == "" {
		return nil, errclass.Errorf(errclass.Configuration,
			"the documents name no version of Kubernetes: set controlPlane.distro.k8s.version, or choose one to list")
	}
	if oldest, newest := components.Supported(); !components.Supports(version) {
		return nil, errclass.Errorf(errclass.Configuration, "listing the images of Kubernetes %q: Argosy supports "+
			"v%s to v%s, written like v%s.0", version, oldest, newest, newest)
	}
	if version != cluster.KubernetesVersion() {
		k8s.Version, k8s.Image.Tag = version, ""
	}
	found := controlPlaneImages(&at)
	// Images do not depend on where the control plane is; these addresses are in no image's name.
	addons, err := Wanted(&at, Facts{
		Version: version, Server: "https://localhost:6443", CACert: "none",
		KonnectivityHost: "localhost", KonnectivityPort: 8132,
	})
	if err != nil {
		return nil, err
	}
	for _, addon := range addons {
		for _, reference := range addon.Images {
			found = append(found, Image{reference, addon.Name})
		}
	}
	pause, err := pauseImage(&at, version)
	return unique(append(found, pause)), err
}

// controlPlaneImages are those that run in the host cluster.
func controlPlaneImages(cluster *config.Cluster) []Image {
	k8s := cluster.VCluster.ControlPlane.Distro.K8s
	found := []Image{{cluster.ControlPlaneImage(), "control plane"}}
	for _, component := range []struct{ name, image string }{
		{"kube-apiserver", k8s.APIServer.Image},
		{"kube-controller-manager", k8s.ControllerManager.Image},
		{"kube-scheduler", k8s.Scheduler.Image},
	} {
		if component.image != "" {
			found = append(found, Image{cluster.ImageRef(component.image), component.name})
		}
	}
	if etcd := cluster.VCluster.ControlPlane.BackingStore.Etcd.Deploy; etcd.Enabled &&
		etcd.StatefulSet.Image.Repository != "" {
		found = append(found, Image{cluster.ImageRef(etcd.StatefulSet.Image.Reference()), "etcd"})
	}
	return found
}

func pauseImage(cluster *config.Cluster, version string) (Image, error) {
	images, err := imagesOf(version)
	if err != nil {
		return Image{}, err
	}
	reference := cluster.VCluster.PrivateNodes.JoinNode.Containerd.PauseImage
	if reference == "" {
		// defaultImageRegistry is not in front of it: the node bundle brings it, under this name.
		reference = images.versions.Replace(table["pause"])
	}
	return Image{reference, "pause, which node bundles bring as well"}, nil
}

// unique keeps the first of those that have the same reference.
func unique(images []Image) []Image {
	seen := map[string]bool{}
	return slices.DeleteFunc(images, func(image Image) bool {
		defer func() { seen[image.Reference] = true }()
		return seen[image.Reference]
	})
}

// WithAll returns a copy of cluster with every addon on, so that its images can be listed.
func WithAll(cluster *config.Cluster) *config.Cluster {
	all := *cluster
	deploy, controlPlane := &all.VCluster.Deploy, &all.VCluster.ControlPlane
	konnectivity := &controlPlane.Advanced.Konnectivity
	for _, enabled := range []*bool{
		&deploy.CNI.Flannel.Enabled, &deploy.KubeProxy.Enabled, &deploy.LocalPathProvisioner.Enabled,
		&deploy.MetalLB.Enabled,
		&deploy.MetricsServer.Enabled, &controlPlane.CoreDNS.Enabled, &konnectivity.Enabled,
		&konnectivity.Server.Enabled, &konnectivity.Agent.Enabled,
	} {
		*enabled = true
	}
	return &all
}
