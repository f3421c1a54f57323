package join

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// hooksFile notes which of the user's commands succeeded.
const hooksFile = spec.Root + "/hooks.json"

// joining is how far a machine's join is, as far as the user's commands are concerned.
type joining int

const (
	// fresh: a join begins, and none of its commands has run.
	fresh joining = iota
	// underway: commands have run, or will, and the last stage is not over.
	underway
	// done: the machine has joined, and no command runs any more.
	done
)

// ran is what is known of a join's commands.
type ran struct {
	state  joining
	record hooksRecord
}

// hooksRecord is hooksFile. It belongs to one node of one cluster.
type hooksRecord struct {
	ClusterUID string `json:"clusterUID"`
	NodeName   string `json:"nodeName"`
	// Succeeded are the digests of the commands that succeeded, by stage, in the order in which they ran.
	Succeeded map[string][]string `json:"succeeded"`
	// Finished says that all stages are over.
	Finished bool `json:"finished"`
}

// readRan tells how far the join is:
//
//	the record is         the kubelet's credentials  state
//	of it, unfinished     any                        underway
//	anything else         of this node, valid        done
//	anything else         none, or others            fresh
//
// A machine that was joined by a version that ran no commands, or without any, is thereby done, and so is one that lost its
// record: a command that prepares a disk must not run on a node at work.
func readRan(h *host.Host, j *spec.Join) (*ran, error) {
	r := &ran{state: fresh}
	data, err := h.ReadFile(hooksFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %q: %w", hooksFile, err)
	}
	// It is written by rename, so one that can't be read is of no join of ours.
	known := err == nil && json.Unmarshal(data, &r.record) == nil && r.record.ClusterUID == j.ClusterUID && r.record.NodeName == j.NodeName
	if !known {
		r.record = hooksRecord{}
	}
	switch {
	case known && !r.record.Finished:
		r.state = underway
	case notJoined(h, j) == "":
		r.state = done
	}
	return r, nil
}

// left are the places of the commands that have to run. A command that is there twice runs twice.
func (r *ran) left(stage string, commands []string) []int {
	if r.state == done {
		return nil
	}
	var succeeded []string
	if r.state == underway {
		succeeded = slices.Clone(r.record.Succeeded[stage])
	}
	var left []int
	for i, command := range commands {
		if at := slices.Index(succeeded, commandDigest(command)); at >= 0 {
			succeeded = slices.Delete(succeeded, at, at+1)
			continue
		}
		left = append(left, i)
	}
	return left
}

// same says whether exactly these commands ran in the join that is over.
func (r *ran) same(stage string, commands []string) bool {
	var digests []string
	for _, command := range commands {
		digests = append(digests, commandDigest(command))
	}
	return slices.Equal(r.record.Succeeded[stage], digests)
}

// begin notes that a join is under way, before any of its commands runs and before kubeadm can make it look done.
func (r *ran) begin(h *host.Host, j *spec.Join) error {
	if r.state != fresh {
		return nil
	}
	r.state = underway
	r.record = hooksRecord{ClusterUID: j.ClusterUID, NodeName: j.NodeName, Succeeded: map[string][]string{}}
	return r.write(h)
}

func (r *ran) succeeded(h *host.Host, stage, command string) error {
	if r.record.Succeeded == nil {
		r.record.Succeeded = map[string][]string{}
	}
	r.record.Succeeded[stage] = append(r.record.Succeeded[stage], commandDigest(command))
	return r.write(h)
}

// finish notes that all stages are over.
func (r *ran) finish(h *host.Host) error {
	r.state, r.record.Finished = done, true
	return r.write(h)
}

func (r *ran) write(h *host.Host) error {
	data, err := json.Marshal(r.record)
	if err == nil {
		_, err = h.WriteFile(hooksFile, append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("noting which commands ran: %w", err)
	}
	return nil
}

func commandDigest(command string) string {
	sum := sha256.Sum256([]byte(command))
	return hex.EncodeToString(sum[:])
}
