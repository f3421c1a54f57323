package bypod

import (
	"context"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/ssh"
)

// connection runs commands in the machine's namespaces, as root.
type connection struct {
	pods *Pods
	pod  string
	node string
}

// Run implements machine.Connection.
func (c *connection) Run(ctx context.Context, command ssh.Command) (ssh.Result, error) {
	request := c.pods.Client.CoreV1().RESTClient().Post().
		Resource("pods").Namespace(namespace).Name(c.pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: container, Stdin: command.Stdin != nil, Stdout: true, Stderr: true,
			// "--" keeps the machine's arguments apart from Argosy's own. Nothing passes through a shell.
			Command: append([]string{program, "on-machine", "--"}, command.Argv...),
		}, scheme.ParameterCodec)
	overSocket, err := remotecommand.NewWebSocketExecutor(c.pods.Config, "GET", request.URL().String())
	if err != nil {
		return ssh.Result{}, errclass.Errorf(errclass.Permanent, "preparing to run commands in pod %s: %w", c.pod, err)
	}
	overSPDY, err := remotecommand.NewSPDYExecutor(c.pods.Config, "POST", request.URL())
	if err != nil {
		return ssh.Result{}, errclass.Errorf(errclass.Permanent, "preparing to run commands in pod %s: %w", c.pod, err)
	}
	executor, err := remotecommand.NewFallbackExecutor(overSocket, overSPDY, httpstream.IsUpgradeFailure)
	if err != nil {
		return ssh.Result{}, errclass.Errorf(errclass.Permanent, "preparing to run commands in pod %s: %w", c.pod, err)
	}
	stdout, stderr := ssh.NewOutput(command.Stdout), ssh.NewErrors()
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err = executor.StreamWithContext(reading, remotecommand.StreamOptions{
		Stdin: command.Stdin, Stdout: stopping{stdout, stop}, Stderr: stopping{stderr, stop},
	})
	var result ssh.Result
	result.Stdout, result.Truncated = stdout.Seal()
	result.Stderr, _ = stderr.Seal()
	if reading.Err() != nil && ctx.Err() == nil {
		return result, fmt.Errorf("reading the output of a command by pod %s on node %s, which was ended: %w",
			c.pod, c.node, context.Cause(reading))
	}
	return result, c.explain(ctx, command, &result, err)
}

// stopping ends a command when its output is not taken any more.
type stopping struct {
	to   io.Writer
	stop context.CancelCauseFunc
}

func (s stopping) Write(p []byte) (int, error) {
	if _, err := s.to.Write(p); err != nil {
		s.stop(err)
	}
	return len(p), nil // client-go would log the error as one of its own
}

// explain gives errors the types that package ssh has.
func (c *connection) explain(ctx context.Context, command ssh.Command, result *ssh.Result, err error) error {
	var exit exec.CodeExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		class := errclass.Cancelled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			class = errclass.Transient
		}
		return errclass.Errorf(class, "running a command by pod %s: %w", c.pod, context.Cause(ctx))
	case errors.As(err, &exit):
		result.ExitCode = exit.Code
		shown, _ := ssh.Quote(command.Argv) // it has just run, so it can be quoted
		return &ssh.ExitError{
			Host: "node " + c.node, Command: shown, ExitCode: exit.Code,
			Tail: ssh.LastLines(result.Stdout, result.Stderr),
		}
	}
	return errclass.Errorf(errclass.Transient, "running a command by pod %s on node %s: %w", c.pod, c.node, err)
}

// Upload implements machine.Connection. It resumes an upload that was cut off.
func (c *connection) Upload(ctx context.Context, upload ssh.Upload) (ssh.UploadResult, error) {
	return ssh.UploadBy(ctx, c, fmt.Sprintf("node %s by pod %s", c.node, c.pod), upload)
}
