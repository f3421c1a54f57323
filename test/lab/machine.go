package lab

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

// Machine is one machine of the lab, as tests and benchmarks work on it: a container or a virtual machine. They know
// nothing else of it.
type Machine interface {
	// Spec returns the machine's name, address, login, and how it is reached.
	Spec() MachineSpec
	// Exec runs argv as root, past the machine's sshd, and returns its standard output. The error is a *RunError if
	// the command itself ended badly. The standard input may be nil.
	Exec(ctx context.Context, stdin io.Reader, argv ...string) (string, error)
	// Reset kills all that runs on the machine, wipes its disk, deletes its node in team-a, and boots it. Address, host
	// key and authorized keys stay. It returns when the machine's sshd answers.
	Reset(ctx context.Context, options ResetOptions) error
	// Reboot has the machine reboot in an orderly way and waits for its sshd.
	Reboot(ctx context.Context) error
	// CutPower ends a machine as a power cut does: no process hears of it, nothing leaves the machine any more, and all
	// that was not synced to the disk is gone. It boots the machine again and waits for its sshd. A container must
	// have been reset with OwnDisk.
	CutPower(ctx context.Context) error
	// Connect sets whether frames reach and leave the machine. Its link stays up, as that of a machine whose cable is
	// pulled at the other end.
	Connect(ctx context.Context, connected bool) error
	// WaitForSSH returns when the machine's sshd greets.
	WaitForSSH(ctx context.Context) error
}

// ResetOptions are how a machine begins. The zero value is a common disk and a pod network of the site's own.
type ResetOptions struct {
	// WithoutPodNetwork leaves out the CNI configuration and the routes to other machines' pods, for clusters that
	// bring their own pod network. It holds until the machine is reset again.
	WithoutPodNetwork bool
	// OwnDisk puts a container's files on a file system of its own, so that its power can be cut.
	OwnDisk bool
}

// Machine returns the machine called name.
func (l *Lab) Machine(name string) (Machine, error) {
	spec, err := l.Spec(name)
	if err != nil {
		return nil, err
	}
	if spec.Suite != "" {
		return virtualMachine{l, spec}, nil
	}
	return container{l, spec}, nil
}

// Exec runs argv on a machine as root; see Machine.Exec.
func (l *Lab) Exec(ctx context.Context, name string, argv ...string) (string, error) {
	return l.ExecInput(ctx, name, nil, argv...)
}

// ExecInput is Exec with something on standard input.
func (l *Lab) ExecInput(ctx context.Context, name string, stdin io.Reader, argv ...string) (string, error) {
	m, err := l.Machine(name)
	if err != nil {
		return "", err
	}
	return m.Exec(ctx, stdin, argv...)
}

// Reset makes machines clean again, all at once; see Machine.Reset.
func (l *Lab) Reset(ctx context.Context, names ...string) error {
	return l.ResetAs(ctx, ResetOptions{}, names...)
}

// ResetAs is Reset with options.
func (l *Lab) ResetAs(ctx context.Context, options ResetOptions, names ...string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range names {
		m, err := l.Machine(name)
		if err != nil {
			return err
		}
		group.Go(func() error { return m.Reset(ctx, options) })
	}
	return group.Wait()
}

// KillSSHD kills every sshd process of a machine, connections included, with SIGKILL. systemd starts the listening one
// again.
func (l *Lab) KillSSHD(ctx context.Context, name string) error {
	if _, err := l.Exec(ctx, name, "pkill", "-KILL", "-x", "sshd"); err != nil {
		return fmt.Errorf("killing sshd of machine %q: %w", name, err)
	}
	return nil
}
