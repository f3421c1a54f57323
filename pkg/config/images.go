package config

import (
	"strings"

	"argosy.dev/argosy/internal/imageref"
)

// fullImage ends the tag of an image that carries node bundles too.
const fullImage = "-full"

// ControlPlaneImage returns the image with the control plane's binaries: registry, repository and tag of
// controlPlane.distro.k8s.image, or the version as the tag. With privateNodes.importNodeBinaries it is the one that
// carries node bundles too, whose tag ends in "-full".
func (c *Cluster) ControlPlaneImage() string {
	k8s := c.VCluster.ControlPlane.Distro.K8s
	image := k8s.Image
	if image.Tag == "" {
		image.Tag = c.KubernetesVersion()
	}
	if c.VCluster.PrivateNodes.ImportNodeBinaries && !strings.HasSuffix(image.Tag, fullImage) {
		image.Tag += fullImage
	}
	return c.ImageRef(image.Reference())
}

// Reference returns the image in one word, as pods name it. It begins with a registry only where i names one.
func (i Image) Reference() string {
	name := i.Repository + ":" + i.Tag
	if i.Registry != "" {
		return i.Registry + "/" + name
	}
	return name
}

// ImageRef replaces an image's registry by controlPlane.advanced.defaultImageRegistry. An image without a registry
// is Docker Hub's: "busybox:1.36" means "docker.io/library/busybox:1.36". Without that setting the image stays as it
// is.
//
//	ghcr.io/flannel-io/flannel:v0.26.7   registry.example.com/flannel-io/flannel:v0.26.7
//	coredns/coredns:1.12.1               registry.example.com/coredns/coredns:1.12.1
//	busybox:1.36.1                       registry.example.com/library/busybox:1.36.1
func (c *Cluster) ImageRef(image string) string {
	registry := c.VCluster.ControlPlane.Advanced.DefaultImageRegistry
	if registry == "" {
		return image
	}
	return imageref.InRegistry(image, registry)
}

// VersionOfImage returns the Kubernetes version in the tag of a control plane's image, as "v1.34.4"; "" when there is
// none.
func VersionOfImage(image string) string {
	if version := normalVersion(imageref.Tag(image)); isVersion(version) {
		return version
	}
	return ""
}
