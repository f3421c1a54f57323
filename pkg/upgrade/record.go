package upgrade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// record is the copy of the states at the nodes that a rollout keeps in a ConfigMap beside the Lease, by the names of
// the nodes. It counts for a node that is gone, or that its kubelet made again without the annotation: its machine
// stays as it was noted. It has the machines at work and those that failed alone, so that it stays small however many
// there are. One process at a time works on a rollout, so the ConfigMap is read once.
type record struct {
	mu     sync.Mutex
	read   bool
	states map[string]state
	// unwritten are the ends that could be noted neither here nor at the nodes. This process goes by them: otherwise
	// machines would wait for one that is no longer at work.
	unwritten map[string]state
}

// rolloutAnnotation has the rollout's name, which its ConfigMap's name has as a digest.
const rolloutAnnotation = "argosy.dev/rollout"

// recordName returns the name of the rollout's ConfigMap. A rollout from a terminal is named after its computer, which
// no object's name has to allow.
func (u *Upgrader) recordName() string { return recordOf(u.Rollout) }

func recordOf(rollout string) string {
	digest := sha256.Sum256([]byte(rollout))
	return leaseName + "-" + hex.EncodeToString(digest[:8])
}

// readRecord reads the ConfigMap, once.
func (u *Upgrader) readRecord(ctx context.Context) error {
	r := &u.record
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.read {
		return nil
	}
	return u.retrying(ctx, operation.NoProgress{}, func(ctx context.Context) error {
		found, err := u.Target.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, u.recordName(),
			metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("reading ConfigMap %s/%s: %w", metav1.NamespaceSystem, u.recordName(),
				apply.Classify(err))
		}
		r.states = map[string]state{}
		if err == nil {
			for node, text := range found.Data {
				var s state
				// One that cannot be parsed counts as none, like an annotation.
				if json.Unmarshal([]byte(text), &s) == nil {
					r.states[node] = s
				}
			}
		}
		r.read = true
		return nil
	})
}

// keep has this process go by a state that could not be noted.
func (u *Upgrader) keep(node string, s state) {
	s.Rollout, s.Run, s.Version = u.Rollout, u.Run, u.Version
	u.record.mu.Lock()
	if u.record.unwritten == nil {
		u.record.unwritten = map[string]state{}
	}
	u.record.unwritten[node] = s
	u.record.mu.Unlock()
	u.view.wake()
}

// kept returns the state of a node's machine that could not be noted, if any.
func (u *Upgrader) kept(node string) (state, bool) {
	u.record.mu.Lock()
	defer u.record.mu.Unlock()
	s, is := u.record.unwritten[node]
	return s, is
}

// noted forgets the state of before, since a later one is noted.
func (u *Upgrader) noted(node string) {
	u.record.mu.Lock()
	defer u.record.mu.Unlock()
	delete(u.record.unwritten, node)
}

// remembered returns the state of a node's machine in the record; the zero state where it has none of this run.
func (u *Upgrader) remembered(node string) state {
	u.record.mu.Lock()
	defer u.record.mu.Unlock()
	if s := u.record.states[node]; s.Rollout == u.Rollout && s.Run == u.Run {
		return s
	}
	return state{}
}

// remember sets the state of a node's machine in the record, whose text is s in JSON, or takes it out.
func (u *Upgrader) remember(ctx context.Context, node string, s state, text string) error {
	value := &text
	if s.State != rollout.Working && s.State != rollout.Failed {
		s, value = state{}, nil
	}
	if before := u.remembered(node); before.State == s.State && before.Reason == s.Reason {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"data": map[string]*string{node: value}})
	if err != nil {
		return fmt.Errorf("encoding the state of node %q: %w", node, err)
	}
	err = u.retrying(ctx, operation.NoProgress{}, func(ctx context.Context) error {
		err := u.patchRecord(ctx, patch, node, value)
		switch {
		case apierrors.IsAlreadyExists(err): // another machine of the rollout was noted at the same moment
			return fmt.Errorf("making ConfigMap %s/%s: %w", metav1.NamespaceSystem, u.recordName(), transient(err))
		case err != nil:
			return fmt.Errorf("noting the state of node %q in ConfigMap %s/%s: %w", node, metav1.NamespaceSystem,
				u.recordName(), apply.Classify(err))
		}
		return nil
	})
	if err != nil {
		return err
	}
	u.record.mu.Lock()
	defer u.record.mu.Unlock()
	if u.record.states == nil {
		u.record.states = map[string]state{}
	}
	u.record.states[node] = s
	return nil
}

// patchRecord patches the ConfigMap, or makes it with the value of a node; nil is none.
//
//nolint:wrapcheck // remember names the node and the ConfigMap.
func (u *Upgrader) patchRecord(ctx context.Context, patch []byte, node string, value *string) error {
	configMaps := u.Target.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	_, err := configMaps.Patch(ctx, u.recordName(), types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: apply.Manager})
	switch {
	case !apierrors.IsNotFound(err):
		return err
	case value == nil:
		return nil
	}
	_, err = configMaps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: u.recordName(), Annotations: map[string]string{rolloutAnnotation: u.Rollout},
		},
		Data: map[string]string{node: *value},
	}, metav1.CreateOptions{FieldManager: apply.Manager})
	return err
}

// deleteRecord deletes the ConfigMap at the end of a rollout.
func (u *Upgrader) deleteRecord(ctx context.Context) error {
	err := u.Target.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Delete(ctx, u.recordName(),
		metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting ConfigMap %s/%s: %w", metav1.NamespaceSystem, u.recordName(), apply.Classify(err))
	}
	return nil
}
