// Command argosy-node is Argosy's program on a machine. It carries out one operation, as root, for the length of that
// operation, and exits: there is no resident agent. It is called over SSH and listens on no port.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/images"
	"argosy.dev/argosy/pkg/node/join"
	"argosy.dev/argosy/pkg/node/reset"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/node/upgrade"
)

// version is set by the linker.
var version = "development"

const help = `argosy-node carries out operations of Argosy on the machine it runs on.

  argosy-node inspect                    what this machine is, as one line of JSON
                     < question.json     and what operations would do here, in the same answer
  argosy-node plan   < operation.json    what an operation would do here; changes nothing
  argosy-node start  < operation.json    run it in a systemd unit of its own, or attach to it when it runs already;
                                         when no changes are needed, say so and start nothing
  argosy-node watch  --id ID             the operation's status, now and after each change, until it has ended
                     [--timeout 1h]      look no longer than that
  argosy-node cancel --id ID             ask the operation to stop at its next safe point
  argosy-node admit  --id ID             let a join that waits for that ask the API server; what the plugin runs
  argosy-node feed   --id ID             give the operation the archives that it asks for: requests come from standard
                                         output, and standard input answers them; what the plugin runs
  argosy-node run    --id ID             what the unit runs; of no use by hand
  argosy-node version

Every command answers with JSON, one object a line. An operation that fails is an answer too, with exit code 0: "state"
says how it stands and "error" why. Another exit code means that argosy-node could not do its own work.

  /var/lib/argosy/ops/ID/   spec.json, status.json and log of an operation; journalctl -u argosy-ID has the rest
  /var/lib/argosy/node.json what this machine was joined to
`

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "argosy-node: %v\n", err)
		os.Exit(1)
	}
}

// command carries out one verb; args follow it on the command line.
type command func(ctx context.Context, e *node.Engine, args []string, in io.Reader, out io.Writer) error

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	commands := map[string]command{
		"inspect": inspectMachine, "plan": plan, "start": start, "run": runOperation, "watch": watch, "cancel": cancel,
		"admit": admit, "feed": feedOperation,
	}
	if len(args) == 0 {
		fmt.Fprint(out, help)
		return errors.New("reading the command line: a command is missing")
	}
	switch args[0] {
	case "--help", "-h", "-help", "help":
		_, err := fmt.Fprint(out, help)
		return err
	case "version", "--version":
		return answer(out, map[string]string{"version": programVersion()})
	}
	verb, known := commands[args[0]]
	if !known {
		return fmt.Errorf("reading the command line: there is no command %q, see argosy-node --help", args[0])
	}
	engine, err := newEngine()
	if err != nil {
		return err
	}
	return verb(ctx, engine, args[1:], in, out)
}

func newEngine() (*node.Engine, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program's own file: %w", err)
	}
	// The unit must find the program even if the link by which it was called is removed.
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return nil, fmt.Errorf("finding this program's own file: %w", err)
	}
	machine := host.Local()
	return &node.Engine{
		Host:  machine,
		Store: node.NewStore(machine),
		Phases: map[spec.Kind][]node.Phase{
			spec.KindJoin: join.Phases(), spec.KindReset: reset.Phases(), spec.KindImages: images.Phases(),
			spec.KindStage: upgrade.StagePhases(), spec.KindUpgrade: upgrade.Phases(),
			spec.KindRollback: upgrade.RollbackPhases(),
		},
		Units: &node.Systemd{Runner: machine.Runner, Self: self},
	}, nil
}

func plan(ctx context.Context, e *node.Engine, args []string, in io.Reader, out io.Writer) error {
	op, err := operation("plan", args, in)
	if err != nil {
		return err
	}
	status, err := e.Plan(ctx, op)
	if err != nil {
		return fmt.Errorf("planning operation %q: %w", op.ID, err)
	}
	return answer(out, status)
}

