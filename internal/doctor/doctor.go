// Package doctor checks that a namespace and Argo's controller are ready for Argosy's workflows. Without each of the
// checked things, workflows were seen to hang or fail without a message. It only reads.
package doctor

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
)

// Names in install/.
const (
	pluginConfigMap = "argosy-executor-plugin"
	pluginAccount   = "argosy-executor-plugin"
	workflowAccount = "argosy-workflow"
	joinTemplate    = "join"
)

// Check is the result of one check.
type Check struct {
	Name string
	// Problem is the cause and the way out; empty without a problem.
	Problem string
}

// Run checks a namespace and the workflow controller that serves it. The error is of a check that could not be made.
func Run(ctx context.Context, client kubernetes.Interface, argo versioned.Interface, namespace string) ([]Check,
	error,
) {
	controller, err := findController(ctx, client)
	if err != nil {
		return nil, err
	}
	checks := []Check{
		{"plugin ConfigMap", plugin(ctx, client, namespace)},
		{"service account " + pluginAccount, account(ctx, client, namespace, pluginAccount)},
		{"service account " + workflowAccount, account(ctx, client, namespace, workflowAccount)},
		{"WorkflowTemplate " + joinTemplate, template(ctx, argo, namespace)},
		{"controller found", missingController(controller)},
	}
	if controller == nil {
		return checks, nil
	}
	rule, err := taskSetStatusRule(ctx, client, controller, namespace)
	if err != nil {
		return nil, err
	}
	return append(checks,
		Check{"executor plugins are on", pluginsOn(controller)},
		Check{"controller may write workflowtasksets/status", rule},
	), nil
}

func plugin(ctx context.Context, client kubernetes.Interface, namespace string) string {
	configMap, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, pluginConfigMap, metav1.GetOptions{})
	if err != nil {
		return notInstalled(err, namespace)
	}
	if configMap.Labels["workflows.argoproj.io/configmap-type"] != "ExecutorPlugin" {
		return "the label workflows.argoproj.io/configmap-type=ExecutorPlugin is missing, by which the controller " +
			"finds it; apply install/ again"
	}
	return ""
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

func template(ctx context.Context, argo versioned.Interface, namespace string) string {
	if _, err := argo.ArgoprojV1alpha1().WorkflowTemplates(namespace).Get(ctx, joinTemplate,
		metav1.GetOptions{}); err != nil {
		return notInstalled(err, namespace)
	}
	return ""
}

// findController returns Argo's workflow controller, or nil if there is none. It is known by its container, since
// installations differ in the Deployment's name.
func findController(ctx context.Context, client kubernetes.Interface) (*appsv1.Deployment, error) {
	deployments, err := client.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("looking for Argo's workflow controller: %w", err)
	}
	for i, deployment := range deployments.Items {
		for _, container := range deployment.Spec.Template.Spec.Containers {
			if container.Name == "workflow-controller" || strings.Contains(container.Image, "workflow-controller") {
				return &deployments.Items[i], nil
			}
		}
	}
	return nil, nil
}

func missingController(controller *appsv1.Deployment) string {
	if controller == nil {
		return "no Deployment runs workflow-controller: install Argo Workflows 3.7 or newer"
	}
	return ""
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
	user := fmt.Sprintf("system:serviceaccount:%s:%s", controller.Namespace,
		controller.Spec.Template.Spec.ServiceAccountName)
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
			return fmt.Sprintf("%s may not %s workflowtasksets/status, and plugin workflows hang now and then: apply "+
				"install/argo", user, verb), nil
		}
	}
	return "", nil
}
