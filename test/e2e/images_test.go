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

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/images/archivetest"
	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// imagesFolder is where tests put archives on a machine, and below the lab's web server.
const imagesFolder = "images-e2e"

// fresh is an archive of an image that no machine has seen.
func fresh(t *testing.T, name string, program []byte) []byte {
	t.Helper()
	image := archivetest.Image{Name: name, Size: 1 << 20, Program: program}
	_, err := rand.Read(image.Seed[:])
	assert.NilError(t, err)
	var archive bytes.Buffer
	_, err = image.WriteLayout(&archive)
	assert.NilError(t, err)
	return archive.Bytes()
}

// served puts an archive on the lab's web server, and returns where with its digest.
func served(t *testing.T, name string, archive []byte) string {
	t.Helper()
	folder := filepath.Join(env.Lab.HTTPDir(), imagesFolder)
	assert.NilError(t, os.MkdirAll(folder, 0o755))
	assert.NilError(t, os.WriteFile(filepath.Join(folder, name), archive, 0o644))
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	digest := sha256.Sum256(archive)
	return fmt.Sprintf("%s/%s/%s#sha256=%s", lab.RepositoryURL, imagesFolder, name, hex.EncodeToString(digest[:]))
}

// inRegistry pushes an archive's image to the lab's registry, and returns the reference that it has there.
func inRegistry(t *testing.T, archive []byte) string {
	t.Helper()
	digest := sha256.Sum256(archive)
	file := filepath.Join(t.TempDir(), hex.EncodeToString(digest[:])+".tar") // the lab knows archives by their names
	assert.NilError(t, os.WriteFile(file, archive, 0o644))
	refs, err := env.Lab.Publish(t.Context(), file)
	assert.NilError(t, err)
	assert.Equal(t, len(refs), 1)
	return refs[0]
}

// onMachine puts an archive into /srv/images of a machine.
func onMachine(t *testing.T, machine, name string, archive []byte) {
	t.Helper()
	script := `mkdir -p /srv/images && cat > "/srv/images/$1"`
	_, err := env.Lab.ExecInput(t.Context(), machine, bytes.NewReader(archive), "sh", "-c", script, "sh", name)
	assert.NilError(t, err)
}

// imports submits workflow import-images and waits for its end.
func imports(t *testing.T, parameters ...string) *wfv1.Workflow {
	t.Helper()
	args := []string{"submit", "--from", "workflowtemplate/import-images", "-p", "cluster=" + site.Cluster, "-o",
		"name"}
	for _, parameter := range parameters {
		args = append(args, "-p", parameter)
	}
	out, err := env.Argo(t.Context(), args...)
	assert.NilError(t, err)
	return finished(t, strings.TrimSpace(out))
}

// has says whether the machine's runtime has an image.
func has(t *testing.T, machine, image string) bool {
	t.Helper()
	return slices.Contains(strings.Fields(on(t, machine, "ctr", "--namespace", "k8s.io", "images", "list", "--quiet")),
		image)
}

// plainRegistry lets the plugin pull from the lab's registry, which speaks no TLS.
func plainRegistry(document map[string]any) {
	site.Set(document, "registries.plainHTTP", []string{lab.RegistryAddress})
}

func TestImagesComeFromARegistryAWebServerAndTheMachineAndOnlyOnce(t *testing.T) {
	const machine = "m1"
	clean(t, machine)
	joins(t, machine)
	configure(t, site.Fleet{Document: plainRegistry})

	pulled := inRegistry(t, fresh(t, "registry.example.org/e2e/pulled:v1", nil))
	sources := strings.Join([]string{"oci://" + pulled, served(t, "served.tar",
		fresh(t, "registry.example.org/e2e/served:v1", nil)), "/srv/images"}, "\n")
	onMachine(t, machine, "there.tar", fresh(t, "registry.example.org/e2e/there:v1", nil))
	images := []string{pulled, "registry.example.org/e2e/served:v1", "registry.example.org/e2e/there:v1"}

	dry := imports(t, "machines="+machine, "images="+sources, "dryRun=true")
	assert.Equal(t, dry.Status.Phase, wfv1.WorkflowSucceeded, describe(dry))
	assert.Assert(t, strings.Contains(step(t, dry, "plan").Message, "1 of 1 machines lack images"), describe(dry))
	for _, image := range images {
		assert.Assert(t, !has(t, machine, image), image)
	}

	first := imports(t, "machines="+machine, "images="+sources)
	assert.Equal(t, first.Status.Phase, wfv1.WorkflowSucceeded, describe(first))
	assert.Assert(t, strings.Contains(stepOf(t, first, machine).Message, "3 of 3 archives imported"), describe(first))
	for _, image := range images {
		assert.Assert(t, has(t, machine, image), image)
	}
	assertTidy(t, machine)

	second := imports(t, "machines="+machine, "images="+sources)
	assert.Equal(t, second.Status.Phase, wfv1.WorkflowSucceeded, describe(second))
	assert.Assert(t, strings.Contains(step(t, second, "plan").Message, "0 of 1 machines lack images, 1 have them all"),
		describe(second))
}
