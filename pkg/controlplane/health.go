package controlplane

import (
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

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
)

// notWorking says which parts of the control plane do not work; "" when all do. That its API server answers does not
// say it: a pod is ready again between two crashes of a component that has no readiness to tell of.
func (p *Provisioner) notWorking(ctx context.Context, client kubernetes.Interface) (string, error) {
	var missing []string
	note := func(why string, err error) error {
		if why != "" {
			missing = append(missing, why)
		}
		return err
	}
	if p.Cluster.Store().Kind == config.StoreEtcd {
		if err := note(p.notRunning(ctx, p.names().etcd(), componentEtcd)); err != nil {
			return "", err
		}
	}
	if err := note(p.notRunning(ctx, p.names().controlPlane(), componentControlPlane)); err != nil {
		return "", err
	}
	k8s := p.Cluster.VCluster.ControlPlane.Distro.K8s
	if err := note(p.notLeading(ctx, client, "kube-controller-manager", k8s.ControllerManager)); err != nil {
		return "", err
	}
	err := note(p.notLeading(ctx, client, "kube-scheduler", k8s.Scheduler))
	return strings.Join(missing, "; "), err
}

// notRunning says which containers of a StatefulSet's pods do not run, or not for long.
func (p *Provisioner) notRunning(ctx context.Context, set, component string) (string, error) {
	pods, err := p.Host.CoreV1().Pods(p.namespace()).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(p.names().selector(component)).String()})
	if err != nil {
		return "", fmt.Errorf("listing the pods of StatefulSet %q: %w", set, apply.Classify(err))
	}
	var reasons []string
	looked := 0
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Labels[batchv1.JobNameLabel] != "" {
			continue // it stood in for the control plane while its store was loaded
		}
		looked++
		why := p.whyPod(ctx, pod)
		if why == "" {
			why = p.whyUnsteady(ctx, pod)
		}
		if why != "" {
			reasons = append(reasons, fmt.Sprintf("pod %s: %s", pod.Name, why))
		}
	}
	if looked == 0 {
		return fmt.Sprintf("StatefulSet %s: no pod yet", set), nil
	}
	return strings.Join(reasons, "; "), nil
}

// steadyAfter is how long a container that ended before has to run again. What crashes at its start does so within
// less.
const steadyAfter = 5 * time.Second

// whyUnsteady says which container of a ready pod does not run, or ended a moment ago; "" when none did.
func (p *Provisioner) whyUnsteady(ctx context.Context, pod *corev1.Pod) string {
	for _, status := range append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...) {
		runs, ended := status.State.Running, status.LastTerminationState.Terminated
		switch {
		case endsByItself(pod, status.Name):
		case runs == nil:
			if why, _ := p.whyContainer(ctx, pod, status); why != "" {
				return why
			}
			return fmt.Sprintf("container %s does not run", status.Name)
		case ended != nil && p.now().Sub(runs.StartedAt.Time) < steadyAfter:
			text := fmt.Sprintf("container %s ended with exit code %d and was started again", status.Name,
				ended.ExitCode)
			if line := p.lastLine(ctx, pod.Name, status.Name, false); line != "" {
				text += ": " + line
			}
			return text
		}
	}
	return ""
}

// endsByItself says whether a container is one that others wait for the end of.
func endsByItself(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == name && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways)
	})
}

// leaseTolerance allows for clocks of the host cluster's nodes that differ from ours, and for an API server that is
// busy.
const leaseTolerance = 30 * time.Second

// notLeading says of a component whose replicas elect a leader that none leads: it runs, and does nothing.
func (p *Provisioner) notLeading(ctx context.Context, client kubernetes.Interface, name string,
	settings config.Component) (string, error) {
	if slices.ContainsFunc(settings.ExtraArgs, func(arg string) bool {
		return arg == "--leader-elect=false" || strings.HasPrefix(arg, "--leader-elect-resource")
	}) {
		return "", nil // it says so nowhere, or elsewhere
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
	if p.now().After(ends) {
		return fmt.Sprintf("%s has not worked since %s", name, lease.Spec.RenewTime.UTC().Format(time.RFC3339)), nil
	}
	return "", nil
}
