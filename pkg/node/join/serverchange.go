package join

import (
	"context"
	"fmt"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/kubeconfig"
	"argosy.dev/argosy/pkg/node/spec"
)

// serverChange is a node's address of the cluster beside the present one. The zero value is for one address.
type serverChange struct {
	known, present string
	// problem is the reason why the cluster can't be reached at known, and presentProblem at present; "" where it can.
	problem, presentProblem string
}

// moves reports whether the kubelet is to be given the present address: a machine's owner may have had it reach the
// cluster another way, and that stays as long as it works.
func (s serverChange) moves() bool { return s.problem != "" && s.presentProblem == "" }

// findServerChange compares the address in the kubelet's kubeconfig with the operation's, and asks both.
func findServerChange(ctx context.Context, c *node.Context) (serverChange, error) {
	change := serverChange{known: kubeletServer(c.Host), present: strings.TrimSuffix(c.Operation.Join.Server, "/")}
	if change.known == "" || change.known == change.present {
		return serverChange{}, nil
	}
	if change.problem = notReached(ctx, c, change.known); change.problem != "" {
		change.presentProblem = notReached(ctx, c, change.present)
	}
	return change, context.Cause(ctx)
}

// notReached returns the reason why the cluster does not answer at an address; "" when it does.
func notReached(ctx context.Context, c *node.Context, server string) string {
	asked := *c.Operation.Join
	asked.Server, asked.Requirements.MaxClockSkew = server, 0
	found := findings{}
	checkEndpoint(ctx, c.Host, &asked, &found)
	if len(found.problems) == 0 {
		return ""
	}
	return found.problems[0].text
}

// checkServerChange returns a remark about a node that knows the cluster at another address than the present one:
//
//	the known address answers    the present one answers    result
//	yes                          –                          a remark: nothing changes
//	no                           yes                        a remark: the kubelet moves with its settings; an error
//	                                                        in other operations than a join
//	no                           no                         an error: the node is cut off
func checkServerChange(ctx context.Context, c *node.Context) (remark string, err error) {
	change, err := findServerChange(ctx, c)
	switch {
	case err != nil || change.known == "":
		return "", err
	case change.problem == "":
		return fmt.Sprintf(", which it knows at %s; its address is %s now, and it answers at both", change.known,
			change.present), nil
	case change.moves() && c.Operation.Kind != spec.KindJoin:
		return "", cutOff(c, change, "submit join, which moves the kubelet to the present address, and then again")
	case change.moves():
		return fmt.Sprintf(", which it knows at %s, where it does not answer; the kubelet moves to %s", change.known,
			change.present), nil
	}
	return "", cutOff(c, change, "have one of the addresses lead to the cluster again, or reset the machine first "+
		"(argosy reset) and join it anew")
}

// cutOff returns the error of a node that does not reach the cluster at the address that it knows.
func cutOff(c *node.Context, change serverChange, hint string) error {
	return &node.Failure{
		Err: errclass.Errorf(errclass.Permanent, "the machine is node %s of this cluster already, which it knows at "+
			"%s, and the cluster is at %s now: %s",
			c.Operation.Join.NodeName, change.known, change.present, change.problem),
		Hint: hint,
	}
}

// serverDiffers reports whether the kubelet is to be given another address, and adds the change.
func serverDiffers(ctx context.Context, c *node.Context) (serverChange, error) {
	change, err := findServerChange(ctx, c)
	if err == nil && change.moves() {
		c.AddChanges(spec.Change{
			What: inspect.KubeletConf, Effect: spec.RestartsKubelet,
			Diff: node.Diff(inspect.KubeletConf, "server: "+change.known+"\n", "server: "+change.present+"\n"),
		})
	}
	return change, err
}

// moveKubelet writes an address into the kubelet's kubeconfig, which holds from its next start on.
func moveKubelet(h *host.Host, server string) error {
	held, err := h.ReadFile(inspect.KubeletConf)
	if err != nil {
		return fmt.Errorf("reading %q: %w", inspect.KubeletConf, err)
	}
	moved, err := kubeconfig.WithServer(held, server)
	if err != nil {
		return fmt.Errorf("changing the server in %q: %w", inspect.KubeletConf, err)
	}
	_, err = h.WriteFile(inspect.KubeletConf, moved, 0o600)
	return err
}
