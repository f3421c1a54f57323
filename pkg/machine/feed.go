package machine

import (
	"context"
	"fmt"

	"github.com/sethvargo/go-retry"

	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/ssh"
)

// Feed sends an operation the archives that it asks for, which open opens, until it needs no more or ctx ends, which is
// no error. Nothing is stored on the way. A lost connection is made again, and the operation then asks for the archives
// that it still lacks. A login shell that fails is one of a machine that boots, since the operation was started over
// the same login; the watch bounds the wait for it.
func (m *Machine) Feed(ctx context.Context, id string, open feed.Open) error {
	f := &feeder{machine: m, id: id, open: open}
	err := retry.Do(ctx, reconnectBackoff(), func(ctx context.Context) error {
		err := f.runOnce(ctx)
		if err == nil || ctx.Err() != nil || !reconnectHelps(err, f.connected, true) {
			return err
		}
		return retry.RetryableError(err)
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("sending archives to operation %q on machine %q: %w", id, m.name, err)
	}
	return nil
}

// feeder is one call of Feed.
type feeder struct {
	machine   *Machine
	id        string
	open      feed.Open
	connected bool
}

// runOnce feeds the operation over one connection.
func (f *feeder) runOnce(ctx context.Context) error {
	client, err := f.machine.connect(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	f.connected = true
	run := agentCommand{args: []string{"feed", "--id", f.id}}
	argv, err := f.machine.argv(run.args)
	if err != nil {
		return err
	}
	sending, stop := context.WithCancel(ctx)
	sender := feed.NewSender(sending, f.open)
	// A read under way is not waited for by the command; it ends with its context.
	defer sender.Close()
	defer stop()
	result, err := client.Run(ctx, ssh.Command{Argv: argv, Stdin: sender, Stdout: sender})
	return f.machine.agentError(run, err, result)
}
