// Package doctor checks that a namespace and Argo's controller are ready for Argosy's workflows. Without each of the
// checked things, workflows were seen to hang or fail without a message. It only reads.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
)

// Names in install/.
const (
	pluginConfigMap = "argosy-executor-plugin"
	pluginAccount   = "argosy-executor-plugin"
	workflowAccount = "argosy-workflow"
)

// templates are the WorkflowTemplates in workflows/.
var templates = []string{
	"backup", "deprovision", "import-images", "join", "kubeconfig", "provision", "reconcile", "remove", "reset",
	"restore", "rollback", "upgrade",
}

// Check is the result of one check.
type Check struct {
	Name string
	// Problem is the cause and the way out; empty without a problem.
	Problem string
}

// Installation is where workflows run, and with which programs.
type Installation struct {
	Namespace string
	// Controller is the Deployment of Argo's workflow controller, as "namespace/name". Default: all that are found.
	Controller string
	// Release of the program that asks, with which the plugin is compared. Builds that are no release are not compared.
	Release string
}

// Run checks a namespace and the workflow controllers that may serve it. The error is of a check that could not be
// made.
func Run(ctx context.Context, client kubernetes.Interface, argo versioned.Interface, asked Installation) ([]Check,
	error,
) {
	namespace, controller := asked.Namespace, asked.Controller
	controllers, err := findControllers(ctx, client, namespace, controller)
	if err != nil {
		return nil, err
	}
	second, err := secondPlugin(ctx, client, controllers, namespace)
	if err != nil {
		return nil, err
	}
	container, pluginProblem := pluginContainer(ctx, client, namespace)
	missing, others := checkTemplates(ctx, argo, namespace)
	checks := []Check{
		{"plugin ConfigMap", pluginProblem},
		{"plugin release", pluginRelease(container, asked)},
		{"plugin once", second},
		{"service account " + pluginAccount, account(ctx, client, namespace, pluginAccount)},
		{"service account " + workflowAccount, account(ctx, client, namespace, workflowAccount)},
		{"WorkflowTemplates", missing},
		{"WorkflowTemplates release", others},
		{"controller found", missingController(controllers, controller)},
	}
	for i := range controllers {
		name := fmt.Sprintf("controller %s/%s", controllers[i].Namespace, controllers[i].Name)
		rule, err := taskSetStatusRule(ctx, client, &controllers[i], namespace)
		if err != nil {
			return nil, err
		}
		checks = append(checks,
			Check{name + ": executor plugins are on", pluginsOn(&controllers[i])},
			Check{name + ": may write workflowtasksets/status", rule},
		)
	}
	return checks, nil
}

// pluginContainer returns the container of the installed plugin, as far as it can be read, and the problem of its
// ConfigMap.
func pluginContainer(ctx context.Context, client kubernetes.Interface, namespace string) (container corev1.Container,
	problem string,
) {
	configMap, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, pluginConfigMap, metav1.GetOptions{})
	if err != nil {
		return container, notInstalled(err, namespace)
	}
	container, problem = sidecar(configMap)
	if configMap.Labels["workflows.argoproj.io/configmap-type"] != "ExecutorPlugin" {
		problem = "the label workflows.argoproj.io/configmap-type=ExecutorPlugin is missing, by which the controller " +
			"finds it; apply install/ again"
	}
	return container, problem
}

// account checks a service account and its token Secret, without which Argo never creates the agent pod.
func account(ctx context.Context, client kubernetes.Interface, namespace, name string) string {
	if _, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
		return notInstalled(err, namespace)
	}
	token, err := client.CoreV1().Secrets(namespace).Get(ctx, name+".service-account-token", metav1.GetOptions{})
	if err != nil {
		return notInstalled(err, namespace)
	}
	if len(token.Data[corev1.ServiceAccountTokenKey]) == 0 {
		return fmt.Sprintf("Secret %q has no token; Kubernetes writes one if its type is %s", token.Name,
			corev1.SecretTypeServiceAccountToken)
	}
	return ""
}

func notInstalled(err error, namespace string) string {
	return fmt.Sprintf("%v; apply install/ to namespace %s", err, namespace)
}

// checkTemplates returns the problems of templates that are not there, and of those that are of another release.
func checkTemplates(ctx context.Context, argo versioned.Interface, namespace string) (missing, others string) {
	list, err := argo.ArgoprojV1alpha1().WorkflowTemplates(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return notInstalled(err, namespace), ""
	}
	return missingTemplates(list.Items, namespace), otherTemplates(list.Items, namespace)
}

// missingTemplates names the templates that are not there, which an installation of an older release lacks as well.
func missingTemplates(installed []wfv1.WorkflowTemplate, namespace string) string {
	missing := slices.Clone(templates)
	for i := range installed {
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == installed[i].Name })
	}
	if len(missing) == 0 {
		return ""
	}
	return fmt.Sprintf("%s not found; apply install/ of this release to namespace %s, or upgrade the chart",
		strings.Join(missing, ", "), namespace)
}

