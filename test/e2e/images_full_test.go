//go:build full

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

func TestADamagedArchiveFailsByNameAndTheRestIsImported(t *testing.T) {
	const machine = "m1"
	clean(t, machine)
	joins(t, machine)
	damaged := fresh(t, "registry.example.org/e2e/damaged:v1", nil)
	damaged[len(damaged)/2] ^= 1
	onMachine(t, machine, "1-damaged.tar", damaged)
	onMachine(t, machine, "2-whole.tar", fresh(t, "registry.example.org/e2e/whole:v1", nil))
	another := served(t, "another.tar", fresh(t, "registry.example.org/e2e/another:v1", nil))
	another = another[:len(another)-64] + strings.Repeat("0", 64)

	w := imports(t, "machines="+machine, "images=/srv/images,"+another)
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
	message := stepOf(t, w, machine).Message
	for _, part := range []string{"/srv/images/1-damaged.tar: it is damaged", "another.tar: its sha256 is",
		"1 of 3 archives imported: /srv/images/2-whole.tar"} {
		assert.Assert(t, strings.Contains(message, part), message)
	}
	assert.Assert(t, has(t, machine, "registry.example.org/e2e/whole:v1"))
	assert.Assert(t, !has(t, machine, "registry.example.org/e2e/damaged:v1"))
	assert.Assert(t, !has(t, machine, "registry.example.org/e2e/another:v1"))
}

func TestAMachineThatIsNoNodeGetsNoImages(t *testing.T) {
	clean(t, "m1")
	w := imports(t, "machines=m1", "images=/srv/images")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
	assert.Assert(t, strings.Contains(stepOf(t, w, "m1").Message, "join it first"), describe(w))
}

// The pod runs what was imported while the machine joined, and may not pull.
func TestImagesOfTheDocumentsAreThereWhenAMachineHasJoined(t *testing.T) {
	shows(t, joinNode+"containerd.importImages")
	const machine, name = "m2", "uses-imported-images"
	program, err := os.ReadFile(filepath.Join(env.Source, "bin", "argosy-node"))
	assert.NilError(t, err)
	clean(t, machine)
	pulled := inRegistry(t, fresh(t, "registry.example.org/e2e/app:v1", program))
	onMachine(t, machine, "there.tar", fresh(t, "registry.example.org/e2e/there:v1", program))
	configure(t, site.Fleet{
		Document: plainRegistry,
		VCluster: vcluster(map[string]any{joinNode + "containerd.importImages": []string{
			"/srv/images", "oci://" + pulled,
			served(t, "served.tar", fresh(t, "registry.example.org/e2e/served:v1", program)),
		}}),
	})
	joins(t, machine)
	assertJoined(t, machine)

	for i, image := range []string{pulled, "registry.example.org/e2e/there:v1", "registry.example.org/e2e/served:v1"} {
		pod := fmt.Sprintf("%s-%d", name, i)
		overrides := `{"spec": {"nodeName": "` + machine + `", "containers": [
			{"name": "app", "image": "` + image + `", "imagePullPolicy": "Never", "args": ["version"]}]}}`
		_, err = env.TeamKubectl(t.Context(), "delete", "pod", pod, "--ignore-not-found", "--force", "--grace-period=0")
		assert.NilError(t, err)
		_, err = env.TeamKubectl(t.Context(), "run", pod, "--image="+image, "--restart=Never", "--overrides="+overrides)
		assert.NilError(t, err)
		t.Cleanup(func() {
			_, _ = env.TeamKubectl(context.Background(), "delete", "pod", pod,
				"--ignore-not-found", "--force", "--grace-period=0")
		})
		_, err = env.TeamKubectl(t.Context(), "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/"+pod,
			"--timeout="+patience.String())
		assert.NilError(t, err)
	}

	again := finished(t, submit(t, "machines="+machine))
	message := step(t, again, "plan").Message
	assert.Assert(t, strings.Contains(message, "0 of 1 machines to join, 1 as wanted already"), describe(again))
}
