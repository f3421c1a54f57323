package controlplane

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
)

// notWorking returns the parts of the control plane that do not work; "" when all do. An API server that answers is no
// proof: between two crashes of a component without a readiness probe the pod is ready again.
func (p *Provisioner) notWorking(ctx context.Context, client kubernetes.Interface) (string, error) {
	var missing []string
	note := func(reason string, err error) error {
		if reason != "" {
			missing = append(missing, reason)
		}
		return err
	}
	if p.Store().Kind == config.StoreEtcd {
		if err := note(p.notRunning(ctx, p.Names().Etcd(), hosted.Etcd)); err != nil {
			return "", err
		}
	}
	if err := note(p.notRunning(ctx, p.Names().ControlPlane(), hosted.ControlPlane)); err != nil {
		return "", err
	}
	k8s := p.VCluster.ControlPlane.Distro.K8s
	if err := note(p.notLeading(ctx, client, "kube-controller-manager", k8s.ControllerManager)); err != nil {
		return "", err
	}
	err := note(p.notLeading(ctx, client, "kube-scheduler", k8s.Scheduler))
	return strings.Join(missing, "; "), err
}

// notRunning returns the containers of a StatefulSet's pods that do not run, or not for long enough.
func (p *Provisioner) notRunning(ctx context.Context, set, component string) (string, error) {
	pods, err := p.Host.CoreV1().Pods(p.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(p.Names().Selector(component)).String()})
	if err != nil {
		return "", fmt.Errorf("listing the pods of StatefulSet %q: %w", set, apply.Classify(err))
	}
	var reasons []string
	found := 0
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Labels[batchv1.JobNameLabel] != "" {
			continue // it answered in the API server's place while the store was loaded
		}
		found++
		reason := cmp.Or(p.DiagnosePod(ctx, pod), p.unsteady(ctx, pod))
		if reason != "" {
			reasons = append(reasons, fmt.Sprintf("pod %s: %s", pod.Name, reason))
		}
	}
	if found == 0 {
		return fmt.Sprintf("StatefulSet %s: no pod yet", set), nil
	}
	return strings.Join(reasons, "; "), nil
}

// steadyAfter is how long a container that ended before has to run again. A program that crashes at its start does so
// sooner.
const steadyAfter = 5 * time.Second

// unsteady returns the container of a ready pod that does not run, or ended a moment ago; "" when there is none.
func (p *Provisioner) unsteady(ctx context.Context, pod *corev1.Pod) string {
	for _, status := range append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...) {
		runs, ended := status.State.Running, status.LastTerminationState.Terminated
		switch {
		case endsByItself(pod, status.Name):
		case runs == nil:
			if reason, _ := p.DiagnoseContainer(ctx, pod, status); reason != "" {
				return reason
			}
			return fmt.Sprintf("container %s does not run", status.Name)
		case ended != nil && p.Now().Sub(runs.StartedAt.Time) < steadyAfter:
			text := fmt.Sprintf("container %s ended with exit code %d and was started again", status.Name,
				ended.ExitCode)
			if line := p.LastLogLine(ctx, pod.Name, status.Name, false); line != "" {
				text += ": " + line
			}
			return text
		}
	}
	return ""
}

// endsByItself reports whether a container is an init container that runs to its end before others start.
func endsByItself(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == name && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways)
	})
}

// leaseTolerance allows for clocks of the host cluster's nodes that differ from ours, and for a busy API server.
const leaseTolerance = 30 * time.Second

// notLeading returns a reason when no replica of a component that elects a leader leads: it runs and does nothing.
func (p *Provisioner) notLeading(ctx context.Context, client kubernetes.Interface, name string,
	settings config.Component,
) (string, error) {
	if slices.ContainsFunc(settings.ExtraArgs, func(arg string) bool {
		return arg == "--leader-elect=false" || strings.HasPrefix(arg, "--leader-elect-resource")
	}) {
		return "", nil // there is no lease, or it is another one
	}
	lease, err := client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return name + " has not begun to work", nil
	case err != nil:
		return "", fmt.Errorf("reading Lease %q: %w", name, apply.Classify(err))
	case lease.Spec.RenewTime == nil || lease.Spec.LeaseDurationSeconds == nil:
		return name + " has not begun to work", nil
	}
	ends := lease.Spec.RenewTime.Add(time.Duration(*lease.Spec.LeaseDurationSeconds)*time.Second + leaseTolerance)
	if p.Now().After(ends) {
		return fmt.Sprintf("%s has not worked since %s", name, lease.Spec.RenewTime.UTC().Format(time.RFC3339)), nil
	}
	return "", nil
}
