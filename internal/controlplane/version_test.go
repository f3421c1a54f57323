package controlplane

import (
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/errclass"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

func TestVersionsThatMayFollow(t *testing.T) {
	for _, tt := range []struct {
		name, wants string
		pods        map[string]bool // versions of API servers, and whether they came up
		says        string
	}{
		{"the same", "v1.34.4", nil, ""},
		{"a later patch", "v1.34.9", map[string]bool{"v1.34.4": true}, ""},
		{"the next minor", "v1.35.0", map[string]bool{"v1.34.4": true}, ""},
		{"two minors up", "v1.36.0", map[string]bool{"v1.34.4": true}, "provision a version of v1.35 first"},
		{"two minors up while no pod is there", "v1.36.0", nil, "provision a version of v1.35 first"},
		{"an earlier patch", "v1.34.3", map[string]bool{"v1.34.4": true}, "write v1.34.4 or a later one, up to v1.35"},
		{
			"an earlier minor", "v1.33.9",
			map[string]bool{"v1.34.4": true},
			"is v1.33.9, and the control plane runs v1.34.4",
		},
		{"back from one that never came up", "v1.33.9", map[string]bool{"v1.33.9": true, "v1.34.4": false}, ""},
		{"back from the first, which never came up", "v1.33.9", map[string]bool{"v1.34.4": false}, ""},
		{
			"back from one that came up beside another", "v1.33.9",
			map[string]bool{"v1.33.9": true, "v1.34.4": true},
			"write v1.34.4 or a later one",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := existing(t, controlplanetest.SQLite)
			addAPIServers(t, p, tt.pods)
			changeDocuments(t, p, controlplanetest.Replace(controlplanetest.SQLite, "v1.34.4", tt.wants))
			_, _, err := p.ensureKeys(t.Context())
			if tt.says == "" {
				assert.NilError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.says)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}

// addAPIServers adds a pod of the control plane for each version, with whether its API server came up.
func addAPIServers(t *testing.T, p *Provisioner, versions map[string]bool) {
	t.Helper()
	for version, up := range versions {
		controlplanetest.Add(t, p.Cluster, &corev1.Pod{
			ObjectMeta: controlplanetest.Meta(p.Cluster, "team-a-control-plane-"+version, hosted.ControlPlane),
			Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name:  hosted.APIServer,
				Image: "kubernetes:" + version + "-full",
			}}},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
				Name:    hosted.APIServer,
				Started: &up,
			}}},
		})
	}
}

func TestImageTagThatIsNoVersionIsNotChecked(t *testing.T) {
	const own = "{image: {tag: v1.34.4}, apiServer: {image: registry.example.com/kube-apiserver:nightly}}"
	p := existing(t, controlplanetest.Replace(controlplanetest.SQLite, "{image: {tag: v1.34.4}}", own))
	changeDocuments(t, p, controlplanetest.Replace(controlplanetest.SQLite, "v1.34.4", "v1.32.1"))
	_, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
}

func TestTheRunningVersionIsThatOfTheNewestAPIServer(t *testing.T) {
	for name, c := range map[string]struct {
		documents string
		pods      map[string]bool // versions of API servers, and whether they came up
		running   string
	}{
		"documents behind":              {"v1.33.9", map[string]bool{"v1.34.4": true}, "v1.34.4"},
		"documents ahead":               {"v1.36.5", map[string]bool{"v1.34.4": true}, "v1.34.4"},
		"no pods":                       {"v1.33.9", nil, "v1.34.4"},
		"an upgrade not up yet":         {"v1.34.4", map[string]bool{"v1.33.9": true, "v1.34.4": false}, "v1.33.9"},
		"one of two upgraded":           {"v1.34.4", map[string]bool{"v1.33.9": true, "v1.34.4": true}, "v1.34.4"},
		"the first pod before it is up": {"v1.33.9", map[string]bool{"v1.34.4": false}, "v1.34.4"},
	} {
		t.Run(name, func(t *testing.T) {
			p := existing(t, controlplanetest.SQLite)
			addAPIServers(t, p, c.pods)
			changeDocuments(t, p, controlplanetest.Replace(controlplanetest.SQLite, "v1.34.4", c.documents))
			running, err := p.RunningVersion(t.Context())
			assert.NilError(t, err)
			assert.Equal(t, running, c.running)
		})
	}
	running, err := provisioner(t, controlplanetest.SQLite).RunningVersion(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, running, "v1.34.4", "without a control plane the documents'")
}

func TestARestoreTakesTheVersionOfItsArchive(t *testing.T) {
	for name, c := range map[string]struct{ documents, archive, version, says string }{
		"no version in the documents":       {unversioned, "v1.33.13", "v1.33.13", ""},
		"the same version":                  {controlplanetest.SQLite, "v1.34.4", "v1.34.4", ""},
		"an older archive":                  {controlplanetest.SQLite, "v1.33.13", "v1.34.4", ""},
		"an archive of a later minor":       {controlplanetest.SQLite, "v1.35.8", "v1.35.8", ""},
		"an archive of a later patch":       {controlplanetest.SQLite, "v1.34.12", "v1.34.12", ""},
		"an archive of two versions before": {controlplanetest.SQLite, "v1.32.9", "", "one minor version at a time"},
		"an archive of a tag of its own":    {unversioned, "nightly", components.DefaultKubernetes, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := &Provisioner{Cluster: controlplanetest.New(t, c.documents)}
			restored, err := p.ForArchive("a.tar.zst", c.archive)
			if c.says != "" {
				assert.ErrorContains(t, err, c.says)
				assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
				return
			}
			assert.NilError(t, err)
			assert.Equal(t, restored.KubernetesVersion(), c.version)
			behind := c.documents != unversioned && c.version != "v1.34.4"
			assert.Equal(t, restored.upgraded == c.version, behind, "the next provision keeps it")
		})
	}
}
