// Package bypod reaches a machine that SSH does not through a privileged pod on its node: commands are run in it by the
// API server's exec, and enter the machine's own namespaces there. The pod is made when it is first needed, and does
// nothing by itself. It needs an API server that reaches the node's kubelet.
package bypod

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/machine"
)

// Pods connect to machines of one cluster.
type Pods struct {
	Client kubernetes.Interface
	Config *rest.Config
	// Image of Argosy, which has /executor-plugin, and how it is pulled; empty is Kubernetes' default.
	Image      string
	PullPolicy string
	// PodSecurity and ContainerSecurity are a PodSecurityContext and a SecurityContext, as the documents have them.
	// Empty ones are root, privileged.
	PodSecurity, ContainerSecurity map[string]any
	// Owner returns the rollout at work, such as its workflow's UID. Each rollout has pods of its own, and takes no
	// other's away.
	Owner func() string

	mu sync.Mutex
	// used are the pods in use, by their nodes; made are those that this process made.
	used map[string]types.UID
	made map[types.UID]bool
}

const (
	namespace = metav1.NamespaceSystem
	container = "machine"
	// program is where the image has Argosy.
	program = "/executor-plugin"
	// podLifetime bounds the life of a pod that is not removed, in seconds.
	podLifetime = 3600
	// startTimeout bounds the wait for a pod to run.
	startTimeout = 45 * time.Second
)

// rolloutAnnotation is the annotation with a pod's owner.
const rolloutAnnotation = "argosy.dev/rollout"

// longestNode is how much of a node's name is in its pod's, which may have 253 characters.
const longestNode = 200

// name returns the name of the pod on a node, which is different for each owner.
func (p *Pods) name(node string) string {
	sum := sha256.Sum256([]byte(p.owner() + "\x00" + node))
	short := strings.TrimRight(node[:min(len(node), longestNode)], ".-")
	return "argosy-upgrade-" + short + "-" + hex.EncodeToString(sum[:5])
}

func (p *Pods) owner() string {
	if p.Owner == nil {
		return ""
	}
	return p.Owner()
}

