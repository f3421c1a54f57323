package doctor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	argofake "github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned/fake"
	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/doctor"
)

const namespace = "team-a"

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }

// whole returns the objects of a complete installation after edit, which returns nil for an object to leave out.
func whole(edit func(kind string, object runtime.Object) runtime.Object) []runtime.Object {
	objects := []struct {
		kind   string
		object runtime.Object
	}{
		{"plugin", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "argosy-executor-plugin",
			Labels: map[string]string{"workflows.argoproj.io/configmap-type": "ExecutorPlugin"},
		}, Data: map[string]string{"sidecar.container": "name: argosy\nimage: reg:5000/executor-plugin:v0.1.0\n"}}},
		{"account", &corev1.ServiceAccount{ObjectMeta: meta("argosy-executor-plugin")}},
		{"account", &corev1.ServiceAccount{ObjectMeta: meta("argosy-workflow")}},
		{"token", &corev1.Secret{
			ObjectMeta: meta("argosy-executor-plugin.service-account-token"),
			Data:       map[string][]byte{"token": []byte("t")},
		}},
		{"token", &corev1.Secret{
			ObjectMeta: meta("argosy-workflow.service-account-token"),
			Data:       map[string][]byte{"token": []byte("t")},
		}},
		{"controller", &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "argo", Name: "workflow-controller"},
			Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				ServiceAccountName: "argo",
				Containers: []corev1.Container{{
					Name: "workflow-controller",
					Env:  []corev1.EnvVar{{Name: "ARGO_EXECUTOR_PLUGINS", Value: "true"}},
				}},
			}}},
		}},
	}
	var kept []runtime.Object
	for _, o := range objects {
		if object := edit(o.kind, o.object); object != nil {
			kept = append(kept, object)
		}
	}
	return kept
}

func without(missing string) func(string, runtime.Object) runtime.Object {
	return func(kind string, object runtime.Object) runtime.Object {
		if kind == missing {
			return nil
		}
		return object
	}
}

// problems runs the checks and returns the problems, one a line. mayWrite is whether the controller may write the
// status of task sets, template whether the templates are there.
func problems(t *testing.T, objects []runtime.Object, mayWrite, template bool) string {
	t.Helper()
	return problemsOf(t, objects, "", template, func(user string) bool {
		assert.Equal(t, user, "system:serviceaccount:argo:argo")
		return mayWrite
	})
}

// problemsOf is problems for the controller that is asked for. mayWrite is asked for the controllers' users.
func problemsOf(t *testing.T, objects []runtime.Object, controller string, template bool,
	mayWrite func(user string) bool,
) string {
	t.Helper()
	client := fake.NewClientset(objects...)
	client.PrependReactor("create", "subjectaccessreviews",
		func(action clienttesting.Action) (bool, runtime.Object, error) {
			review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
			attributes := review.Spec.ResourceAttributes
			assert.Equal(t, attributes.Resource+"/"+attributes.Subresource, "workflowtasksets/status")
			review.Status.Allowed = mayWrite(review.Spec.User)
			return true, review, nil
		})
	argo := argofake.NewSimpleClientset()
	if template {
		argo = argofake.NewSimpleClientset(installedTemplates(t)...)
	}
	checks, err := doctor.Run(t.Context(), client, argo,
		doctor.Installation{Namespace: namespace, Controller: controller, Release: "v0.1.0"})
	assert.NilError(t, err)
	var text strings.Builder
	for _, check := range checks {
		if check.Problem != "" {
			_, _ = fmt.Fprintf(&text, "%s: %s\n", check.Name, check.Problem)
		}
	}
	return text.String()
}

// installedTemplates returns the templates of workflows/.
func installedTemplates(t *testing.T) []runtime.Object {
	t.Helper()
	files, err := filepath.Glob("../../workflows/*.yaml")
	assert.NilError(t, err)
	var found []runtime.Object
	for _, file := range files {
		data, err := os.ReadFile(file)
		assert.NilError(t, err)
		template := &wfv1.WorkflowTemplate{}
		assert.NilError(t, yaml.Unmarshal(data, template))
		if template.Kind == "WorkflowTemplate" {
			template.Namespace = namespace
			found = append(found, template)
		}
	}
	return found
}

func TestTemplatesOfANewerReleaseAreMissed(t *testing.T) {
	installed := installedTemplates(t)
	older := slices.DeleteFunc(installed, func(object runtime.Object) bool {
		return object.(*wfv1.WorkflowTemplate).Name == "rollback"
	})
	checks, err := doctor.Run(t.Context(), fake.NewClientset(whole(without("controller"))...),
		argofake.NewSimpleClientset(older...), doctor.Installation{Namespace: namespace})
	assert.NilError(t, err)
	assert.Assert(t, slices.Contains(checks, doctor.Check{
		Name:    "WorkflowTemplates",
		Problem: "rollback not found; apply install/ of this release to namespace team-a, or upgrade the chart",
	}))
}

