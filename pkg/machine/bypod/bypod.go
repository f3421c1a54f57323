// Package bypod reaches a machine that SSH does not through a privileged pod on its node: commands are run in it by the API
// server's exec, and enter the machine's own namespaces there. The pod is made when it is first needed, and does nothing by
// itself. It needs an API server that reaches the node's kubelet.
package bypod

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/fault"
	"argosy.dev/argosy/pkg/machine"
)

// Pods make the way to machines of one cluster.
type Pods struct {
	Client kubernetes.Interface
	Config *rest.Config
	// Image of Argosy, which has /executor-plugin, and how it is pulled; empty is Kubernetes' default.
	Image      string
	PullPolicy string
	// PodSecurity and ContainerSecurity are a PodSecurityContext and a SecurityContext, as the documents have them. Empty ones are
	// root, privileged.
	PodSecurity, ContainerSecurity map[string]any

	mu   sync.Mutex
	used map[string]bool
}

const (
	namespace = metav1.NamespaceSystem
	container = "machine"
	// program is where the image has Argosy.
	program = "/executor-plugin"
	// lives is how long a pod is there at most, in seconds, if nobody takes it away.
	lives = 3600
	// startsWithin bounds the wait for a pod to run.
	startsWithin = 45 * time.Second
)

// name of a machine's pod.
func name(node string) string { return "argosy-upgrade-" + node }

// Connect gives the way to a machine by its node; it makes the pod, or finds it.
func (p *Pods) Connect(ctx context.Context, node string) (machine.Connection, error) {
	wanted, err := p.pod(node)
	if err != nil {
		return nil, err
	}
	if err := p.ensure(ctx, wanted); err != nil {
		return nil, fmt.Errorf("reaching the machine by pod %s/%s: %w", namespace, wanted.Name, err)
	}
	return &connection{pods: p, pod: wanted.Name, node: node}, nil
}

// InPlaceOf makes a way to a machine that first is, and the pod where first does not reach it; then it stays the pod.
func (p *Pods) InPlaceOf(first func(context.Context) (machine.Connection, error), node string) func(context.Context) (machine.Connection, error) {
	return func(ctx context.Context) (machine.Connection, error) {
		if p.uses(node) {
			return p.Connect(ctx, node)
		}
		connection, err := first(ctx)
		if err == nil || ctx.Err() != nil || !fault.IsTransient(err) {
			return connection, err
		}
		if p.notReady(ctx, node) {
			return nil, err // nor does a pod start there
		}
		byPod, failed := p.Connect(ctx, node)
		if failed != nil {
			return nil, fault.As(fault.ClassOf(err), fmt.Errorf("%w; and %w", err, failed))
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.used == nil {
			p.used = map[string]bool{}
		}
		p.used[node] = true
		return byPod, nil
	}
}

func (p *Pods) uses(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used[node]
}

func (p *Pods) notReady(ctx context.Context, name string) bool {
	node, err := p.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return true
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status != corev1.ConditionTrue
		}
	}
	return true
}

// Release takes a machine's pod away if one was used.
func (p *Pods) Release(ctx context.Context, node string) error {
	if p == nil || !p.uses(node) {
		return nil
	}
	p.mu.Lock()
	delete(p.used, node)
	p.mu.Unlock()
	return p.Remove(ctx, node)
}

// Remove takes a machine's pod away; there may be none.
func (p *Pods) Remove(ctx context.Context, node string) error {
	now := int64(0)
	err := p.Client.CoreV1().Pods(namespace).Delete(ctx, name(node), metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing pod %s/%s: %w", namespace, name(node), apply.Classify(err))
	}
	return nil
}

// ensure makes a pod where none runs, and waits until it does.
func (p *Pods) ensure(ctx context.Context, wanted *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, startsWithin)
	defer cancel()
	pods := p.Client.CoreV1().Pods(namespace)
	why := "it is not there yet"
	for {
		held, err := pods.Get(ctx, wanted.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			_, err = pods.Create(ctx, wanted, metav1.CreateOptions{FieldManager: apply.Manager})
			if apierrors.IsAlreadyExists(err) {
				err = nil
			}
		case err == nil && running(held):
			return nil
		case err == nil && ended(held):
			err = p.Remove(ctx, wanted.Spec.NodeName)
		case err == nil:
			why = waits(held)
		}
		if err != nil && ctx.Err() == nil && !fault.IsTransient(apply.Classify(err)) {
			return apply.Classify(err)
		}
		select {
		case <-ctx.Done():
			return fault.As(fault.Transient, fmt.Errorf("it does not run: %s: %w", why, context.Cause(ctx)))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func running(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning &&
		len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].State.Running != nil
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// waits says what keeps a pod from running.
func waits(pod *corev1.Pod) string {
	for _, status := range pod.Status.ContainerStatuses {
		if waiting := status.State.Waiting; waiting != nil {
			return fmt.Sprintf("%s: %s", waiting.Reason, waiting.Message)
		}
	}
	return "it is " + string(pod.Status.Phase)
}

// pod stays on a node that is cordoned and is evicted by nobody.
func (p *Pods) pod(node string) (*corev1.Pod, error) {
	yes := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name(node), Namespace: namespace, Labels: map[string]string{drain.OwnLabel: "true"}},
		Spec: corev1.PodSpec{
			NodeName: node, HostPID: true, HostNetwork: true, RestartPolicy: corev1.RestartPolicyAlways,
			PriorityClassName: "system-node-critical", AutomountServiceAccountToken: new(bool),
			TerminationGracePeriodSeconds: new(int64), ActiveDeadlineSeconds: seconds(lives),
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{
				Name: container, Image: p.Image, ImagePullPolicy: corev1.PullPolicy(p.PullPolicy),
				Command:         []string{program, "stand-by"},
				SecurityContext: &corev1.SecurityContext{Privileged: &yes, RunAsUser: new(int64), RunAsGroup: new(int64)},
			}},
		},
	}
	for _, own := range []struct {
		section map[string]any
		into    any
	}{{p.PodSecurity, &pod.Spec.SecurityContext}, {p.ContainerSecurity, &pod.Spec.Containers[0].SecurityContext}} {
		if len(own.section) == 0 {
			continue
		}
		text, err := json.Marshal(own.section)
		if err == nil {
			err = json.Unmarshal(text, own.into)
		}
		if err != nil {
			return nil, fault.As(fault.Configuration, fmt.Errorf("reading a security context of privateNodes.autoUpgrade: %w", err))
		}
	}
	return pod, nil
}

func seconds(n int64) *int64 { return &n }
