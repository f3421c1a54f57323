package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/plugin"
)

// released matches versions of releases, not of builds in between, which cannot be compared by name.
var released = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-rc\.[0-9]+)?$`)

// sidecar returns the container of the plugin. The problem is that of a ConfigMap from which Argo makes none.
func sidecar(configMap *corev1.ConfigMap) (container corev1.Container, problem string) {
	if err := yaml.Unmarshal([]byte(configMap.Data["sidecar.container"]), &container); err != nil {
		return container, fmt.Sprintf("the plugin's container cannot be read: %v; apply install/ again", err)
	}
	if container.Image == "" {
		return container, "it has no container with an image, and agent pods run without the plugin; apply install/ " +
			"again"
	}
	return container, ""
}

// pluginRelease compares the tag of the plugin's image with the release of the program that asks. Digests, and tags
// that are no release, are not compared. Where the plugin cannot be read, another check has the problem.
func pluginRelease(container corev1.Container, asked Installation) string {
	if !released.MatchString(asked.Release) {
		return ""
	}
	image, _, _ := strings.Cut(container.Image, "@")
	tag := image[strings.LastIndex(image, ":")+1:]
	if !released.MatchString(tag) || tag == asked.Release {
		return ""
	}
	return fmt.Sprintf("the plugin is of %s and this program of %s; apply install/ of one release to namespace %s, or "+
		"upgrade the chart, and use argosy of the same release", tag, asked.Release, asked.Namespace)
}

// secondPlugin finds the plugin's ConfigMap in the namespace of a controller, where Argo adds it to the agent pods of
// all namespaces: two containers of one name make a pod that the API server refuses, and workflows wait for it.
func secondPlugin(ctx context.Context, client kubernetes.Interface, controllers []appsv1.Deployment,
	namespace string,
) (string, error) {
	for i := range controllers {
		other := controllers[i].Namespace
		if other == namespace {
			continue
		}
		_, err := client.CoreV1().ConfigMaps(other).Get(ctx, pluginConfigMap, metav1.GetOptions{})
		if err == nil {
			return fmt.Sprintf("namespace %s of the workflow controller has one as well, and agent pods with both "+
				"cannot start: delete ConfigMap %s in namespace %s", other, pluginConfigMap, other), nil
		}
		if !apierrors.IsNotFound(err) {
			return "", fmt.Errorf("looking for the plugin in the controller's namespace %q: %w", other, err)
		}
	}
	return "", nil
}

// otherTemplates names the templates that call the plugin by another version than that of this release. Templates of
// users are not looked at; the plugin refuses their calls by itself.
func otherTemplates(installed []wfv1.WorkflowTemplate, namespace string) string {
	var others []string
	for i := range installed {
		if !slices.Contains(templates, installed[i].Name) {
			continue
		}
		for _, tmpl := range installed[i].Spec.Templates {
			if tmpl.Plugin == nil {
				continue
			}
			version := calledVersion(tmpl.Plugin.Value)
			other := fmt.Sprintf("%s (%s)", installed[i].Name, version)
			if version != plugin.APIVersion && !slices.Contains(others, other) {
				others = append(others, other)
			}
		}
	}
	if len(others) == 0 {
		return ""
	}
	slices.Sort(others)
	return fmt.Sprintf("%s: of another release than this program, which knows %s; apply install/ of one release to "+
		"namespace %s, or upgrade the chart", strings.Join(others, ", "), plugin.APIVersion, namespace)
}

// calledVersion returns the apiVersion of a plugin object; that of this release for objects of other plugins, which are
// not compared.
func calledVersion(object []byte) string {
	var byKey map[string]json.RawMessage
	if err := json.Unmarshal(object, &byKey); err != nil {
		return err.Error()
	}
	if byKey[plugin.ObjectKey] == nil {
		return plugin.APIVersion
	}
	call, err := plugin.NewCall(plugin.Workflow{}, "", byKey[plugin.ObjectKey])
	if err != nil {
		return err.Error()
	}
	return call.Version()
}