// Connect returns a connection to the machine of a node. It creates the pod, or finds it.
func (p *Pods) Connect(ctx context.Context, node string) (machine.Connection, error) {
	wanted, err := p.pod(node)
	if err != nil {
		return nil, err
	}
	uid, err := p.ensure(ctx, wanted)
	if err != nil {
		return nil, fmt.Errorf("reaching the machine by pod %s/%s: %w", namespace, wanted.Name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used == nil {
		p.used = map[string]types.UID{}
	}
	p.used[node] = uid
	return &connection{pods: p, pod: wanted.Name, node: node}, nil
}

// WithFallback returns a function that connects by first, and by a pod where first does not reach the machine; from
// then on it uses the pod.
func (p *Pods) WithFallback(first func(context.Context) (machine.Connection, error),
	node string,
) func(context.Context) (machine.Connection, error) {
	return func(ctx context.Context) (machine.Connection, error) {
		if p.uses(node) {
			return p.Connect(ctx, node)
		}
		connection, err := first(ctx)
		if err == nil || ctx.Err() != nil || !errclass.IsTransient(err) {
			return connection, err
		}
		if p.notReady(ctx, node) {
			return nil, err // nor does a pod start there
		}
		byPod, failed := p.Connect(ctx, node)
		if failed != nil {
			return nil, errclass.With(errclass.ClassOf(err), fmt.Errorf("%w; and %w", err, failed))
		}
		return byPod, nil
	}
}

func (p *Pods) uses(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, used := p.used[node]
	return used
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

// Release removes a machine's pod if one was used.
func (p *Pods) Release(ctx context.Context, node string) error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	uid, used := p.used[node]
	delete(p.used, node)
	p.mu.Unlock()
	if !used {
		return nil
	}
	return p.remove(ctx, p.name(node), uid)
}

// remove deletes one pod, and keeps another one that has its name.
func (p *Pods) remove(ctx context.Context, name string, uid types.UID) error {
	now := int64(0)
	err := p.Client.CoreV1().Pods(namespace).Delete(ctx, name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &uid},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("removing pod %s/%s: %w", namespace, name, apply.Classify(err))
	}
	return nil
}

// ensure creates a pod where none runs, waits until it does, and returns its UID.
func (p *Pods) ensure(ctx context.Context, wanted *corev1.Pod) (types.UID, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	pods := p.Client.CoreV1().Pods(namespace)
	why := "it does not exist yet"
	for {
		held, err := pods.Get(ctx, wanted.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			err = p.create(ctx, wanted)
		case err != nil:
			err = apply.Classify(err)
		default:
			var ready bool
			if ready, err = p.check(ctx, held, wanted); ready {
				return held.UID, nil
			}
			why = waitingReason(held)
		}
		if err != nil && ctx.Err() == nil && !errclass.IsTransient(err) {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", errclass.Errorf(errclass.Transient, "it does not run: %s: %w", why, context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// create creates a pod. One that exists by now is checked like one that was found.
func (p *Pods) create(ctx context.Context, wanted *corev1.Pod) error {
	pods := p.Client.CoreV1().Pods(namespace)
	created, err := pods.Create(ctx, wanted, metav1.CreateOptions{FieldManager: apply.Manager})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return apply.Classify(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made == nil {
		p.made = map[types.UID]bool{}
	}
	p.made[created.UID] = true
	return nil
}

// check decides about the pod that has the name of the wanted one, from the top:
//
//	marked as this rollout's   as wanted, or made here   state      decision
//	no                         -                         -          refuse: it is not ours, and stays
//	yes                        no                        -          remove, to make it anew
//	yes                        yes                       ended      remove, to make it anew
//	yes                        yes                       running    use
//	yes                        yes                       other      wait
//
// A pod made by this process may differ: admission webhooks change images.
func (p *Pods) check(ctx context.Context, held, wanted *corev1.Pod) (ready bool, err error) {
	p.mu.Lock()
	made := p.made[held.UID]
	p.mu.Unlock()
	owner, marked := held.Annotations[rolloutAnnotation]
	switch {
	case !made && (!marked || owner != wanted.Annotations[rolloutAnnotation] || held.Labels[drain.OwnLabel] == ""):
		return false, errclass.Errorf(errclass.Configuration, "a pod of that name is not this rollout's: it runs "+
			"%s on node %q; no command was run in it. Delete it if it is not needed", images(held), held.Spec.NodeName)
	case held.DeletionTimestamp != nil:
		return false, nil
	case ended(held) || !made && !sameProgram(held, wanted):
		return false, p.remove(ctx, held.Name, held.UID)
	default:
		return running(held), nil
	}
}

// sameProgram reports whether two pods run the same program of the same image on the same node.
func sameProgram(held, wanted *corev1.Pod) bool {
	if len(held.Spec.Containers) != 1 {
		return false
	}
	has, want := held.Spec.Containers[0], wanted.Spec.Containers[0]
	return held.Spec.NodeName == wanted.Spec.NodeName && held.Spec.HostPID && has.Name == want.Name &&
		has.Image == want.Image && slices.Equal(has.Command, want.Command)
}

// images lists the images of a pod, for a message.
func images(pod *corev1.Pod) string {
	var all []string
	for _, c := range pod.Spec.Containers {
		all = append(all, strconv.Quote(c.Image))
	}
	return strings.Join(all, ", ")
}

func running(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning &&
		len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].State.Running != nil
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// waitingReason returns why a pod does not run yet.
func waitingReason(pod *corev1.Pod) string {
	for _, status := range pod.Status.ContainerStatuses {
		if waiting := status.State.Waiting; waiting != nil {
			return fmt.Sprintf("%s: %s", waiting.Reason, waiting.Message)
		}
	}
	return "it is " + string(pod.Status.Phase)
}

// pod returns the pod for a node. It stays on a node that is cordoned, and is not evicted by a drain.
func (p *Pods) pod(node string) (*corev1.Pod, error) {
	yes := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.name(node), Namespace: namespace, Labels: map[string]string{drain.OwnLabel: "true"},
			Annotations: map[string]string{rolloutAnnotation: p.owner()},
		},
		Spec: corev1.PodSpec{
			NodeName: node, HostPID: true, HostNetwork: true, RestartPolicy: corev1.RestartPolicyAlways,
			PriorityClassName: "system-node-critical", AutomountServiceAccountToken: new(bool),
			TerminationGracePeriodSeconds: new(int64), ActiveDeadlineSeconds: seconds(podLifetime),
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{
				Name: container, Image: p.Image, ImagePullPolicy: corev1.PullPolicy(p.PullPolicy),
				Command: []string{program, "stand-by"},
				SecurityContext: &corev1.SecurityContext{
					Privileged: &yes, RunAsUser: new(int64),
					RunAsGroup: new(int64),
				},
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
			return nil, errclass.Errorf(errclass.Configuration,
				"reading a security context of privateNodes.autoUpgrade: %w", err)
		}
	}
	return pod, nil
}

func seconds(n int64) *int64 { return &n }
