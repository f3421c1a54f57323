package drain

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
)

// Volume is local to a node's machine, as those of local-path-provisioner are: pods that use it run on that node or not
// at all.
type Volume struct {
	Name string `json:"name"`
	// Claim is "namespace/name"; empty where it is not claimed.
	Claim string `json:"claim,omitempty"`
}

// String returns the claim's name, which people know, or else the volume's.
func (v Volume) String() string {
	if v.Claim == "" {
		return v.Name
	}
	return v.Claim
}

// Names lists volumes for a message.
func Names(volumes []Volume) string { return named(volumes, Volume.String) }

// Volumes lists the cluster's persistent volumes, once for the preflights of all nodes.
func (d Drainer) Volumes(ctx context.Context) ([]corev1.PersistentVolume, error) {
	list, err := d.Client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing persistent volumes: %w", apply.Classify(err))
	}
	return list.Items, nil
}

// localTo returns the volumes that only this node has.
func localTo(node *corev1.Node, volumes []corev1.PersistentVolume) []Volume {
	var found []Volume
	for _, volume := range volumes {
		if !isLocal(volume, node) {
			continue
		}
		found = append(found, Volume{Name: volume.Name, Claim: claimOf(&volume)})
	}
	slices.SortFunc(found, func(a, b Volume) int { return strings.Compare(a.String(), b.String()) })
	return found
}

// isLocal reports whether a volume is bound to the node by its name. One that is bound to a zone is not local.
func isLocal(volume corev1.PersistentVolume, node *corev1.Node) bool {
	if volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return false
	}
	return slices.ContainsFunc(volume.Spec.NodeAffinity.Required.NodeSelectorTerms,
		func(term corev1.NodeSelectorTerm) bool {
			names := func(key, name string) func(corev1.NodeSelectorRequirement) bool {
				return func(r corev1.NodeSelectorRequirement) bool {
					return r.Key == key && r.Operator == corev1.NodeSelectorOpIn && len(r.Values) == 1 &&
						r.Values[0] == name
				}
			}
			return slices.ContainsFunc(term.MatchExpressions, names(corev1.LabelHostname,
				node.Labels[corev1.LabelHostname])) ||
				slices.ContainsFunc(term.MatchFields, names(metav1.ObjectNameField, node.Name))
		})
}
