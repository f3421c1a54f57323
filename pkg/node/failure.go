package node

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// ErrCancelled ends an operation that Cancel was called for.
var ErrCancelled = errclass.With(errclass.Cancelled, errors.New("the operation was cancelled"))

// ErrStopped ends an operation whose process was told to end, as at a shutdown. The next start continues it.
var ErrStopped = errclass.With(errclass.Transient,
	errors.New("the operation was stopped, as when the machine shuts down"))

// errDeadline ends an operation that took too long. A slow download may be done the next time.
var errDeadline = errclass.With(errclass.Transient, errors.New("the operation ran into its deadline"))

// tailLines is the number of lines of a failed command's output that a status has.
const tailLines = 20

// Failure is an error with problems, a command and a hint for the user. Its class is that of the error within.
type Failure struct {
	Err error
	// Problems are sentences, each with its remedy; empty when there is only one problem.
	Problems []string
	// Command can be pasted into a shell on the machine, and Tail is the end of its output; when empty, those of the
	// command that failed are taken.
	Command string
	Tail    []string
	// Hint is the next thing to do.
	Hint string
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// statusError returns a phase's error as the status has it.
func statusError(phase string, err error) *spec.Error {
	e := &spec.Error{Class: errclass.ClassOf(err), Phase: phase, Message: err.Error()}
	var command *host.CommandError
	if errors.As(err, &command) {
		e.Command = command.Command.String()
		e.Tail = command.Tail(tailLines)
	}
	var disk *host.DiskError
	if errors.As(err, &disk) {
		e.Hint = disk.Hint()
	}
	var failure *Failure
	if errors.As(err, &failure) {
		e.Problems, e.Hint = failure.Problems, failure.Hint
		if failure.Command != "" {
			e.Command, e.Tail = failure.Command, failure.Tail
		}
	}
	return e
}

// withCause adds the context's cause to the error of a phase that was interrupted.
func withCause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// Problems returns one error for several findings; nil when there are none.
func Problems(class errclass.Class, summary string, problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return &Failure{Err: errclass.Errorf(class, "%s: %s", summary, strings.Join(problems, " ")), Problems: problems}
}
