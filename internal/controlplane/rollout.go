package controlplane

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

// surgeLimit is how long a second pod may stay unscheduled before the only pod is replaced without it.
const surgeLimit = 20 * time.Second

// rollOut applies a StatefulSet and waits until its pods are up to date and ready. The one pod of a set with a single
// replica is replaced without a gap: for the time of the change there are two, the new one is made first, and the old
// one ends when the new one is ready. Where there is no room for two, the pod is replaced in its place.
//
//	the set does not exist yet           apply, wait
//	its pods stay as they are            apply, wait
//	they change, several replicas        apply, wait: Kubernetes replaces one by one
//	they change, a single replica        apply with two, wait, apply with one, wait
//	an earlier run left two of one       the same from its second half on
func (p *Provisioner) rollOut(ctx context.Context, wanted *appsv1.StatefulSet, component string, surges bool,
	report func(string),
) ([]apply.Change, error) {
	held, err := p.Host.AppsV1().StatefulSets(p.Namespace).Get(ctx, wanted.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading StatefulSet %q: %w", wanted.Name, apply.Classify(err))
	}
	exists := err == nil
	change := exists && held.Annotations[templateAnnotation] != wanted.Annotations[templateAnnotation]
	if surges && *wanted.Spec.Replicas == 1 && exists && held.Status.ReadyReplicas > 0 &&
		(change || *held.Spec.Replicas > 1) {
		if err := p.surge(ctx, wanted, component, report); err != nil {
			return nil, err
		}
	}
	changes, err := p.set(ctx, wanted)
	if err != nil {
		return changes, fmt.Errorf("setting StatefulSet %q: %w", wanted.Name, err)
	}
	if change && len(changes) == 1 {
		changes[0].Outcome = apply.Changed
	}
	return changes, p.waitRolledOut(ctx, wanted, component, report)
}

// surge runs two pods of a set. It returns without an error when there is no room for the second.
func (p *Provisioner) surge(ctx context.Context, wanted *appsv1.StatefulSet, component string,
	report func(string),
) error {
	two := wanted.DeepCopy()
	*two.Spec.Replicas = 2
	if _, err := p.set(ctx, two); err != nil {
		return fmt.Errorf("setting StatefulSet %q to two pods for the time of the change: %w", wanted.Name, err)
	}
	started := time.Now()
	unmet := fmt.Sprintf("StatefulSet %q not rolled out with two pods", wanted.Name)
	return p.Wait(ctx, unmet, report, func(ctx context.Context) (string, error) {
		reason, err := p.notRolledOut(ctx, two, component)
		if err != nil || reason == "" {
			return reason, err
		}
		if time.Since(started) > surgeLimit && p.noRoom(ctx, wanted.Name) {
			report(fmt.Sprintf("there is no room for a second pod of StatefulSet %s: its pod is replaced in its "+
				"place, and the API server does not answer meanwhile", wanted.Name))
			return "", nil
		}
		return reason, nil
	})
}

// noRoom reports whether the second pod of a set can't be scheduled or created.
func (p *Provisioner) noRoom(ctx context.Context, set string) bool {
	pod, err := p.Host.CoreV1().Pods(p.Namespace).Get(ctx, set+"-1", metav1.GetOptions{})
	if err != nil {
		return apierrors.IsNotFound(err)
	}
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse
	})
}

func (p *Provisioner) waitRolledOut(ctx context.Context, wanted *appsv1.StatefulSet, component string,
	report func(string),
) error {
	unmet := fmt.Sprintf("StatefulSet %q not rolled out", wanted.Name)
	return p.Wait(ctx, unmet, report, func(ctx context.Context) (string, error) {
		return p.notRolledOut(ctx, wanted, component)
	})
}

// notRolledOut returns the reason why a StatefulSet is not rolled out; "" when all its pods are up to date and ready.
// Of etcd's members, one without its data is errMemberLost: it waits itself, to be replaced.
func (p *Provisioner) notRolledOut(ctx context.Context, wanted *appsv1.StatefulSet, component string) (string, error) {
	held, err := p.Host.AppsV1().StatefulSets(p.Namespace).Get(ctx, wanted.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading StatefulSet %q: %w", wanted.Name, apply.Classify(err))
	}
	status, count := held.Status, *wanted.Spec.Replicas
	if status.ObservedGeneration >= held.Generation && status.ReadyReplicas == count &&
		status.UpdatedReplicas == count &&
		status.Replicas == count && status.CurrentRevision == status.UpdateRevision {
		return "", nil
	}
	if component == hosted.Etcd && count > 1 {
		if lost, err := p.lostMembers(ctx); err != nil || len(lost) > 0 {
			return "", cmp.Or(err, errMemberLost)
		}
	}
	text := fmt.Sprintf("%d of %d pods of StatefulSet %s are ready", min(status.ReadyReplicas, status.UpdatedReplicas),
		count, wanted.Name)
	if reason := p.DiagnoseSet(ctx, wanted.Name, component); reason != "" {
		text += ": " + reason
	}
	return text, nil
}