// findControllers returns Argo's workflow controllers that may serve a namespace, or the one that is asked for. They
// are known by their container, since installations differ in the Deployment's name.
func findControllers(ctx context.Context, client kubernetes.Interface, namespace, asked string) ([]appsv1.Deployment,
	error,
) {
	deployments, err := client.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("looking for Argo's workflow controller: %w", err)
	}
	return slices.DeleteFunc(deployments.Items, func(d appsv1.Deployment) bool {
		if asked != "" {
			return d.Namespace+"/"+d.Name != asked
		}
		return !slices.ContainsFunc(d.Spec.Template.Spec.Containers, isController) || !serves(&d, namespace)
	}), nil
}

func isController(container corev1.Container) bool {
	return container.Name == "workflow-controller" || strings.Contains(container.Image, "workflow-controller") ||
		slices.ContainsFunc(container.Command,
			func(word string) bool { return path.Base(word) == "workflow-controller" })
}

// serves reports whether a controller may serve a namespace: one with --namespaced serves its own alone, or that of
// --managed-namespace.
func serves(controller *appsv1.Deployment, namespace string) bool {
	served := ""
	for _, container := range controller.Spec.Template.Spec.Containers {
		words := slices.Concat(container.Command, container.Args)
		for i, word := range words {
			managed, given := strings.CutPrefix(word, "--managed-namespace=")
			switch {
			case given:
				served = managed
			case word == "--managed-namespace" && i+1 < len(words):
				served = words[i+1]
			case served == "" && (word == "--namespaced" || word == "--namespaced=true"):
				served = controller.Namespace
			}
		}
	}
	return served == "" || served == namespace
}

func missingController(controllers []appsv1.Deployment, asked string) string {
	switch {
	case len(controllers) > 0:
		return ""
	case asked != "":
		return fmt.Sprintf("there is no Deployment %q: name it as NAMESPACE/NAME", asked)
	}
	return "no Deployment runs workflow-controller for this namespace: install Argo Workflows 3.7 or newer, or name " +
		"its Deployment with --controller NAMESPACE/NAME"
}

func pluginsOn(controller *appsv1.Deployment) string {
	for _, container := range controller.Spec.Template.Spec.Containers {
		for _, env := range container.Env {
			if env.Name == "ARGO_EXECUTOR_PLUGINS" && env.Value == "true" {
				return ""
			}
		}
		for _, arg := range container.Args {
			if arg == "--executor-plugins" || arg == "--executor-plugins=true" {
				return ""
			}
		}
	}
	return fmt.Sprintf("set ARGO_EXECUTOR_PLUGINS=true on Deployment %s/%s", controller.Namespace, controller.Name)
}

// taskSetStatusRule asks the API server whether the controller may write the status of task sets, a rule that the
// manifests of Argo 3.7.18 lack. Without it, plugin workflows hang now and then, without a message.
func taskSetStatusRule(ctx context.Context, client kubernetes.Interface, controller *appsv1.Deployment,
	namespace string,
) (string, error) {
	account := cmp.Or(controller.Spec.Template.Spec.ServiceAccountName, "default")
	user := fmt.Sprintf("system:serviceaccount:%s:%s", controller.Namespace, account)
	for _, verb := range []string{"get", "update", "patch"} {
		review, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User: user,
				Groups: []string{
					"system:serviceaccounts", "system:serviceaccounts:" + controller.Namespace,
					"system:authenticated",
				},
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: namespace, Verb: verb, Group: "argoproj.io", Resource: "workflowtasksets",
					Subresource: "status",
				},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return "", fmt.Errorf("asking whether %s may %s workflowtasksets/status: %w", user, verb, err)
		}
		if !review.Status.Allowed {
			return fmt.Sprintf("%s may not %s workflowtasksets/status, and plugin workflows hang now and then: %s",
				user, verb,
				grant(controller.Namespace, account)), nil
		}
	}
	return "", nil
}

// taskSetRole is the ClusterRole of install/argo/taskset-status.yaml, which binds it to the account of Argo's own
// manifests.
const taskSetRole = "argosy-workflow-controller-taskset-status"

// grant returns how a controller's account gets the rule.
func grant(namespace, account string) string {
	if namespace == "argo" && account == "argo" {
		return "apply install/argo"
	}
	return fmt.Sprintf("apply install/argo/taskset-status.yaml, and bind its role to this account with `kubectl "+
		"create clusterrolebinding %s-%s-%s --clusterrole=%s --serviceaccount=%s:%s`", taskSetRole, namespace, account,
		taskSetRole, namespace, account)
}
