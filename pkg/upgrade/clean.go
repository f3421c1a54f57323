package upgrade

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// Verify checks that the node of each machine that takes part is Ready at the version and takes pods. The error names
// the machines whose nodes are not, with the reason where one failed or was left. Only a policy, a window that closed
// and a drain that was told to skip leave machines out. plan is the rollout's, by which nodes that are gone are missed.
func (u *Upgrader) Verify(ctx context.Context, chosen []config.Machine, plan rollout.Plan) (string, error) {
	machines, nodes, err := u.snapshot(ctx, chosen, time.Now())
	if err != nil {
		return "", err
	}
	var wrong, left []string
	right := 0
	for _, m := range machines {
		machine, _ := u.Cluster.Machine(m.Name)
		switch why := u.problem(m, nodes[machine.NodeName]); {
		case why == "":
			right++
		case m.Skip != "" || m.State == rollout.Skipped || m.Version == "" && !plan.Has(m.Name):
			left = append(left, m.Name)
		default:
			wrong = append(wrong, m.Name+": "+why)
		}
	}
	text := fmt.Sprintf("%d of %d machines are Ready at %s", right, len(machines), u.Version)
	if len(left) > 0 {
		text += fmt.Sprintf(", %d left out: %s", len(left), strings.Join(left, ", "))
	}
	if len(wrong) > 0 {
		return text, errclass.Errorf(errclass.Permanent, "%s\n%s", text, strings.Join(wrong, "\n"))
	}
	return text, nil
}

func (u *Upgrader) problem(m rollout.Machine, node *corev1.Node) string {
	switch {
	case node == nil:
		return "it has no node: submit workflow join"
	case (m.State == rollout.Failed || m.State == rollout.Left) && m.Version != u.Version:
		return cmp.Or(m.Reason, string(m.State))
	case drain.Owns(node, cordonOwner) || drain.Owns(node, waveOwner):
		return "its node is still cordoned"
	}
	return join.NotReady(node, u.Version)
}

// endWave uncordons a node whose machine was not begun.
func (u *Upgrader) endWave(ctx context.Context, node *corev1.Node, progress operation.Progress) (string, error) {
	err := u.retrying(ctx, progress, func(ctx context.Context) error {
		_, err := drain.Drainer{Client: u.Target.Client}.Uncordon(ctx, node.Name, waveOwner)
		return err
	})
	return fmt.Sprintf("node %s was not begun and is uncordoned", node.Name), err
}

// Clean finishes every node that rollouts have left cordoned, upgraded or as it was before, and uncordons it; and it
// releases the Lease. Machines at work in this process are waited for, and those of another rollout that is at work are
// left to it. It returns a line for each node that it uncordoned; the error names the others.
func (u *Upgrader) Clean(ctx context.Context, progress operation.Progress) ([]string, error) {
	if err := u.waitIdle(ctx, progress); err != nil {
		return nil, err
	}
	if err := u.readRecord(ctx); err != nil {
		return nil, err
	}
	nodes, other, err := u.leftCordoned(ctx, progress)
	if err != nil {
		return nil, err
	}
	var done, failed []string
	for _, machine := range u.Cluster.Fleet.Machines {
		node := nodes[machine.NodeName]
		if node != nil && drain.Owns(node, waveOwner) && other == "" {
			line, err := u.endWave(ctx, node, progress)
			if err != nil {
				failed = append(failed, fmt.Sprintf("%s: %v", machine.Name, err))
				continue
			}
			done = append(done, line)
		}
		if node == nil || !drain.Owns(node, cordonOwner) || other != "" &&
			stateOf(node).Rollout == other {
			continue
		}
		operation.Reportf(progress, "node %s was left cordoned", machine.NodeName)
		line, err := u.endUpgrade(ctx, machine, node, progress)
		u.releasePod(ctx, machine)
		if err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", machine.Name, err))
			continue
		}
		done = append(done, line)
	}
	if err := u.retrying(ctx, progress, u.End); err != nil {
		failed = append(failed, err.Error())
	}
	if len(failed) > 0 {
		return done, errclass.Errorf(errclass.Permanent, "cleaning up: %s", strings.Join(failed, "\n"))
	}
	return done, nil
}

// leftCordoned returns the nodes, and the rollout that is at work on some of them. Where no rollout has left a node
// cordoned, that does not matter, and is not waited for.
func (u *Upgrader) leftCordoned(ctx context.Context, progress operation.Progress) (map[string]*corev1.Node, string,
	error,
) {
	nodes, _, err := u.nodesSince(ctx, time.Now())
	if err != nil {
		return nil, "", err
	}
	cordoned := slices.ContainsFunc(u.Cluster.Fleet.Machines, func(m config.Machine) bool {
		node := nodes[m.NodeName]
		return node != nil && (drain.Owns(node, waveOwner) || drain.Owns(node, cordonOwner))
	})
	if !cordoned {
		return nodes, "", nil
	}
	other, err := u.otherRollout(ctx, progress)
	if err != nil {
		return nil, "", err
	}
	nodes, _, err = u.nodesSince(ctx, time.Now())
	return nodes, other, err
}

// endUpgrade ends the upgrade of one machine: it waits for one at work to finish, for one that has finished to be
// Ready, and rolls any other back.
func (u *Upgrader) endUpgrade(ctx context.Context, machine config.Machine, node *corev1.Node,
	progress operation.Progress,
) (string, error) {
	recorded := stateOf(node)
	w := &machineUpgrade{
		upgrader: u, machine: machine, progress: progress, own: true, since: recorded.Cordoned,
		outcome: Outcome{Machine: machine.Name, Node: machine.NodeName},
	}
	seen, err := w.inspectFor(ctx, spec.KindUpgrade)
	if err != nil {
		return "", err
	}
	w.onMachine = seen.Facts.Plan.Total
	if seen.Running() || !operation.Wants(seen.Facts.Plan) {
		if err := w.upgrade(ctx, seen, nil); err == nil {
			if err := w.uncordon(ctx); err != nil {
				return "", err
			}
			return fmt.Sprintf("node %s is at %s and uncordoned", node.Name, u.Version),
				u.note(ctx, node.Name, state{State: rollout.Succeeded})
		}
	}
	version, err := w.restore(ctx)
	if err != nil {
		return "", err
	}
	if version == "" {
		version = versionIn(seen.Facts)
	}
	if _, err := w.waitServing(ctx, version, nil, w.unnumbered); err != nil {
		return "", err
	}
	if err := w.uncordon(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("node %s is at %s as before and uncordoned", node.Name, version), nil
}
