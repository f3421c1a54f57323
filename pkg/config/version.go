package config

import (
	"fmt"
	"regexp"
	"strings"

	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/errclass"
)

// kubernetesVersion is a semantic version: no number begins with a zero.
var kubernetesVersion = regexp.MustCompile(`^v(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})` +
	`(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?$`)

// normalVersion returns the one form of a version: "1.37.2" and "v1.37.2-full" are "v1.37.2".
func normalVersion(version string) string {
	version = strings.TrimSuffix(version, fullImage)
	if version != "" && !strings.HasPrefix(version, "v") {
		version = "v" + version
	}
	return version
}

// isVersion reports whether a text in its normal form is a version of Kubernetes. "v1.37.2-full", of which that form
// has taken one "-full" already, is none.
func isVersion(version string) bool {
	return kubernetesVersion.MatchString(version) && !strings.HasSuffix(version, fullImage)
}

// supportedRange returns the range of versions in words.
func supportedRange() string {
	oldest, newest := components.Supported()
	return oldest + " to " + newest
}

// CheckVersion returns an error of class errclass.Configuration for a version of Kubernetes that this release does not
// support, such as "v1.8.0".
func CheckVersion(version string) error {
	switch normal := normalVersion(version); {
	case !isVersion(normal):
		return errclass.Errorf(errclass.Configuration, "reading version %s: not a version of Kubernetes; write e.g. %s",
			shown(version), components.DefaultKubernetes)
	case !components.Usable(normal):
		return errclass.Errorf(errclass.Configuration, "checking version %s of Kubernetes: this release works with "+
			"%s, and supports %s", shown(version), components.UsableRange(), supportedRange())
	}
	return nil
}

// usable checks that a version, which is well-formed, is one that this release works with.
func (d *document) usable(key, written string) {
	if !components.Usable(normalVersion(written)) {
		d.add(key, shown(written)+" is no version that this release works with: it works with "+
			components.UsableRange()+", and supports "+supportedRange(),
			fmt.Sprintf("write e.g. %q", components.DefaultKubernetes))
	}
}

// versionRemarks returns the remark about a version that the documents name and that is not supported any more; none
// for others.
func (c *Cluster) versionRemarks() []string {
	if version := c.KubernetesVersion(); version != "" && !components.Supports(version) {
		return []string{fmt.Sprintf("%s: %s is %s, and this release supports Kubernetes %s: upgrade the cluster",
			VClusterDocument, versionKey, version, supportedRange())}
	}
	return nil
}

// NamesVersion reports whether the documents name a version of Kubernetes.
func (c *Cluster) NamesVersion() bool {
	k8s := c.VCluster.ControlPlane.Distro.K8s
	return k8s.Version != "" || k8s.Image.Tag != ""
}

// KubernetesVersion returns the version that the cluster should have, as "v1.37.2", from
// controlPlane.distro.k8s.version or image.tag. When neither is set it is the default of this release for a hosted
// cluster, and "" for one that exists, which means the API server's version. A hosted cluster that exists keeps the
// version that it has: see [Identity].
func (c *Cluster) KubernetesVersion() string {
	k8s := c.VCluster.ControlPlane.Distro.K8s
	version := k8s.Version
	if version == "" {
		version = k8s.Image.Tag
	}
	if version == "" && c.Hosted() {
		version = components.DefaultKubernetes
	}
	return normalVersion(version)
}

// AtVersion returns the same cluster at another version than that of its document. It returns an error of class
// errclass.Configuration if the document names an image whose tag is no version.
func (c *Cluster) AtVersion(version string) (*Cluster, error) {
	const key = "controlPlane.distro.k8s.image.tag"
	if !isVersion(version) {
		return nil, errclass.Errorf(errclass.Configuration,
			"reading version %q: not a Kubernetes version; write e.g. v1.37.2", version)
	}
	other := *c
	k8s := &other.VCluster.ControlPlane.Distro.K8s
	if tag := k8s.Image.Tag; tag != "" {
		if !isVersion(normalVersion(tag)) {
			return nil, errclass.Errorf(errclass.Configuration,
				"setting version %s: %s in %s is %q, which is no version; write the image of %s there",
				version, key, VClusterDocument, tag, version)
		}
		k8s.Image.Tag = version
		if strings.HasSuffix(tag, fullImage) {
			k8s.Image.Tag += fullImage
		}
	}
	if k8s.Version != "" || k8s.Image.Tag == "" {
		k8s.Version = version
	}
	return &other, nil
}
