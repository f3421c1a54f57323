package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

const (
	watchInterval = 50 * time.Millisecond
	// aliveInterval is the time between two checks that a process still runs the operation.
	aliveInterval = time.Second
)

// Watch calls show with the operation's status, at once and after each change, until it is final or ctx ends. An
// operation whose process is gone without a result is recorded as failed, transient: starting it again continues it.
func (e *Engine) Watch(ctx context.Context, id string, show func(*spec.Status) error) error {
	if err := CheckID(id); err != nil {
		return err
	}
	// A change is told by the content, in which the sequence number differs in every write. File times do not tell it:
	// kernels before 6.13 stamp files by the tick, so that two writes within 4 ms (CONFIG_HZ=250) get the same time.
	// Nor does the inode, whose number the file after the next may get again.
	var seen []byte
	checked := time.Now()
	for {
		content, err := e.Store.host.ReadFile(e.Store.name(id, "status.json"))
		if err != nil {
			return fmt.Errorf("watching operation %q: %w", id, err)
		}
		if !bytes.Equal(content, seen) {
			seen = content
			status, err := decodeStatus(e.Store.name(id, "status.json"), content)
			if err != nil {
				return fmt.Errorf("watching operation %q: %w", id, err)
			}
			if err := show(status); err != nil {
				return fmt.Errorf("showing the status of operation %q: %w", id, err)
			}
			if status.State.Final() {
				return nil
			}
		}
		if time.Since(checked) > aliveInterval {
			checked = time.Now()
			if err := e.recordLostUnit(ctx, id); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchInterval):
		}
	}
}

// recordLostUnit records an operation as failed if its process is gone and left no final status.
func (e *Engine) recordLostUnit(ctx context.Context, id string) error {
	if e.Store.Working() == id || e.Units.Alive(ctx, id) {
		return nil
	}
	// It may have ended with a result meanwhile, and a new start may be under way; the start lock excludes both.
	startLock, err := e.Store.lockStart(ctx)
	if err != nil {
		return err
	}
	defer startLock.release()
	status, err := e.Store.Status(id)
	if err != nil || status.State.Final() || e.Store.Working() == id || e.Units.Alive(ctx, id) {
		return nil
	}
	status.State, status.Finished = spec.Failed, time.Now().UTC()
	status.Message = "the operation's unit ended without a result"
	status.Error = &spec.Error{
		Class: errclass.Transient, Phase: status.Phase, Message: status.Message,
		Tail: e.logTail(id), Command: "journalctl -u " + unitName(id),
		Hint: "starting it again continues where it stopped",
	}
	if err := e.Store.RemoveSecrets(id); err != nil {
		return err
	}
	return e.Store.WriteStatus(status)
}

func (e *Engine) logTail(id string) []string {
	data, err := os.ReadFile(e.Store.logFile(id))
	if err != nil {
		return nil
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return lines[max(0, len(lines)-tailLines):]
}
