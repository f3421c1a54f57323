package addons_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"

	"argosy.dev/argosy/internal/addons"
	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

func TestImagesAreAllThatASiteMustMirror(t *testing.T) {
	for name, document := range map[string]string{"default": "", "everything": file(t, "everything.yaml")} {
		t.Run(name, func(t *testing.T) {
			images, err := addons.Images(cluster(t, document), "")
			assert.NilError(t, err)
			var text strings.Builder
			for _, image := range images {
				text.WriteString(image.Reference + "  " + image.For + "\n")
			}
			golden.Assert(t, text.String(), name+"/images.golden")
		})
	}
}

func TestImagesOfAnotherVersion(t *testing.T) {
	images, err := addons.Images(cluster(t, ""), "v1.35.8")
	assert.NilError(t, err)
	var all []string
	for _, image := range images {
		all = append(all, image.Reference)
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{"kubernetes:v1.35.8-full", "kube-proxy:v1.35.8", "pause:3.10.1"} {
		assert.Assert(t, strings.Contains(text, want), "%s is not among\n%s", want, text)
	}
	assert.Assert(t, !strings.Contains(text, "1.34"), text)
}

func TestImagesHaveTheVersionsOfTheTable(t *testing.T) {
	for _, row := range components.Rows() {
		version := "v" + row.Minor + ".0"
		released, err := components.Versions(version, nil)
		assert.NilError(t, err)
		images, err := addons.Images(cluster(t, ""), version)
		assert.NilError(t, err)
		listed := map[string]bool{}
		for _, image := range images {
			listed[image.Reference] = true
		}
		for _, want := range []string{
			"registry.k8s.io/kas-network-proxy/proxy-agent:v" + released["konnectivity"],
			"registry.k8s.io/pause:" + released["pause"],
			"docker.io/coredns/coredns:" + components.AddonVersion(components.CoreDNS),
			"ghcr.io/flannel-io/flannel:v" + components.AddonVersion(components.Flannel),
		} {
			assert.Assert(t, listed[want], "Kubernetes %s: %s is not among %v", version, want, images)
		}
	}
}

func TestImagesNeedAVersion(t *testing.T) {
	existing := config.Defaults()
	existing.Fleet.Cluster.KubeconfigSecret = "team-a-kubeconfig"
	_, err := addons.Images(&existing, "")
	assert.ErrorContains(t, err, "name no version of Kubernetes")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

func TestImagesOfUnsupportedVersionsAreNotGuessed(t *testing.T) {
	for _, version := range []string{"v1.28.3", "v1.99.0", "v1.34", "latest"} {
		_, err := addons.Images(cluster(t, ""), version)
		assert.ErrorContains(t, err, `listing the images of Kubernetes "`+version+`": Argosy supports v1.`)
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
}

func TestEveryImageOfAnObjectIsListed(t *testing.T) {
	everything := addons.WithAll(cluster(t, ""))
	images, err := addons.Images(everything, "")
	assert.NilError(t, err)
	listed := map[string]bool{}
	for _, image := range images {
		listed[image.Reference] = true
	}
	for owner, spec := range pods(t, wanted(t, everything, facts)) {
		for _, container := range append(spec.InitContainers, spec.Containers...) {
			assert.Assert(t, listed[container.Image], "%s: %s", owner, container.Image)
		}
	}
}
