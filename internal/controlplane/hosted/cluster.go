// Package hosted reads a cluster whose control plane runs in a namespace of the host cluster: the names of its objects
// there, the connection to its API server, and the reason while something is not ready. All that deals with such a
// cluster (provision, backup, restore, deprovision, users' kubeconfigs) builds on it, so that these need not import
// each other. It makes no control plane.
package hosted

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// Cluster is a cluster as its documents describe it, and the host cluster that its control plane runs in.
type Cluster struct {
	*config.Cluster
	Host kubernetes.Interface
	// Log gets a line at the end of each operation; nil writes none.
	Log *slog.Logger
	// Clock returns the time; nil means time.Now.
	Clock func() time.Time
}

// Names returns the names of the cluster's objects.
func (c Cluster) Names() Names { return Names(c.Name) }

// Now returns the time.
func (c Cluster) Now() time.Time {
	if c.Clock == nil {
		return time.Now()
	}
	return c.Clock()
}

// Info logs the end of an operation.
func (c Cluster) Info(message string, attributes ...any) {
	if c.Log != nil {
		c.Log.Info(message, attributes...)
	}
}

// CheckHosted refuses a cluster whose control plane Argosy did not provision.
func (c Cluster) CheckHosted() error {
	if c.Hosted() {
		return nil
	}
	return errclass.Errorf(errclass.Configuration, "cluster %q was not provisioned by Argosy: argosy.yaml gives "+
		"cluster.kubeconfigSecret %q, so its control plane is run by others", c.Name,
		c.Fleet.Cluster.KubeconfigSecret)
}

// Persists reports whether the control plane's own state is on a volume that outlives its pods. Only SQLite is state of
// the pods; with any other store they hold none.
func (c Cluster) Persists() bool {
	return c.Store().Kind == config.StoreSQLite && c.VCluster.ControlPlane.StatefulSet.Persistence.VolumeClaim.On()
}

// Owned returns the label selector of the objects that Argosy made for this cluster.
func (c Cluster) Owned() string {
	return labels.SelectorFromSet(labels.Set{apply.ManagedByLabel: apply.Manager, ClusterLabel: c.Name}).String()
}

// StateVolumes returns the names of the PersistentVolumeClaims that hold the control plane's state.
func (c Cluster) StateVolumes(ctx context.Context) ([]string, error) {
	claims, err := c.Host.CoreV1().PersistentVolumeClaims(c.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: c.Owned()})
	if err != nil {
		return nil, fmt.Errorf("listing PersistentVolumeClaims: %w", apply.Classify(err))
	}
	var names []string
	for _, claim := range claims.Items {
		if claim.Labels[ComponentLabel] != Backup {
			names = append(names, claim.Name)
		}
	}
	return names, nil
}

// Secret returns a Secret of the cluster with data, to be created or applied.
func (c Cluster) Secret(name string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.Namespace, Labels: c.Names().Labels(ControlPlane)},
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	}
}

// AnnotateKeys sets an annotation of Secret <cluster>-pki, or removes it where value is nil. The error is IsNotFound
// when the cluster has no keys.
func (c Cluster) AnnotateKeys(ctx context.Context, name string, value any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{name: value}}})
	if err != nil {
		return fmt.Errorf("encoding annotation %s: %w", name, err)
	}
	_, err = c.Host.CoreV1().Secrets(c.Namespace).Patch(ctx, c.Names().PKI(), types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: apply.Manager})
	if err != nil {
		return fmt.Errorf("setting annotation %s of Secret %q: %w", name, c.Names().PKI(), apply.Classify(err))
	}
	return nil
}
