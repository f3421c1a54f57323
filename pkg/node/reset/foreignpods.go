package reset

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/cri"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
)

// foreignSocket returns the socket of a container runtime that the node used and that is not Argosy's, by its record;
// "" for none, and for one at containerd's own socket, which is asked like containerd.
func foreignSocket(ctx context.Context, n *node.Context) string {
	record, unreadable := n.Store.Record()
	if unreadable != nil || record == nil {
		return "" // then only processes tell of pods
	}
	socket := strings.TrimPrefix(record.AtJoin.CRISocket, "unix://")
	if !layout.PlainPath(socket) || socket == layout.ContainerdSocket || socket == "/var"+layout.ContainerdSocket {
		return ""
	}
	if inspect.Answers(ctx, n.Host, socket) != nil {
		return "" // then only processes tell of pods
	}
	return socket
}

// foreignPods returns the node's pods in such a runtime. They are the cluster's; the runtime and its images stay.
func foreignPods(ctx context.Context, n *node.Context) ([]string, error) {
	socket := foreignSocket(ctx, n)
	if socket == "" {
		return nil, nil
	}
	client := cri.New(n.Host.Path(socket))
	defer client.Close()
	return client.Pods(ctx)
}

// removeForeignPods makes the runtime stop and remove the node's pods, with their network.
func removeForeignPods(ctx context.Context, n *node.Context) error {
	socket := foreignSocket(ctx, n)
	if socket == "" {
		return nil
	}
	client := cri.New(n.Host.Path(socket))
	defer client.Close()
	pods, err := client.Pods(ctx)
	if err != nil {
		return err
	}
	n.SetMessage("ending %s", count.Of(len(pods), "pod"))
	var failed error
	for _, id := range pods {
		failed = errors.Join(failed, client.RemovePod(ctx, id))
	}
	if failed != nil {
		return fmt.Errorf("ending the pods of the machine's own container runtime: %w", failed)
	}
	return nil
}
