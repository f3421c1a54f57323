// Package reset makes a node a clean machine again: it holds the phases, one file each, in the order they run. It asks
// no cluster, so it also works when the cluster is gone, and it never touches a machine that is another cluster's node.
//
// It removes the files, processes and settings of Argosy, kubeadm, the kubelet, containerd and the pods' network, and
// leaves those of the machine's owner: mounts, drop-ins, network configurations; it restores binaries that Argosy
// replaced.
package reset

import (
	"context"
	"fmt"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/node"
)

// Phases returns the phases of a reset.
func Phases() []node.Phase { return (&cleaner{kernel: linux{}, goneTimeout: goneTimeout}).phases() }

// goneTimeout bounds the wait for processes and mounts to go after they were ended. Processes that wait for a disk take
// longest.
const goneTimeout = 15 * time.Second

// cleaner has the phases that need the kernel itself beside the machine's files and programs.
type cleaner struct {
	kernel      kernel
	goneTimeout time.Duration
	// node is set once the machine was seen to be Argosy's node.
	node bool
	// networks are the networks of pods that were found so far.
	networks podNetworks
}

// phases returns the phases, in an order in which no running program makes again a thing that was removed. The proof
// comes before the record is removed: no record means that the machine is clean.
func (c *cleaner) phases() []node.Phase {
	return []node.Phase{
		{
			Name: "preflight", Short: "checking which cluster the node belongs to", Check: c.checkPreflight,
			Apply: applyPreflight,
		},
		{
			Name: "kubelet", Short: "stopping the kubelet", Check: gone(c.findKubelet, "no kubelet runs"),
			Apply: c.stopKubelet,
		},
		{Name: "pods", Short: "ending all pods", Check: gone(c.findPods, "no pods run"), Apply: c.endPods},
		{Name: "containerd", Short: "stopping containerd", Check: gone(findContainerd,
			"Argosy's containerd does not run"), Apply: c.stopContainerd},
		{
			Name: "mounts", Short: "unmounting the volumes of pods",
			Check: gone(c.findMounts, "nothing of pods is mounted"),
			Apply: c.unmount,
		},
		{
			Name: "network", Short: "removing the pods' network",
			Check: gone(c.findNetwork, "nothing of the pods' network is left"), Apply: c.removeNetwork,
		},
		{Name: "binaries", Short: "removing the binaries", Check: gone(findBinaries,
			"no binaries of Argosy are installed"), Apply: removeBinaries},
		{
			Name: "files", Short: "removing credentials, settings and data",
			Check: gone(c.findFiles, "no files of a node are left"), Apply: c.removeFiles,
		},
		{Name: "prove", Short: "making sure that nothing is left", Check: c.checkProof, Apply: c.prove},
		{
			Name: "forget", Short: "removing the machine's record",
			Check: gone(findRecords, "the machine has no record of a cluster"), Apply: removeRecords,
		},
	}
}

// finder returns the things on the machine that a phase removes, each in a few words: "link cni0".
type finder func(ctx context.Context, c *node.Context) ([]string, error)

// gone returns the check of a phase that holds when its finder finds nothing.
func gone(find finder, nothing string) func(context.Context, *node.Context) (bool, string, error) {
	return func(ctx context.Context, c *node.Context) (bool, string, error) {
		found, err := find(ctx, c)
		if err != nil {
			return false, "", err
		}
		if len(found) > 0 {
			return false, some(found), nil
		}
		return true, nothing, nil
	}
}

// shown is the number of things that a message names.
const shown = 4

// some returns the first of the things that were found, as text.
func some(found []string) string {
	if len(found) <= shown {
		return strings.Join(found, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(found[:shown], ", "), len(found)-shown)
}

// pollInterval is the time between two looks at things that are about to end.
const pollInterval = 25 * time.Millisecond

// waitUntilGone waits until find returns nothing, and returns the things that are left after goneTimeout. It calls
// again before each further look.
func (c *cleaner) waitUntilGone(ctx context.Context, again func(), find func() ([]string, error)) ([]string, error) {
	for deadline := time.Now().Add(c.goneTimeout); ; {
		left, err := find()
		if err != nil || len(left) == 0 || time.Now().After(deadline) {
			return left, err
		}
		again()
		select {
		case <-ctx.Done():
			return left, context.Cause(ctx)
		case <-time.After(pollInterval):
		}
	}
}
