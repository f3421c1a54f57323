//go:build full

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

func TestDamagedArchiveFailsAndOthersAreImported(t *testing.T) {
	const machine = "m1"
	resetMachines(t, machine)
	mustSucceed(t, teamA(), "join", "machines="+machine)
	damaged := newArchive(t, "registry.example.org/e2e/damaged:v1", nil)
	damaged[len(damaged)/2] ^= 1
	copyArchive(t, machine, "1-damaged.tar", damaged)
	copyArchive(t, machine, "2-whole.tar", newArchive(t, "registry.example.org/e2e/whole:v1", nil))
	another := serveArchive(t, "another.tar", newArchive(t, "registry.example.org/e2e/another:v1", nil))
	another = another[:len(another)-64] + strings.Repeat("0", 64)

	w := mustFail(t, teamA(), "import-images", "machines="+machine, "images=/srv/images,"+another)
	message := step(t, w, machine).Message
	for _, part := range []string{
		"/srv/images/1-damaged.tar: it is damaged", "another.tar: its sha256 is",
		"1 of 3 archives imported: /srv/images/2-whole.tar",
	} {
		assertContains(t, message, part)
	}
	assert.Assert(t, hasImage(t, machine, "registry.example.org/e2e/whole:v1"))
	assert.Assert(t, !hasImage(t, machine, "registry.example.org/e2e/damaged:v1"))
	assert.Assert(t, !hasImage(t, machine, "registry.example.org/e2e/another:v1"))
}

func TestImportRequiresJoinedMachine(t *testing.T) {
	resetMachines(t, "m1")
	w := mustFail(t, teamA(), "import-images", "machines=m1", "images=/srv/images")
	assertContains(t, step(t, w, "m1").Message, "join it first")
}

// The pods run images that were imported during the join, and must not pull them.
func TestJoinImportsImagesOfDocuments(t *testing.T) {
	shows(t, joinNode+"containerd.importImages")
	const machine, name = "m2", "uses-imported-images"
	program, err := os.ReadFile(filepath.Join(env.Source, "bin", "argosy-node"))
	assert.NilError(t, err)
	resetMachines(t, machine)
	pulled := pushArchive(t, newArchive(t, "registry.example.org/e2e/app:v1", program))
	copyArchive(t, machine, "there.tar", newArchive(t, "registry.example.org/e2e/there:v1", program))
	configure(t, site.Overrides{
		Document: plainRegistry,
		VCluster: vcluster(map[string]any{joinNode + "containerd.importImages": []string{
			"/srv/images", "oci://" + pulled,
			serveArchive(t, "served.tar", newArchive(t, "registry.example.org/e2e/served:v1", program)),
		}}),
	})
	mustSucceed(t, teamA(), "join", "machines="+machine)
	assertJoined(t, machine)

	for i, image := range []string{pulled, "registry.example.org/e2e/there:v1", "registry.example.org/e2e/served:v1"} {
		pod := fmt.Sprintf("%s-%d", name, i)
		overrides := `{"spec": {"nodeName": "` + machine + `", "containers": [
			{"name": "app", "image": "` + image + `", "imagePullPolicy": "Never", "args": ["version"]}]}}`
		kubectl(t, teamA(), "delete", "pod", pod, "--ignore-not-found", "--force", "--grace-period=0")
		kubectl(t, teamA(), "run", pod, "--image="+image, "--restart=Never", "--overrides="+overrides)
		t.Cleanup(func() {
			_, _ = teamA().Kubectl(context.Background(), "delete", "pod", pod,
				"--ignore-not-found", "--force", "--grace-period=0")
		})
		kubectl(t, teamA(), "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/"+pod,
			"--timeout="+patience.String())
	}

	again := run(t, teamA(), "join", "machines="+machine)
	message := step(t, again, "plan").Message
	assertContains(t, message, "0 of 1 machines to join, 1 as wanted already")
}
