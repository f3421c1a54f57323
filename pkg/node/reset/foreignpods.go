package reset

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/cri"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
)

// foreignSocket is where a container runtime answers that the node used and that is not Argosy's, as its record tells;
// "" for none. One at containerd's own place is asked as containerd is.
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

// foreignPods are what such a runtime knows of the node's pods. They are the cluster's; the runtime and its images
// stay.
func foreignPods(ctx context.Context, n *node.Context) ([]string, error) {
	socket := foreignSocket(ctx, n)
	if socket == "" {
		return nil, nil
	}
	client := cri.New(n.Host.Path(socket))
	defer client.Close()
	return client.Pods(ctx)
}

// removeForeignPods has the runtime end and forget the node's pods, with their network.
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
	n.SetMessage("ending %d pods", len(pods))
	var failed error
	for _, id := range pods {
		failed = errors.Join(failed, client.RemovePod(ctx, id))
	}
	if failed != nil {
		return fmt.Errorf("ending the pods of the machine's own container runtime: %w", failed)
	}
	return nil
}
