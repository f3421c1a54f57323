package doctor_test

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	argofake "github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned/fake"
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/internal/doctor"
)

// problemOf returns the problem of one check of an installation whose plugin has a container, for a program of a
// release.
func problemOf(t *testing.T, check, container, release string, templates ...runtime.Object) string {
	t.Helper()
	objects := whole(func(kind string, object runtime.Object) runtime.Object {
		if kind == "plugin" {
			object.(*corev1.ConfigMap).Data["sidecar.container"] = container
		}
		return without("controller")(kind, object)
	})
	checks, err := doctor.Run(t.Context(), fake.NewClientset(objects...), argofake.NewSimpleClientset(templates...),
		doctor.Installation{Namespace: namespace, Release: release})
	assert.NilError(t, err)
	for _, made := range checks {
		if made.Name == check {
			return made.Problem
		}
	}
	t.Fatalf("no check %q", check)
	return ""
}

func TestAPluginOfAnotherReleaseThanTheProgramIsNamed(t *testing.T) {
	for _, tt := range []struct {
		image, release, problem string
	}{
		{"r:5000/p:v0.1.0", "v0.1.0", ""},
		{"r:5000/p:v0.2.0", "v0.1.0", "the plugin is of v0.2.0 and this program of v0.1.0; apply install/"},
		{"r:5000/p:v0.1.0", "v0.2.0-rc.1", "the plugin is of v0.1.0 and this program of v0.2.0-rc.1"},
		{"r:5000/p:v0.2.0@sha256:0123", "v0.1.0", "the plugin is of v0.2.0 and this program of v0.1.0"},
		{"r:5000/p@sha256:0123", "v0.1.0", ""},
		{"r:5000/p", "v0.1.0", ""},
		{"p:mine", "v0.1.0", ""},
		{"p:v0.2.0", "development", ""},
	} {
		problem := problemOf(t, "plugin release", "image: "+tt.image, tt.release)
		assert.Equal(t, problem == "", tt.problem == "", "%v: %s", tt, problem)
		assert.Assert(t, strings.HasPrefix(problem, tt.problem), problem)
	}
}

// Argo leaves such a plugin out of agent pods.
func TestAPluginWithoutAContainerIsAProblem(t *testing.T) {
	for container, problem := range map[string]string{
		"":             "it has no container with an image",
		"name: argosy": "it has no container with an image",
		"image: [":     "the plugin's container cannot be read",
	} {
		assert.Assert(t, strings.HasPrefix(problemOf(t, "plugin ConfigMap", container, "v0.1.0"), problem), container)
	}
}

func TestAPluginInTheControllersNamespaceTooIsAProblem(t *testing.T) {
	second := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "argo", Name: "argosy-executor-plugin"}}
	assert.Equal(t, problems(t, append(whole(without("")), second), true, true), "plugin once: namespace argo of the "+
		"workflow controller has one as well, and agent pods with both cannot start: delete ConfigMap "+
		"argosy-executor-plugin in namespace argo\n")
}

func TestTemplatesOfAnotherVersionAreNamed(t *testing.T) {
	template := func(name, object string) runtime.Object {
		return &wfv1.WorkflowTemplate{
			ObjectMeta: meta(name),
			Spec: wfv1.WorkflowSpec{Templates: []wfv1.Template{
				{Name: "main"},
				{Name: "plan", Plugin: &wfv1.Plugin{Object: wfv1.Object{Value: []byte(object)}}},
				{Name: "verify", Plugin: &wfv1.Plugin{Object: wfv1.Object{Value: []byte(object)}}},
			}},
		}
	}
	problem := problemOf(t, "WorkflowTemplates release", "image: p:v0.1.0", "v0.1.0",
		template("join", `{"argosy":{"apiVersion":"v2","step":"plan"}}`),
		template("reset", `{"argosy":{"step":"reset-plan"}}`),
		template("upgrade", `{"argosy":{"apiVersion":"v1alpha1"}}`),
		template("of-a-user", `{"argosy":{"apiVersion":"v2"}}`),
		template("remove", `{"other":{}}`))
	assert.Equal(t, problem, "join (v2): of another release than this program, which knows v1alpha1; apply install/ "+
		"of one release to namespace team-a, or upgrade the chart")
}
