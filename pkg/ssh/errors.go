package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	xssh "golang.org/x/crypto/ssh"

	"argosy.dev/argosy/pkg/errclass"
)

// HostKeyError is the error of a host key that was not accepted. Its class is configuration: nothing was sent to the
// machine, and trying again would meet the same key.
type HostKeyError struct {
	// Host is the machine, with its address.
	Host string
	// Offered is the key that the machine showed: "ssh-ed25519 SHA256:…".
	Offered string
	// Known are the keys that would have been accepted, in the same form. Empty: nothing is known of the machine.
	Known []string
	// Source is where Known comes from: "hostKeys", "known_hosts", "trust on first use".
	Source string
	// Reason is set when the key was refused for another reason than being different: revoked, an expired certificate.
	Reason string
}

// SourceFirstUse is the Source of a key that was seen at an earlier connection and trusted.
const SourceFirstUse = "trust on first use"

// Error names both fingerprints and the next step.
func (e *HostKeyError) Error() string {
	switch {
	case e.Reason != "":
		return fmt.Sprintf("host key of %s refused: %s: it offers %s", e.Host, e.Reason, e.Offered)
	case len(e.Known) == 0:
		return fmt.Sprintf("host key of %s is unknown: it offers %s; compare that with `ssh-keygen -lf` of the .pub "+
			"files in /etc/ssh on the machine itself, then add the matching line to its hostKeys or to known_hosts",
			e.Host, e.Offered)
	default:
		return fmt.Sprintf("host key of %s has changed: it offers %s, but %s has %s; "+
			"if the machine was installed anew, replace the key there, otherwise another host may be answering in its "+
			"place", e.Host, e.Offered, e.Source, strings.Join(e.Known, " and "))
	}
}

// AuthError is the error of a login that a machine refused. Its class is configuration, and the pool does not repeat it
// soon: servers punish the address from which failed logins come.
type AuthError struct {
	Host string
	User string
	// Tried are the methods that were refused, Allowed those that the server takes.
	Tried, Allowed []string
	// ServerMessage is the server's own text when it hung up.
	ServerMessage string
}

func (e *AuthError) Error() string {
	tried := "no method that the server allows was configured"
	switch {
	case e.ServerMessage != "":
		tried = e.ServerMessage
	case len(e.Tried) > 0:
		tried = "it refused " + strings.Join(e.Tried, ", ")
	}
	return fmt.Sprintf("login as %q on %s was refused: %s (it allows %s)", e.User, e.Host, tried,
		strings.Join(e.Allowed, ", "))
}

// ExitError is the error of a command that ran and did not succeed.
type ExitError struct {
	// Host is the machine, with its address.
	Host string
	// Command can be pasted into a shell on the machine.
	Command string
	// ExitCode as a shell reports it: 128 and the signal's number when a signal ended the command.
	ExitCode int
	// Signal without SIG, e.g. "TERM"; empty when the command ended by itself.
	Signal string
	// Tail holds the last lines of its standard error, or of its output when it wrote no errors.
	Tail []string
}

func (e *ExitError) Error() string {
	how := fmt.Sprintf("exited with %d", e.ExitCode)
	if e.Signal != "" {
		how = "was ended by signal " + e.Signal
	}
	text := fmt.Sprintf("command on %s %s: %s", e.Host, how, e.Command)
	if len(e.Tail) > 0 {
		text += ": " + e.Tail[len(e.Tail)-1]
	}
	return text
}

// BastionError is the error of a bastion that was to lead to a machine. Its class is that of its cause.
type BastionError struct {
	// Host is the machine behind the bastion.
	Host string
	Err  error
}

func (e *BastionError) Error() string {
	return fmt.Sprintf("reaching %s through its bastion: %v", e.Host, e.Err)
}

// Unwrap returns the bastion's own error.
func (e *BastionError) Unwrap() error { return e.Err }

// ShellError is the error of a login shell that ran nothing: nologin, a forced command that only
// prints, a shell that ends at once. Its class is configuration: another account is needed, or another shell.
type ShellError struct {
	Host string
	User string
	// ExitCode is the shell's.
	ExitCode int
	// Output holds the last lines that it printed to either stream, joined by " / "; may be empty.
	Output string
}

func (e *ShellError) Error() string {
	printed := "printed nothing"
	if e.Output != "" {
		printed = fmt.Sprintf("printed %q", e.Output)
	}
	return fmt.Sprintf("the login shell of user %q on %s runs no commands: it ended with %d and %s; set ssh.user to "+
		"an account whose shell does, or give this one such a shell", e.User, e.Host, e.ExitCode, printed)
}

// shellError returns the error of a command that the login shell did not even begin. nologin and the forced commands of
// cloud images print to standard output, shells to standard error.
func (c *Client) shellError(status exit, stdout, stderr string) error {
	if status.signal != "" {
		return transient("running a command on %s: the login shell of user %q was ended by signal %s",
			c.host(), c.config.User, status.signal)
	}
	var words []string
	for _, text := range []string{stdout, stderr} {
		var lines []string
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, quotable(line))
			}
		}
		words = append(words, lines[max(0, len(lines)-shellLines):]...)
	}
	return errclass.With(errclass.Configuration, &ShellError{
		Host: c.host(), User: c.config.User, ExitCode: status.code,
		Output: strings.Join(words, " / "),
	})
}

// shellLines is how many lines of each stream of a login shell are quoted.
const shellLines = 2

// errLost is the cause of every error of a connection that ended while it was in use.
var errLost = errors.New("the connection was lost")

// lost reports whether err is one that the user of a connection gets when it ends: a write to a closed socket, an end
// of the stream, a command that ended without a status. The connection itself may learn of its end a moment later.
func lost(err error) bool {
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &network) ||
		errors.As(err, new(*xssh.ExitMissingError))
}

func configuration(format string, args ...any) error {
	return errclass.Errorf(errclass.Configuration, format, args...)
}

func transient(format string, args ...any) error {
	return errclass.Errorf(errclass.Transient, format, args...)
}

// contextError returns the error of work that ended because ctx did.
func contextError(ctx context.Context, doing string) error {
	err := fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errclass.With(errclass.Transient, err)
	}
	return errclass.With(errclass.Cancelled, err)
}

// reachError classifies why a hop could not be reached. A name that does not exist and a bastion that forbids
// forwarding need a change by the user; everything else on a network may pass.
func reachError(host string, err error) error {
	wrapped := fmt.Errorf("reaching %s: %w", host, err)
	var name *net.DNSError
	var channel *xssh.OpenChannelError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return errclass.With(errclass.Configuration, wrapped)
	case errors.As(err, &channel) && channel.Reason == xssh.Prohibited:
		return configuration("reaching %s: the bastion does not allow forwarding (AllowTcpForwarding, PermitOpen): %w",
			host, err)
	default:
		return errclass.With(errclass.Transient, wrapped)
	}
}
