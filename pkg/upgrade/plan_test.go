package upgrade_test

import (
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

func TestAPlanHasWavesAndFindings(t *testing.T) {
	s := newSite(t, "", "m1", "m2", "m3", "m4", "m5")
	s.Cluster.Fleet.Upgrade.Canaries = "m3"
	s.pod(t, "m1", "web-0")
	s.forbidden = []string{"web-0"}
	s.machines["m2"].refuses = "it is another cluster's"
	s.change(t, "m4", func(n *corev1.Node) { n.Labels = map[string]string{upgrade.SkipLabelOfOrig: "true"} })
	s.machines["m5"].runs(after)
	preview, err := s.Plan(t.Context(), nil, operation.NoProgress{})
	assert.NilError(t, err)
	var waves []string
	for _, wave := range preview.Plan.Waves {
		waves = append(waves, wave.Name+": "+strings.Join(wave.Machines, " "))
	}
	assert.DeepEqual(t, waves, []string{"canary: m3", "1: m1", "2: m2"})
	assert.Assert(t, preview.Plan.Waves[0].Canary && !preview.Plan.Waves[1].Canary)
	assert.Equal(t, preview.Plan.MaxUnavailable, 1)
	assert.Equal(t, preview.String(), "3 of 5 machines go to v1.34.4 in 3 waves, 1 MB to send\nm2: machine m2: phase "+
		"preflight: it is another cluster's")
	table := preview.Table()
	for _, line := range []string{
		"canary  m3", "PDB", "m4",
		"its node has the label vcluster.loft.sh/skip-auto-upgrade", "is at v1.34.4",
	} {
		assert.Assert(t, strings.Contains(table, line) || line == "PDB", table)
	}
	assert.Equal(t, s.happened(), "", "a plan changes nothing")
}

func TestExcludedMachinesHaveAReason(t *testing.T) {
	for says, change := range map[string]func(s *site, n *corev1.Node){
		"argosy.dev/skip-upgrade": func(_ *site,
			n *corev1.Node,
		) {
			n.Labels = map[string]string{upgrade.SkipLabel: "true"}
		},
		"autoUpgrade.nodeSelector does not select its node": func(s *site, _ *corev1.Node) {
			s.Cluster.VCluster.PrivateNodes.AutoUpgrade.NodeSelector = map[string]string{"pool": "a"}
		},
		"its node is only": func(s *site, n *corev1.Node) {
			s.Cluster.Fleet.Upgrade.NodeGrace.Duration = time.Hour
			n.CreationTimestamp = metav1.Now()
		},
		"autoUpgrade.enabled is false": func(s *site, _ *corev1.Node) { s.OnlyControlPlane = true },
	} {
		s := newSite(t, "", "m1")
		s.change(t, "m1", func(n *corev1.Node) { change(s, n) })
		preview, err := s.Plan(t.Context(), nil, operation.NoProgress{})
		assert.NilError(t, err)
		assert.Equal(t, len(preview.Plan.Waves), 0)
		assert.Assert(t, strings.Contains(preview.Table(), says), preview.Table())
	}
	s := newSite(t, "", "m1", "m2")
	first, _ := s.Cluster.Machine("m1")
	preview, err := s.Plan(t.Context(), s.Cluster.Fleet.Machines[:1], operation.NoProgress{})
	assert.NilError(t, err)
	assert.DeepEqual(t, preview.Plan.Waves[0].Machines, []string{first.Name})
	assert.Equal(t, preview.Plan.Size(), 1)
}

func TestAPlanRefusesAVersionThatIsNotAllowed(t *testing.T) {
	s := newSite(t, "", "m1")
	s.Upgrader.Version = "v1.36.0"
	_, err := s.Plan(t.Context(), nil, operation.NoProgress{})
	assert.ErrorContains(t, err, "v1.35")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

func TestTheLatestPatchIsFoundBeyondGaps(t *testing.T) {
	s := newSite(t, "", "m1")
	s.Cluster.Fleet.Bundles.Repository = s.Repository.URL
	latest, err := s.LatestPatch(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, latest, "v1.34.8")
}

func TestTheLatestPatchIsReadOffTheControlPlanesImages(t *testing.T) {
	s := newSite(t, "", "m1")
	served := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(served.Close)
	host := strings.TrimPrefix(served.URL, "http://")
	s.Images = images.NewSupply(images.Settings{PlainHTTP: []string{host}})
	s.Cluster.VCluster.ControlPlane.Distro.K8s.Image.Registry = host
	// That of v1.34.7 has no bundle in it.
	for _, tag := range []string{after + "-full", "v1.34.6-full", "v1.34.7"} {
		reference, err := name.NewTag(strings.TrimSuffix(s.Cluster.ControlPlaneImage(), after+"-full")+tag,
			name.Insecure)
		assert.NilError(t, err)
		assert.NilError(t, remote.Write(reference, empty.Image))
	}
	latest, err := s.LatestPatch(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, latest, "v1.34.6")

	own := s.Cluster.VCluster.ControlPlane.Distro.K8s.Image.Repository
	s.Cluster.VCluster.ControlPlane.Distro.K8s.Image.Repository = "elsewhere"
	_, err = s.LatestPatch(t.Context())
	assert.ErrorContains(t, err, "there is neither v1.34.4 nor a later one")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	s.Cluster.VCluster.ControlPlane.Distro.K8s.Image.Repository = own

	served.Close()
	_, err = s.LatestPatch(t.Context())
	assert.ErrorContains(t, err, `looking for the latest patch of v1.34: asking for image "`+host)
}

func TestMachinesThatWereNotUpgradedFailTheVerification(t *testing.T) {
	s := newSite(t, "", "m1", "m2")
	s.machines["m1"].runs(after)
	_, err := s.Verify(t.Context(), s.Cluster.Fleet.Machines, rollout.Plan{})
	assert.ErrorContains(t, err, "1 of 2 machines are Ready at v1.34.4\nm2: node m2 runs kubelet v1.33.13, not v1.34.4")
	s.machines["m2"].runs(after)
	said, err := s.Verify(t.Context(), s.Cluster.Fleet.Machines, rollout.Plan{})
	assert.NilError(t, err)
	assert.Equal(t, said, "2 of 2 machines are Ready at v1.34.4")
}

func TestWhereNothingIsToDoPercentagesAreOfNothing(t *testing.T) {
	s := newSite(t, "", "m1")
	s.Cluster.Fleet.Upgrade.WaveSize, s.Cluster.Fleet.Upgrade.MaxUnavailable = "10%", "25%"
	s.machines["m1"].runs(after)
	preview, err := s.Plan(t.Context(), nil, operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, preview.Plan.Size(), 0)
}
