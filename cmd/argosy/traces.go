package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/internal/traces"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// tracedRun is the run of a command whose spans are sent.
type tracedRun struct {
	tracer *traces.Tracer
	run    traces.Run
}

// tracedKey is the key of a tracedRun in a command's context.
type tracedKey struct{}

// traced makes the commands beneath a command send spans, where the environment names a receiver.
func traced(command *cobra.Command) {
	if run := command.RunE; run != nil {
		command.RunE = func(command *cobra.Command, args []string) error { return runTraced(command, args, run) }
	}
	for _, child := range command.Commands() {
		traced(child)
	}
}

// tracesTimeout bounds the wait for the receiver at the end of a command.
const tracesTimeout = 5 * time.Second

func runTraced(command *cobra.Command, args []string, run func(*cobra.Command, []string) error) error {
	tracer, err := traces.New(command.Context(), traces.Program{Name: "argosy", Version: version})
	if err != nil {
		return err
	}
	if tracer == nil {
		return run(command, args)
	}
	current := tracedRun{tracer, traces.NewRun()}
	command.SetContext(context.WithValue(command.Context(), tracedKey{}, current))
	done := traces.Done{Name: command.CommandPath(), Began: time.Now()}
	err = run(command, args)
	done.Ended, done.Failure = time.Now(), traces.FailureOf(err)
	tracer.Run(current.run, done)
	closing, cancel := context.WithTimeout(context.WithoutCancel(command.Context()), tracesTimeout)
	defer cancel()
	if lost := tracer.Close(closing); lost != nil {
		_, _ = fmt.Fprintln(command.ErrOrStderr(), lost)
	}
	return err
}

// withTraces returns the work on a machine of a cluster with a span for it, where those of the command are sent.
func withTraces[Outcome any](ctx context.Context, cluster *config.Cluster,
	do func(config.Machine, operation.Progress) (Outcome, error),
) func(config.Machine, operation.Progress) (Outcome, error) {
	current, sent := ctx.Value(tracedKey{}).(tracedRun)
	if !sent {
		return do
	}
	return func(machine config.Machine, progress operation.Progress) (Outcome, error) {
		recorder := operation.NewRecorder(progress)
		outcome, err := do(machine, recorder)
		current.tracer.Machine(current.run, traces.Done{
			Name:       machine.Name,
			Attributes: map[string]string{"cluster": cluster.Name, "machine": machine.Name, "node": machine.NodeName},
			Failure:    traces.FailureOf(err),
		}, recorder.Timeline())
		return outcome, err
	}
}