func start(ctx context.Context, e *node.Engine, args []string, in io.Reader, out io.Writer) error {
	op, err := operation("start", args, in)
	if err != nil {
		return err
	}
	status, err := e.Start(ctx, op)
	if err != nil {
		return fmt.Errorf("starting operation %q: %w", op.ID, err)
	}
	return answer(out, status)
}

func runOperation(ctx context.Context, e *node.Engine, args []string, _ io.Reader, _ io.Writer) error {
	id, err := idFlag("run", args, nil)
	if err != nil {
		return err
	}
	log, err := e.Store.OpenLog(id)
	if err != nil {
		return err
	}
	defer log.Close()
	asked, end := context.WithCancelCause(e.Store.StopContext(ctx, id))
	defer end(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		select {
		case <-signals:
			end(node.ErrStopped)
		case <-asked.Done():
		}
	}()
	fmt.Fprintf(log, "argosy-node %s runs operation %s at %s\n", programVersion(), id,
		time.Now().UTC().Format(time.RFC3339))
	if _, err := e.Run(ctx, id, asked, log); err != nil {
		fmt.Fprintf(log, "%v\n", err)
		return err
	}
	if self, err := os.Executable(); err == nil {
		removeOlder(self, time.Now())
	}
	return nil
}

func watch(ctx context.Context, e *node.Engine, args []string, _ io.Reader, out io.Writer) error {
	var timeout time.Duration
	id, err := idFlag("watch", args, func(set *flag.FlagSet) {
		set.DurationVar(&timeout, "timeout", time.Hour, "look no longer than this")
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return e.Watch(ctx, id, func(status *spec.Status) error { return answer(out, status) })
}

func cancel(ctx context.Context, e *node.Engine, args []string, _ io.Reader, out io.Writer) error {
	id, err := idFlag("cancel", args, nil)
	if err != nil {
		return err
	}
	status, err := e.Cancel(ctx, id)
	if err != nil {
		return fmt.Errorf("cancelling operation %q: %w", id, err)
	}
	return answer(out, status)
}

func admit(ctx context.Context, e *node.Engine, args []string, _ io.Reader, out io.Writer) error {
	id, err := idFlag("admit", args, nil)
	if err != nil {
		return err
	}
	status, err := e.Admit(ctx, id)
	if err != nil {
		return fmt.Errorf("admitting operation %q: %w", id, err)
	}
	return answer(out, status)
}

func operation(verb string, args []string, in io.Reader) (*spec.Operation, error) {
	if err := flags(verb, args, nil); err != nil {
		return nil, err
	}
	var op spec.Operation
	decoder := json.NewDecoder(in)
	// A field that this program does not know is a wish it would silently not fulfil.
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&op); err != nil {
		return nil, fmt.Errorf("reading the operation from standard input: %w", err)
	}
	return &op, nil
}

func flags(verb string, args []string, define func(*flag.FlagSet)) error {
	set := flag.NewFlagSet(verb, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	if define != nil {
		define(set)
	}
	if err := set.Parse(args); err != nil {
		return fmt.Errorf("reading the flags of %q: %w, see argosy-node --help", verb, err)
	}
	if set.NArg() > 0 {
		return fmt.Errorf("reading the flags of %q: %q is one argument too many", verb, set.Arg(0))
	}
	return nil
}

func idFlag(verb string, args []string, define func(*flag.FlagSet)) (string, error) {
	var id string
	err := flags(verb, args, func(set *flag.FlagSet) {
		set.StringVar(&id, "id", "", "the operation")
		if define != nil {
			define(set)
		}
	})
	if err != nil {
		return "", err
	}
	if err := node.CheckID(id); err != nil {
		return "", err
	}
	return id, nil
}

func answer(out io.Writer, value any) error {
	if err := json.NewEncoder(out).Encode(value); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

// programVersion returns the version that the linker set, else the commit of the build.
func programVersion() string {
	if version != "development" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				return version + "-" + setting.Value
			}
		}
	}
	return version
}
