package config

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
)

// apiSource asks the host cluster. It only gets objects by name, so a Role that names them is enough.
type apiSource struct {
	client    kubernetes.Interface
	namespace string
}

var _ Source = (*apiSource)(nil)

// FromAPI returns a Source that reads one namespace of a host cluster.
func FromAPI(client kubernetes.Interface, namespace string) Source {
	return &apiSource{client: client, namespace: namespace}
}

// Namespace returns the namespace that is read.
func (a *apiSource) Namespace() string { return a.namespace }

// ConfigMap returns the data of a ConfigMap.
func (a *apiSource) ConfigMap(ctx context.Context, name string) (map[string]string, error) {
	object, err := a.client.CoreV1().ConfigMaps(a.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, a.classify(ctx, "ConfigMap", "configmaps", name, err)
	}
	return contentOf(object), nil
}

// contentOf returns all keys of a ConfigMap. kubectl puts files that are not UTF-8 into binaryData.
func contentOf(object *corev1.ConfigMap) map[string]string {
	content := maps.Clone(object.Data)
	if content == nil {
		content = map[string]string{}
	}
	for key, value := range object.BinaryData {
		content[key] = string(value)
	}
	return content
}

// Secret returns the data of a Secret.
func (a *apiSource) Secret(ctx context.Context, name string) (map[string]secret.Value, error) {
	object, err := a.client.CoreV1().Secrets(a.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, a.classify(ctx, "Secret", "secrets", name, err)
	}
	return hide(object), nil
}

func hide(object *corev1.Secret) map[string]secret.Value {
	values := make(map[string]secret.Value, len(object.Data)+len(object.StringData))
	for key, value := range object.Data {
		values[key] = secret.New(string(value))
	}
	for key, value := range object.StringData {
		values[key] = secret.New(value)
	}
	return values
}

// classify gives an API error its class, which decides whether it is retried.
//
//	not found                            configuration: the user creates the object
//	forbidden                            configuration: the user adds the rule to the Role
//	unauthorized, invalid and the like   permanent
//	cancelled by us                      cancelled
//	anything else, no answer included    transient
func (a *apiSource) classify(ctx context.Context, kind, resource, name string, err error) error {
	reading := fmt.Sprintf("reading %s %q in namespace %q", kind, name, a.namespace)
	switch {
	case apierrors.IsNotFound(err):
		return errclass.Errorf(errclass.Configuration, "%s: %w", reading, ErrNotFound)
	case apierrors.IsForbidden(err):
		return errclass.Errorf(errclass.Configuration, "%s: %w; the service account needs a Role with verb get on %s "+
			"named %q", reading, err, resource, name)
	case errors.Is(ctx.Err(), context.Canceled):
		return errclass.Errorf(errclass.Cancelled, "%s: %w", reading, err)
	case apierrors.IsUnauthorized(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err),
		apierrors.IsMethodNotSupported(err):
		return errclass.Errorf(errclass.Permanent, "%s: %w", reading, err)
	}
	return errclass.Errorf(errclass.Transient, "%s: %w", reading, err)
}
