// Package doctor checks what a namespace and Argo's controller need before a workflow of ours can run. Each of
// these was seen to make workflows hang or fail without a word; it only looks, and changes nothing.
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

// Names that install/ gives.
const (
	pluginConfigMap = "argosy-executor-plugin"
	pluginAccount   = "argosy-executor-plugin"
	workflowAccount = "argosy-workflow"
	joinTemplate    = "join"
)

// Check is one thing that was looked at.
type Check struct {
	Name string `json:"name"`
	// Problem says what is wrong and what to do; empty when it is well.
	Problem string `json:"problem,omitempty"`
}

// Run looks at namespace and at the workflow controller that serves it.
func Run(ctx context.Context, client kubernetes.Interface, argo versioned.Interface, namespace string) ([]Check,
	error) {
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
	held, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, pluginConfigMap, metav1.GetOptions{})
	if err != nil {
		return fmt.Sprintf("%v; apply install/ to namespace %s", err, namespace)
	}
	if held.Labels["workflows.argoproj.io/configmap-type"] != "ExecutorPlugin" {
		return "it lacks the label workflows.argoproj.io/configmap-type=ExecutorPlugin, by which the controller finds it"
	}
	return ""
}

// account checks the service account and its long-lived token: without the token Secret the agent pod is never created.
func account(ctx context.Context, client kubernetes.Interface, namespace, name string) string {
	if _, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
		return fmt.Sprintf("%v; apply install/ to namespace %s", err, namespace)
	}
	token, err := client.CoreV1().Secrets(namespace).Get(ctx, name+".service-account-token", metav1.GetOptions{})
	if err != nil {
		return fmt.Sprintf("%v; apply install/ to namespace %s", err, namespace)
	}
	if len(token.Data[corev1.ServiceAccountTokenKey]) == 0 {
		return fmt.Sprintf("Secret %s holds no token; is it of type %s?", token.Name,
			corev1.SecretTypeServiceAccountToken)
	}
	return ""
}

func template(ctx context.Context, argo versioned.Interface, namespace string) string {
	if _, err := argo.ArgoprojV1alpha1().WorkflowTemplates(namespace).Get(ctx, joinTemplate,
		metav1.GetOptions{}); err != nil {
		return fmt.Sprintf("%v; apply install/ to namespace %s", err, namespace)
	}
	return ""
}

// findController finds Argo's workflow controller by its program, since installations name it as they like. Nil when
// there is none.
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

// taskSetStatusRule asks the API server whether the controller may do what Argo's own install of 3.7.18 leaves out;
// without it, plugin workflows hang now and then, and nothing says why.
func taskSetStatusRule(ctx context.Context, client kubernetes.Interface, controller *appsv1.Deployment,
	namespace string) (string, error) {
	user := fmt.Sprintf("system:serviceaccount:%s:%s", controller.Namespace,
		controller.Spec.Template.Spec.ServiceAccountName)
	for _, verb := range []string{"get", "update", "patch"} {
		review, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User: user,
				Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + controller.Namespace,
					"system:authenticated"},
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