func TestACompleteInstallationHasNoProblems(t *testing.T) {
	assert.Equal(t, problems(t, whole(without("")), true, true), "")
}

func TestEachMissingPartIsReportedWithTheWayOut(t *testing.T) {
	for _, tt := range []struct {
		name     string
		objects  []runtime.Object
		mayWrite bool
		template bool
		want     string
	}{
		{"no plugin", whole(without("plugin")), true, true, "apply install/ to namespace team-a"},
		{"no service accounts", whole(without("account")), true, true, "service account argosy-workflow"},
		{"no tokens", whole(without("token")), true, true, "argosy-workflow.service-account-token"},
		{
			"no template", whole(without("")), true, false, "backup, deprovision, import-images, join, kubeconfig, " +
				"provision, reconcile, remove, reset, restore, rollback, upgrade not found; apply install/",
		},
		{"no controller", whole(without("controller")), true, true, "install Argo Workflows 3.7 or newer"},
		{"a controller without the rule", whole(without("")), false, true, "apply install/argo"},
		{"a controller without plugins", whole(func(_ string, object runtime.Object) runtime.Object {
			if deployment, ok := object.(*appsv1.Deployment); ok {
				deployment.Spec.Template.Spec.Containers[0].Env = nil
			}
			return object
		}), true, true, "set ARGO_EXECUTOR_PLUGINS=true on Deployment argo/workflow-controller"},
		{"a plugin that the controller does not find", whole(func(_ string, object runtime.Object) runtime.Object {
			if config, ok := object.(*corev1.ConfigMap); ok {
				config.Labels = nil
			}
			return object
		}), true, true, "configmap-type=ExecutorPlugin is missing"},
		{"an empty token", whole(func(_ string, object runtime.Object) runtime.Object {
			if secret, ok := object.(*corev1.Secret); ok {
				secret.Data = nil
			}
			return object
		}), true, true, "has no token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := problems(t, tt.objects, tt.mayWrite, tt.template)
			assert.Assert(t, strings.Contains(text, tt.want), text)
		})
	}
}

// another is a controller as Argo's Helm chart makes it, in namespace argo-helm.
func another(account string, args ...string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "argo-helm", Name: "argo-workflows-workflow-controller"},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			ServiceAccountName: account,
			Containers: []corev1.Container{{
				Name: "controller", Image: "quay.io/argoproj/workflow-controller:v3.7.18",
				Command: []string{"workflow-controller"}, Args: append(args, "--executor-plugins"),
			}},
		}}},
	}
}

func TestAllControllersThatMayServeTheNamespaceAreJudged(t *testing.T) {
	const helm, theirs = "argo-helm/argo-workflows-workflow-controller", "system:serviceaccount:argo-helm:"
	for name, test := range map[string]struct {
		another *appsv1.Deployment
		asked   string
		denied  string // of the users
		want    string
	}{
		"the other one lacks the rule": {
			another("argo-workflows-workflow-controller"), "", theirs + "argo-workflows-workflow-controller",
			"controller " + helm + ": may write workflowtasksets/status: " + theirs +
				"argo-workflows-workflow-controller " +
				"may not get workflowtasksets/status, and plugin workflows hang now and then: apply " +
				"install/argo/taskset-status.yaml, and bind its role to this account with `kubectl create " +
				"clusterrolebinding " +
				"argosy-workflow-controller-taskset-status-argo-helm-argo-workflows-workflow-controller " +
				"--clusterrole=argosy-workflow-controller-taskset-status " +
				"--serviceaccount=argo-helm:argo-workflows-workflow-controller`\n",
		},
		"it runs as the account default": {
			another(""), "", theirs + "default", "--serviceaccount=argo-helm:default`",
		},
		"another one is asked for":    {another("x"), "argo/workflow-controller", theirs + "x", ""},
		"it is the one asked for":     {another("x"), helm, "system:serviceaccount:argo:argo", ""},
		"there is no such one":        {another("x"), "argo/other", "", `there is no Deployment "argo/other"`},
		"it serves its own namespace": {another("x", "--namespaced"), "", theirs + "x", ""},
		"it serves another one": {
			another("x", "--namespaced", "--managed-namespace", "team-b"), "", theirs + "x", "",
		},
		"it serves this one": {
			another("x", "--namespaced", "--managed-namespace=team-a"), "", theirs + "x",
			"--serviceaccount=argo-helm:x`",
		},
	} {
		t.Run(name, func(t *testing.T) {
			text := problemsOf(t, append(whole(without("")), test.another), test.asked, true,
				func(user string) bool { return user != test.denied })
			if test.want == "" {
				assert.Equal(t, text, "")
				return
			}
			assert.Assert(t, strings.Contains(text, test.want), text)
		})
	}
}
