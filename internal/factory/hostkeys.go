package factory

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"argosy.dev/argosy/internal/controlplane/hosted"
)

// knownHostsKey is the key in ConfigMap <cluster>-known-hosts.
const knownHostsKey = "known_hosts"

// ConfigMapKeys records host keys in ConfigMap <cluster>-known-hosts of a namespace, where people can read and prune
// them.
type ConfigMapKeys struct {
	Client    kubernetes.Interface
	Namespace string
}

var _ HostKeys = ConfigMapKeys{}

func configMapName(cluster string) string { return cluster + "-known-hosts" }

// Load implements HostKeys.
func (k ConfigMapKeys) Load(ctx context.Context, cluster string) ([]byte, error) {
	held, err := k.Client.CoreV1().ConfigMaps(k.Namespace).Get(ctx, configMapName(cluster), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading ConfigMap %q: %w", configMapName(cluster), err)
	}
	return []byte(held.Data[knownHostsKey]), nil
}

// Append implements HostKeys. Other machines' keys may be recorded at the same time.
//
//nolint:wrapcheck // The error is wrapped when no attempt is left.
func (k ConfigMapKeys) Append(ctx context.Context, cluster, line string) error {
	configMaps := k.Client.CoreV1().ConfigMaps(k.Namespace)
	name := configMapName(cluster)
	err := retry.OnError(retry.DefaultBackoff, isRetriable, func() error {
		held, err := configMaps.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = configMaps.Create(ctx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: hosted.MachineLabels(cluster)},
				Data:       map[string]string{knownHostsKey: line + "\n"},
			}, metav1.CreateOptions{})
			return err
		}
		if err != nil {
			return err
		}
		if held.Data == nil {
			held.Data = map[string]string{}
		}
		if held.Labels == nil {
			held.Labels = map[string]string{}
		}
		maps.Copy(held.Labels, hosted.MachineLabels(cluster))
		held.Data[knownHostsKey] += line + "\n"
		_, err = configMaps.Update(ctx, held, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("recording a host key in ConfigMap %q: %w", name, err)
	}
	return nil
}

func isRetriable(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }
