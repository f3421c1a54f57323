package config

import "strings"

// fullImage ends the tag of an image that carries node bundles too.
const fullImage = "-full"

// ControlPlaneImage returns the image with the control plane's binaries: registry, repository and tag of
// controlPlane.distro.k8s.image, or its version as the tag. With privateNodes.importNodeBinaries it is the one that
// carries node bundles too, whose tag ends in "-full".
func (c *Cluster) ControlPlaneImage() string {
	k8s := c.VCluster.ControlPlane.Distro.K8s
	tag := k8s.Image.Tag
	if tag == "" {
		tag = normalVersion(k8s.Version)
	}
	if c.VCluster.PrivateNodes.ImportNodeBinaries && !strings.HasSuffix(tag, fullImage) {
		tag += fullImage
	}
	name := k8s.Image.Repository
	if k8s.Image.Registry != "" {
		name = k8s.Image.Registry + "/" + name
	}
	return c.ImageRef(name + ":" + tag)
}

// ImageRef replaces an image's registry by controlPlane.advanced.defaultImageRegistry. An image without a registry
// is Docker Hub's: "busybox:1.36" means "docker.io/library/busybox:1.36". Without that setting the image stays as it
// is.
//
//	ghcr.io/flannel-io/flannel:v0.26.7   registry.example.com/flannel-io/flannel:v0.26.7
//	coredns/coredns:1.12.1               registry.example.com/coredns/coredns:1.12.1
//	busybox:1.36.1                       registry.example.com/library/busybox:1.36.1
func (c *Cluster) ImageRef(image string) string {
	registry := strings.TrimSuffix(c.VCluster.ControlPlane.Advanced.DefaultImageRegistry, "/")
	if registry == "" {
		return image
	}
	first, rest, found := strings.Cut(image, "/")
	switch {
	case !found:
		return registry + "/library/" + image
	case strings.ContainsAny(first, ".:") || first == "localhost":
		return registry + "/" + rest
	}
	return registry + "/" + image
}

// VersionOfImage returns the Kubernetes version in the tag of a control plane's image, as "v1.34.4"; "" when there is
// none.
func VersionOfImage(image string) string {
	name, _, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], "@")
	_, tag, _ := strings.Cut(name, ":")
	if version := normalVersion(tag); kubernetesVersion.MatchString(version) {
		return version
	}
	return ""
}
