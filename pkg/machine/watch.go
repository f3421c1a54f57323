package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sethvargo/go-retry"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/ssh"
)

// Bounds of the attempts to reach a machine again that is being watched: long enough for a reboot. Each status that
// arrives starts the time anew.
const (
	firstWait      = 250 * time.Millisecond
	longestWait    = 5 * time.Second
	jitter         = 20 // percent
	maxUnreachable = 2 * time.Minute
)

// errUnfinished: `argosy-node watch` looks no longer than its own time limit.
var errUnfinished = errors.New("argosy-node stopped watching before the operation had ended")

// Watch passes each status of an operation to each, now and after each change, until it is final, and returns the last
// one. It survives lost connections and reboots; a machine that cannot be reached for two minutes is a transient error.
// The operation itself does not depend on being watched.
func (m *Machine) Watch(ctx context.Context, id string, each func(spec.Status)) (spec.Status, error) {
	w := &watcher{machine: m, id: id, each: each}
	for {
		before := w.seen
		err := retry.Do(ctx, w.backoff(), w.attempt)
		switch {
		case err == nil:
			return w.last, nil
		case ctx.Err() != nil:
			return w.last, fmt.Errorf("watching operation %q on machine %q: %w", id, m.name, w.ended(ctx))
		case w.seen > before && errclass.IsTransient(err):
			sleep(ctx, firstWait) // it answered since: the time begins anew
		case errors.As(err, new(*ssh.ExitError)):
			// The machine no longer knows the operation, as after it was installed anew: starting over can help.
			return w.last, errclass.Errorf(errclass.Transient, "watching operation %q on machine %q: %w", id, m.name,
				err)
		default:
			return w.last, fmt.Errorf("watching operation %q on machine %q: %w", id, m.name, err)
		}
	}
}

// watcher is one call of Watch.
type watcher struct {
	machine *Machine
	id      string
	each    func(spec.Status)

	last      spec.Status
	seen      int  // how many statuses came
	connected bool // we have been logged in since Watch began
	failure   error
}

func (w *watcher) backoff() retry.Backoff {
	return retry.WithMaxDuration(maxUnreachable, reconnectBackoff())
}

// ended returns the error of a watch whose context ended; go-retry would keep only the context's part of it.
func (w *watcher) ended(ctx context.Context) error {
	class := errclass.Cancelled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		class = errclass.Transient
	}
	if w.failure == nil {
		return errclass.With(class, context.Cause(ctx))
	}
	return errclass.Errorf(class, "%w (last: %w)", context.Cause(ctx), w.failure)
}

// attempt watches over one connection. It asks for another attempt by a retryable error.
func (w *watcher) attempt(ctx context.Context) error {
	before := w.seen
	err := w.runOnce(ctx)
	if err == nil {
		return nil
	}
	w.failure = err
	if ctx.Err() != nil || !reconnectHelps(err, w.connected, w.seen > 0) {
		return err
	}
	err = errclass.With(errclass.Transient, err)
	if w.seen > before {
		return err // ends this round, and with it the time that was used up; Watch begins another
	}
	return retry.RetryableError(err)
}

func (w *watcher) runOnce(ctx context.Context) error {
	client, err := w.machine.connect(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	w.connected = true
	lines := &statusLines{each: w.note, since: time.Now()}
	_, err = w.machine.run(ctx, client, agentCommand{args: []string{"watch", "--id", w.id}, output: lines})
	switch {
	case w.last.State.Final():
		return nil // nothing that happens to the connection then changes it
	case err != nil:
		return err
	default:
		return errclass.With(errclass.Transient, errUnfinished)
	}
}

func (w *watcher) note(status spec.Status) {
	w.last = status
	w.seen++
	if w.each != nil {
		w.each(status)
	}
}

// maxStatus is the longest status, in bytes; a real one has a few KiB. As much may come in lines that are none, from a
// program that argosy-node's output passes through: more is a flood.
const maxStatus = 1 << 20

// statusRate bounds statuses, in bytes a second, beyond the first statusBurst bytes. argosy-node reads its file
// 20 times a second, and shows a few KiB when it has changed.
const (
	statusRate  = 1 << 20
	statusBurst = 8 << 20
)

// statusLines decodes one status a line, as they come. Lines of anything else are left to the result of the command.
type statusLines struct {
	rest     []byte
	other    int // bytes in lines that are no status
	statuses int // bytes in those that are one
	since    time.Time
	each     func(spec.Status)
}

func (s *statusLines) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	for {
		line, rest, found := bytes.Cut(s.rest, []byte("\n"))
		if len(line) > maxStatus {
			return 0, ssh.Flood("in one line", maxStatus)
		}
		if !found {
			return len(p), nil
		}
		s.rest = rest
		var status spec.Status
		if err := json.Unmarshal(line, &status); err == nil && status.ID != "" {
			s.statuses += len(line)
			if s.statuses > statusBurst+int(statusRate*time.Since(s.since).Seconds()) {
				return 0, ssh.Flood("in statuses, and faster than they are shown", statusBurst)
			}
			s.each(status)
			continue
		}
		if s.other += len(line) + 1; s.other > maxStatus {
			return 0, ssh.Flood("in lines that are no status", maxStatus)
		}
	}
}
