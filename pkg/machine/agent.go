package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/ssh"
)

// Exit codes of runScript when it could not run argosy-node. Neither a shell nor argosy-node uses them.
const (
	exitReadOnly    = 115
	exitUnsupported = 116
	exitMissing     = 117
	exitOtherDigest = 118
	exitNoExec      = 119
	exitCannotRun   = 126 // the shell's own
)

// A program cannot be run while another plugin still writes to it, which uploads the same one.
const (
	maxBusyAttempts = 5
	busyWait        = 300 * time.Millisecond
)

// runScript becomes argosy-node of the machine's own architecture if it is there with the right digest; otherwise it
// prints the architecture and exits with one of the codes above. A program that was just uploaded is renamed into place
// first. Nothing is sent to a folder that root cannot write: it is on a read-only file system, or immutable, and its
// name is printed in place of the architecture. Arguments: path and sha256 for amd64, path and sha256 for arm64 ("-"
// when we carry none), then argosy-node's own.
const runScript = `machine=$(uname -m)
case $machine in
x86_64) arch=amd64 p=$1 d=$2;;
aarch64|arm64) arch=arm64 p=$3 d=$4;;
*) echo "$machine"; exit 116;;
esac
shift 4
if [ "$p" = - ]; then echo "$arch"; exit 117; fi
writable() {
  d=${p%/*}
  while [ -n "$d" ] && [ ! -e "$d" ]; do d=${d%/*}; done
  [ -w "${d:-/}" ] || { echo "${d:-/}"; exit 115; }
}
good() { [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$d" ]; }
if [ -f "$p.partial" ]; then
  if good "$p.partial"; then chmod 0755 "$p.partial" && mv -f -- "$p.partial" "$p" || exit 1; fi
fi
[ -f "$p" ] || { writable; echo "$arch"; exit 117; }
good "$p" || { writable; echo "$arch"; exit 118; }
[ -x "$p" ] || chmod 0755 "$p" 2>/dev/null || { writable; exit 119; }
[ -x "$p" ] || exit 119
exec "$p" "$@"`

// agentCommand is one run of argosy-node.
type agentCommand struct {
	args  []string
	input []byte
	// output, when not nil, gets the output of argosy-node as it comes.
	output io.Writer
}

// run runs argosy-node as root, and sends it to the machine first when it is not there.
func (m *Machine) run(ctx context.Context, client Connection, command agentCommand) (ssh.Result, error) {
	argv, err := m.argv(command.args)
	if err != nil {
		return ssh.Result{}, err
	}
	for attempt, busy := 1, 0; ; attempt++ {
		result, err := client.Run(ctx, ssh.Command{Argv: argv, Stdin: input(command.input), Stdout: command.output})
		if exitCode(err) == exitCannotRun && busy < maxBusyAttempts && sleep(ctx, busyWait) {
			busy++
			attempt--
			continue
		}
		arch, wanted := missingAgent(err, result)
		if !wanted {
			return result, m.agentError(command, err, result)
		}
		if attempt == 3 {
			return result, fmt.Errorf("installing argosy-node: its digest on the machine is wrong after two uploads; " +
				"check the disk of the machine")
		}
		// A part that did not grow into the right file is of no use: a second attempt begins anew.
		if err := m.install(ctx, client, arch, attempt > 1); err != nil {
			return result, fmt.Errorf("installing argosy-node: %w", err)
		}
	}
}

// input keeps a nil slice from becoming a non-nil reader.
func input(data []byte) io.Reader {
	if data == nil {
		return nil
	}
	return bytes.NewReader(data)
}

func (m *Machine) argv(args []string) ([]string, error) {
	argv := []string{"/bin/sh", "-c", runScript, "argosy-node"}
	carried := 0
	var missing error
	for _, arch := range []string{"amd64", "arm64"} {
		program, err := m.agent.Program(arch)
		if err != nil {
			argv, missing = append(argv, "-", "-"), err
			continue
		}
		carried++
		argv = append(argv, m.agentPath(program.SHA256), program.SHA256)
	}
	if carried == 0 {
		return nil, fmt.Errorf("looking for argosy-node: %w", missing)
	}
	return append(argv, args...), nil
}

// agentPath is content-addressed: two versions of the plugin use their own program each, and never one another's.
func (m *Machine) agentPath(digest string) string {
	return path.Join(m.binariesPath, "argosy-node-"+digest[:min(16, len(digest))])
}

// missingAgent reports whether the script needs argosy-node, and for which architecture.
func missingAgent(err error, result ssh.Result) (arch string, wanted bool) {
	if code := exitCode(err); code != exitMissing && code != exitOtherDigest {
		return "", false
	}
	return firstWord(result.Stdout), true
}

// firstWord returns an answer of one short word, or the beginning of a longer one.
func firstWord(answer []byte) string {
	return string(shorten(bytes.TrimSpace(answer)))
}

// exitCode is 0 when err is not that of a command that failed.
func exitCode(err error) int {
	var failed *ssh.ExitError
	if !errors.As(err, &failed) {
		return 0
	}
	return failed.ExitCode
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

// otherFolder is the way out of a folder in which argosy-node cannot be placed or run.
const otherFolder = "set privateNodes.autoUpgrade.binariesPath, or join.binariesPath of the machine, to another " +
	"folder, e.g. /opt/bin"

// agentError turns the exit of the script or of argosy-node into an error with a way out.
func (m *Machine) agentError(command agentCommand, err error, result ssh.Result) error {
	switch exitCode(err) {
	case exitUnsupported:
		machine := firstWord(result.Stdout)
		return errclass.Errorf(errclass.Configuration, "its architecture is %q, and Argosy supports amd64 and arm64",
			machine)
	case exitReadOnly:
		return errclass.Errorf(errclass.Configuration, "placing argosy-node in %q: %q cannot be written, not even by "+
			"root: its file system is mounted read-only, or the folder is immutable (lsattr -d); %s, or make it "+
			"writable", m.binariesPath, firstWord(result.Stdout), otherFolder)
	case exitNoExec:
		return errclass.Errorf(errclass.Configuration, "running argosy-node: no program can run in %q, whose file "+
			"system is mounted noexec; %s, or mount it with exec", m.binariesPath, otherFolder)
	case exitCannotRun:
		return errclass.Errorf(errclass.Configuration, "running argosy-node in %q: %w (\"Permission denied\": NOEXEC "+
			"in sudoers forbids sudo's command to run programs; \"Operation not permitted\": fapolicyd or another "+
			"security module forbids programs there; \"Text file busy\": another process still writes to it)",
			m.binariesPath, err)
	}
	var failed *ssh.ExitError
	if !errors.As(err, &failed) {
		return err
	}
	// The script around it would hide the message of argosy-node.
	plain := *failed
	plain.Command = "argosy-node " + strings.Join(command.args, " ")
	return &plain
}

func (m *Machine) install(ctx context.Context, client Connection, arch string, anew bool) error {
	program, err := m.agent.Program(arch)
	if err != nil {
		return err
	}
	target := m.agentPath(program.SHA256)
	if anew {
		if _, err := client.Run(ctx, ssh.Command{Argv: []string{
			"rm", "-f", "--", target,
			target + ".partial",
		}}); err != nil {
			return fmt.Errorf("removing %q: %w", target, err)
		}
	}
	// The script puts it in place, which saves an exec.
	_, err = client.Upload(ctx, ssh.Upload{
		Source: program.Source, Size: program.Size, SHA256: program.SHA256, Path: target, LeavePartial: true,
	})
	return err
}
