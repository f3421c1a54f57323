package config_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

const imageDigest = "sha256:9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0"

func TestTheControlPlanesImageIsComposedOfItsParts(t *testing.T) {
	for name, test := range map[string]struct{ vcluster, want string }{
		"the default": {
			"privateNodes: {enabled: true}\ncontrolPlane: {distro: {k8s: {version: v1.34.4}}}\n",
			"ghcr.io/loft-sh/kubernetes:v1.34.4-full",
		},
		"version without v": {
			"privateNodes: {enabled: true}\ncontrolPlane: {distro: {k8s: {version: 1.34.4}}}\n",
			"ghcr.io/loft-sh/kubernetes:v1.34.4-full",
		},
		"full already": {
			"privateNodes: {enabled: true}\ncontrolPlane: {distro: {k8s: {image: {tag: v1.34.4-full}}}}\n",
			"ghcr.io/loft-sh/kubernetes:v1.34.4-full",
		},
		"without bundles": {
			"privateNodes: {enabled: true, importNodeBinaries: false}\ncontrolPlane: {distro: {k8s: {version: " +
				"v1.34.4}}}\n", "ghcr.io/loft-sh/kubernetes:v1.34.4",
		},
		"an image of one's own": {
			"privateNodes: {enabled: true}\ncontrolPlane: {distro: {k8s: {image: {registry: " +
				"'registry.example.com:5000', repository: k8s/all, tag: v1.34.4}}}}\n",
			"registry.example.com:5000/k8s/all:v1.34.4-full",
		},
		"behind a registry": {
			"privateNodes: {enabled: true}\ncontrolPlane: {distro: {k8s: {version: v1.34.4}}, advanced: " +
				"{defaultImageRegistry: mirror.example.com/hub}}\n",
			"mirror.example.com/hub/loft-sh/kubernetes:v1.34.4-full",
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, parse(t, test.vcluster, hostedFleet).ControlPlaneImage(), test.want)
		})
	}
}

func TestTheDefaultRegistryReplacesAnImagesOwn(t *testing.T) {
	plain := parse(t, hostedVCluster, hostedFleet)
	behind := parse(t, hostedVCluster+"  advanced: {defaultImageRegistry: registry.example.com}\n", hostedFleet)
	for image, want := range map[string]string{
		"ghcr.io/flannel-io/flannel:v0.26.7":       "registry.example.com/flannel-io/flannel:v0.26.7",
		"registry.k8s.io/kube-proxy:v1.34.4":       "registry.example.com/kube-proxy:v1.34.4",
		"localhost/a:1":                            "registry.example.com/a:1",
		"localhost:5000/a/b:1":                     "registry.example.com/a/b:1",
		"coredns/coredns:1.12.1":                   "registry.example.com/coredns/coredns:1.12.1",
		"busybox:1.36.1":                           "registry.example.com/library/busybox:1.36.1",
		"docker.io/busybox:1.36.1":                 "registry.example.com/library/busybox:1.36.1",
		"docker.io/library/busybox@" + imageDigest: "registry.example.com/library/busybox@" + imageDigest,
	} {
		assert.Equal(t, behind.ImageRef(image), want)
		assert.Equal(t, plain.ImageRef(image), image)
	}
}

func TestTheVersionOfAnImageIsThatOfItsTag(t *testing.T) {
	for image, want := range map[string]string{
		"ghcr.io/argosy-dev/kubernetes:v1.34.4-full":     "v1.34.4",
		"registry.example.com:5000/kubernetes:1.34.4":    "v1.34.4",
		"kubernetes:v1.35.0-rc.1@" + imageDigest:         "v1.35.0-rc.1",
		"registry.example.com:5000/kubernetes":           "",
		"registry.example.com/kubernetes:latest":         "",
		"registry.example.com/kubernetes@" + imageDigest: "",
		"": "",
	} {
		assert.Equal(t, config.VersionOfImage(image), want, image)
	}
}
