package join

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/spec"
)

// hooksFile notes which of the user's commands succeeded.
const hooksFile = spec.HooksFile

// hooksState is the progress of a machine's join with regard to the user's commands.
type hooksState int

const (
	// fresh: a join begins, and none of its commands has run.
	fresh hooksState = iota
	// underway: commands have run, or will, and the machine is no node yet.
	underway
	// joined: the machine is a node, so that only post-join is still open.
	joined
	// done: all stages are over or closed, and no command runs any more.
	done
	// unknown: the machine is no node, and the note of its commands cannot be read.
	unknown
)

// commandRuns has the commands of a join that ran.
type commandRuns struct {
	state hooksState
	// known is set when there is a note of this join.
	known  bool
	record hooksRecord
	// unreadable is why the note cannot be read; nil when it can, or when there is none.
	unreadable error
}

// hooksRecord is hooksFile. It belongs to one node of one cluster.
type hooksRecord struct {
	ClusterUID string `json:"clusterUID"`
	NodeName   string `json:"nodeName"`
	// Succeeded are the digests of the commands that succeeded, by stage, in the order in which they ran.
	Succeeded map[string][]string `json:"succeeded"`
	// Joined is set once the kubelet has had its credentials. From then on pre-install and pre-join are closed.
	Joined bool `json:"joined,omitempty"`
	// Finished is set when all stages are over.
	Finished bool `json:"finished"`
}

// readHooks returns the state of the join's commands:
//
//	the note is                    the machine is a node  state
//	of this join, unfinished       no                     underway
//	of this join, unfinished       yes                    joined
//	of this join, finished         any                    done
//	of another join, unfinished    no                     fresh
//	of another join, else          any                    done
//	not there                      no                     fresh
//	not there                      yes                    done
//	unreadable                     no                     unknown
//	unreadable                     yes                    done
//
// A command that prepares a disk must not run on a machine with a node's data. So a machine that was a node stays
// closed until a reset, which removes every sign of it, also when its credentials expired or were removed, and when
// the note is lost.
func readHooks(h *host.Host, j *spec.Join) (*commandRuns, error) {
	r := &commandRuns{}
	err := node.ReadState(h, hooksFile, &r.record)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.state = stateWithoutRecord(h, fresh)
		return r, nil
	case errors.Is(err, node.ErrUnreadable):
		r.record, r.unreadable = hooksRecord{}, err
		r.state = stateWithoutRecord(h, unknown)
		return r, nil
	case err != nil:
		return nil, err
	}
	r.known = r.record.ClusterUID == j.ClusterUID && r.record.NodeName == j.NodeName
	wasNode := r.record.Joined || isNode(h)
	switch {
	case r.record.Finished, !r.known && wasNode:
		r.state = done
	case !r.known:
		r.state = fresh
	case wasNode:
		r.state = joined
	default:
		r.state = underway
	}
	if !r.known {
		r.record = hooksRecord{}
	}
	return r, nil
}

// stateWithoutRecord returns the state of a join without a note: done on a node, else otherwise.
func stateWithoutRecord(h *host.Host, otherwise hooksState) hooksState {
	if isNode(h) {
		return done
	}
	return otherwise
}

// isNode reports whether the machine is, or was, a node of any cluster and was not reset since. The kubelet's
// credentials count whether they are valid or not, and a record that cannot be read counts as one.
func isNode(h *host.Host) bool {
	if h.Exists(inspect.KubeletConf) {
		return true
	}
	record, err := node.NewStore(h).Record()
	return record != nil || err != nil
}

// open reports whether commands of the stage may run.
func (r *commandRuns) open(stage string) bool {
	switch r.state {
	case fresh, underway:
		return true
	case joined:
		return stage == postJoin
	}
	return false
}

// left returns the indexes of the commands that have to run. A command that is listed twice runs twice.
func (r *commandRuns) left(stage string, commands []string) []int {
	if !r.open(stage) {
		return nil
	}
	return r.missing(stage, commands)
}

// missing returns the indexes of the commands that, by the note, did not run in this join.
func (r *commandRuns) missing(stage string, commands []string) []int {
	succeeded := slices.Clone(r.record.Succeeded[stage])
	var missing []int
	for i, command := range commands {
		if at := slices.Index(succeeded, commandDigest(command)); at >= 0 {
			succeeded = slices.Delete(succeeded, at, at+1)
			continue
		}
		missing = append(missing, i)
	}
	return missing
}

// begin notes that a join is under way, before any of its commands runs and before kubeadm writes credentials.
func (r *commandRuns) begin(h *host.Host, j *spec.Join) error {
	if r.state != fresh {
		return nil
	}
	r.state, r.known = underway, true
	r.record = hooksRecord{ClusterUID: j.ClusterUID, NodeName: j.NodeName, Succeeded: map[string][]string{}}
	return r.write(h)
}

func (r *commandRuns) succeeded(h *host.Host, stage, command string) error {
	if r.record.Succeeded == nil {
		r.record.Succeeded = map[string][]string{}
	}
	r.record.Succeeded[stage] = append(r.record.Succeeded[stage], commandDigest(command))
	return r.write(h)
}

// noteJoined closes pre-install and pre-join in the note, if there is one of this join: credentials may be removed by
// hand. It is called before the credentials of an earlier kubelet are removed, and after kubeadm has succeeded.
func noteJoined(h *host.Host, j *spec.Join) error {
	r, err := readHooks(h, j)
	if err != nil || r.state != joined || r.record.Joined {
		return err
	}
	r.record.Joined = true
	return r.write(h)
}

// finish notes that all stages are over.
func (r *commandRuns) finish(h *host.Host) error {
	r.state, r.record.Finished = done, true
	return r.write(h)
}

func (r *commandRuns) write(h *host.Host) error {
	data, err := json.Marshal(r.record)
	if err == nil {
		_, err = h.WriteFile(hooksFile, append(data, '\n'), 0o600)
	}
	if err == nil {
		// The note must be on the disk before another command runs.
		err = h.SyncFolders()
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
