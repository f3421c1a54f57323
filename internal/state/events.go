package state

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/internal/apply"
)

// Event is a Kubernetes Event to be made.
type Event struct {
	// Warning is true for failures and refusals.
	Warning bool
	// Reason is one word, e.g. "Joined".
	Reason  string
	Message string
}

// Events makes Events in one cluster.
type Events struct {
	Client kubernetes.Interface
	Log    *slog.Logger
}

// maxEventMessage is the API server's bound of an Event's message, in bytes.
const maxEventMessage = 1024

// write makes events about an object. Where one cannot be made, that is logged.
func (e *Events) write(ctx context.Context, about corev1.ObjectReference, events []Event) {
	if e == nil || about.Name == "" {
		return
	}
	for _, event := range events {
		if err := e.create(ctx, about, event); err != nil {
			e.Log.Warn("an event could not be made", "object", about.Kind+"/"+about.Name, "reason", event.Reason,
				"error", err.Error())
		}
	}
}

// eventTimeout bounds the request for one event.
const eventTimeout = 5 * time.Second

func (e *Events) create(ctx context.Context, about corev1.ObjectReference, event Event) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventTimeout)
	defer cancel()
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault // where Kubernetes keeps events about objects without a namespace
	}
	kind, now := corev1.EventTypeNormal, time.Now()
	if event.Warning {
		kind = corev1.EventTypeWarning
	}
	_, err := e.Client.CoreV1().Events(namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s.%x", about.Name, now.UnixNano()),
		},
		InvolvedObject: about, Type: kind, Reason: event.Reason,
		Message: oneLine(event.Message, maxEventMessage),
		Source:  corev1.EventSource{Component: apply.Manager}, ReportingController: "argosy.dev/executor-plugin",
		FirstTimestamp: metav1.NewTime(now), LastTimestamp: metav1.NewTime(now), Count: 1,
	}, metav1.CreateOptions{FieldManager: apply.Manager})
	if err != nil {
		return fmt.Errorf("making event %q: %w", event.Reason, err)
	}
	return nil
}

// OnNode makes an event about a node of a virtual cluster, with a client of that cluster. Where the account there may
// not, or the node is gone, that is logged.
func OnNode(ctx context.Context, client kubernetes.Interface, log *slog.Logger, node string, event Event) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventTimeout)
	defer cancel()
	held, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		log.Info("no event was made about a node", "node", node, "reason", event.Reason, "error", err.Error())
		return
	}
	events := Events{Client: client, Log: log}
	events.write(ctx, corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node, UID: held.UID}, []Event{event})
}
