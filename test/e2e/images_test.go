package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/images/archivetest"
	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// imagesFolder is the folder of archives below the lab's web server.
const imagesFolder = "images-e2e"

// newArchive returns an archive of an image that no machine has.
func newArchive(t *testing.T, name string, program []byte) []byte {
	t.Helper()
	image := archivetest.Image{Name: name, Size: 1 << 20, Program: program}
	_, err := rand.Read(image.Seed[:])
	assert.NilError(t, err)
	var archive bytes.Buffer
	_, err = image.WriteLayout(&archive)
	assert.NilError(t, err)
	return archive.Bytes()
}

// serveArchive puts an archive on the lab's web server and returns its URL with its digest.
func serveArchive(t *testing.T, name string, archive []byte) string {
	t.Helper()
	folder := filepath.Join(env.Lab.HTTPDir(), imagesFolder)
	assert.NilError(t, os.MkdirAll(folder, 0o755))
	assert.NilError(t, os.WriteFile(filepath.Join(folder, name), archive, 0o644))
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	digest := sha256.Sum256(archive)
	return fmt.Sprintf("%s/%s/%s#sha256=%s", lab.RepositoryURL, imagesFolder, name, hex.EncodeToString(digest[:]))
}

// pushArchive pushes an archive's image to the lab's registry and returns its reference there.
func pushArchive(t *testing.T, archive []byte) string {
	t.Helper()
	digest := sha256.Sum256(archive)
	file := filepath.Join(t.TempDir(), hex.EncodeToString(digest[:])+".tar") // the lab knows archives by their names
	assert.NilError(t, os.WriteFile(file, archive, 0o644))
	refs, err := env.Lab.Publish(t.Context(), file)
	assert.NilError(t, err)
	assert.Equal(t, len(refs), 1)
	return refs[0]
}

// copyArchive writes an archive to /srv/images of a machine.
func copyArchive(t *testing.T, machine, name string, archive []byte) {
	t.Helper()
	script := `mkdir -p /srv/images && cat > "/srv/images/$1"`
	_, err := env.Lab.ExecInput(t.Context(), machine, bytes.NewReader(archive), "sh", "-c", script, "sh", name)
	assert.NilError(t, err)
}

// hasImage reports whether the machine's runtime has an image.
func hasImage(t *testing.T, machine, image string) bool {
	t.Helper()
	return slices.Contains(strings.Fields(runOn(t, machine, "ctr", "--namespace", "k8s.io", "images", "list",
		"--quiet")),
		image)
}

// plainRegistry lets the plugin pull from the lab's registry, which speaks no TLS.
func plainRegistry(document map[string]any) {
	site.Set(document, "registries.plainHTTP", []string{lab.RegistryAddress})
}

func TestImagesAreImportedFromEverySourceOnce(t *testing.T) {
	const machine = "m1"
	resetMachines(t, machine)
	joinByHand(t, machine)
	configure(t, site.Overrides{Document: plainRegistry})

	pulled := pushArchive(t, newArchive(t, "registry.example.org/e2e/pulled:v1", nil))
	sources := strings.Join([]string{"oci://" + pulled, serveArchive(t, "served.tar",
		newArchive(t, "registry.example.org/e2e/served:v1", nil)), "/srv/images"}, "\n")
	copyArchive(t, machine, "there.tar", newArchive(t, "registry.example.org/e2e/there:v1", nil))
	images := []string{pulled, "registry.example.org/e2e/served:v1", "registry.example.org/e2e/there:v1"}

	dry := mustSucceed(t, teamA(), "import-images", "machines="+machine, "images="+sources, "dryRun=true")
	assertContains(t, step(t, dry, "plan").Message, "1 of 1 machines lack images")
	for _, image := range images {
		assert.Assert(t, !hasImage(t, machine, image), image)
	}

	first := mustSucceed(t, teamA(), "import-images", "machines="+machine, "images="+sources)
	assertContains(t, step(t, first, machine).Message, "3 of 3 archives imported")
	for _, image := range images {
		assert.Assert(t, hasImage(t, machine, image), image)
	}
	assertTidy(t, machine)

	second := mustSucceed(t, teamA(), "import-images", "machines="+machine, "images="+sources)
	assertContains(t, step(t, second, "plan").Message, "0 of 1 machines lack images, 1 with all of them")
}
