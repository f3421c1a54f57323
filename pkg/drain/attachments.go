package drain

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/operation"
)

const (
	// detachTimeout bounds the wait for volumes. Most detach within seconds of their pod's end; six minutes after it
	// the attach-detach controller detaches them by force.
	detachTimeout = 2 * time.Minute
	// detachEvery is how often it is checked whether volumes are attached.
	detachEvery = time.Second
)

// AwaitDetached waits until no volume is attached to a drained node, so that its machine is not changed while a driver
// unmounts. Volumes of pods that stay, as those of DaemonSets, are not waited for. After detachTimeout it returns the
// volumes that are left; that is no error, since the cluster detaches them later.
func (d Drainer) AwaitDetached(ctx context.Context, node string, progress operation.Progress) ([]string, error) {
	until := time.Now().Add(detachTimeout)
	for {
		attached, err := d.attached(ctx, node)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("waiting for volumes of node %s to be detached: %w", node, context.Cause(ctx))
		case apierrors.IsForbidden(err):
			return nil, nil // a cluster that gives no right to see them
		case err == nil && len(attached) == 0:
			return nil, nil
		case !time.Now().Before(until):
			return attached, nil
		case err != nil:
			operation.Reportf(progress, "asking which volumes are attached to node %s: %v", node, err)
		default:
			operation.Reportf(progress, "waiting for %s of node %s to be detached: %s",
				count.Of(len(attached), "volume"), node, named(attached, func(name string) string { return name }))
		}
		select {
		case <-ctx.Done():
		case <-time.After(detachEvery):
		}
	}
}

// attached returns the volumes that are attached to a node and of which no pod there makes use.
func (d Drainer) attached(ctx context.Context, node string) ([]string, error) {
	list, err := d.Client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing volume attachments: %w", apply.Classify(err))
	}
	here := slices.DeleteFunc(list.Items, func(a storagev1.VolumeAttachment) bool { return a.Spec.NodeName != node })
	if len(here) == 0 {
		return nil, nil
	}
	used, err := d.claimsUsed(ctx, node)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, attachment := range here {
		name, claim, err := d.volumeOf(ctx, attachment)
		if err != nil {
			return nil, err
		}
		if claim == "" || !used[claim] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// claimsUsed returns the claims, "namespace/name", of the pods that are on a node.
func (d Drainer) claimsUsed(ctx context.Context, node string) (map[string]bool, error) {
	pods, err := d.Client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of node %q: %w", node, apply.Classify(err))
	}
	used := map[string]bool{}
	for _, pod := range pods.Items {
		for _, volume := range pod.Spec.Volumes {
			switch {
			case pod.Spec.NodeName != node:
			case volume.PersistentVolumeClaim != nil:
				used[pod.Namespace+"/"+volume.PersistentVolumeClaim.ClaimName] = true
			case volume.Ephemeral != nil:
				used[pod.Namespace+"/"+pod.Name+"-"+volume.Name] = true
			}
		}
	}
	return used, nil
}

// volumeOf returns the volume of an attachment as people know it, and its claim; "" where it has none.
func (d Drainer) volumeOf(ctx context.Context, attachment storagev1.VolumeAttachment) (name, claim string, err error) {
	source := attachment.Spec.Source.PersistentVolumeName
	if source == nil {
		return attachment.Name, "", nil
	}
	volume, err := d.Client.CoreV1().PersistentVolumes().Get(ctx, *source, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return *source, "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("reading persistent volume %q: %w", *source, apply.Classify(err))
	}
	if claim := claimOf(volume); claim != "" {
		return claim, claim, nil
	}
	return *source, "", nil
}

// claimOf returns a volume's claim, "namespace/name"; "" where it is not claimed.
func claimOf(volume *corev1.PersistentVolume) string {
	if volume.Spec.ClaimRef == nil {
		return ""
	}
	return volume.Spec.ClaimRef.Namespace + "/" + volume.Spec.ClaimRef.Name
}
