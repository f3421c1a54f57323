package operation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sethvargo/go-retry"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/ssh"
)

const (
	// longestStartupWait is the longest time between two tries to reach a machine that starts up.
	longestStartupWait = 5 * time.Second
	// startupReport is how often a wait is reported while its cause stays the same.
	startupReport = 30 * time.Second
)

// Startup waits for machines that have never answered and may still be booting. One Startup serves all machines of a
// workflow, whose time begins with the first try at any of them: they boot side by side. It is safe for concurrent use.
type Startup struct {
	mu       sync.Mutex
	began    time.Time
	answered map[string]bool
	waiting  map[string]bool
}

// Wait calls try, and again for as long as timeout lasts and the machine may still be booting:
//
//	error of try                                              waits for
//	no connection, or one that was lost                       its sshd
//	the machine's name does not exist                         its name in DNS
//	an unknown host key, or another than is pinned            its host key
//	a refused login                                           its login
//	a login shell that tells that the system is booting       its login
//	a key that was revoked, or differs from one seen before   nothing: the error is final
//	a bastion's                                               nothing: it is no machine that boots
//	any other                                                 nothing
//
// A machine that has answered once is not waited for again. The error after the wait is that of the last try.
func (s *Startup) Wait(ctx context.Context, machine config.Machine, timeout time.Duration, progress Progress,
	try func(context.Context) error,
) error {
	began, answered := s.begin(machine.Name)
	if answered || timeout <= 0 {
		return s.end(machine.Name, try(ctx))
	}
	backoff := retry.WithCappedDuration(longestStartupWait, retry.NewExponential(firstWait))
	within := retry.BackoffFunc(func() (time.Duration, bool) {
		wait, stop := backoff.Next()
		return wait, stop || time.Since(began)+wait > timeout
	})
	var last error
	var awaited string
	var reported time.Time
	err := retry.Do(ctx, within, func(ctx context.Context) error {
		last = try(ctx)
		before := awaited
		if awaited = awaits(last); awaited == "" || ctx.Err() != nil {
			return last
		}
		if awaited != before || time.Since(reported) >= startupReport {
			reported = time.Now()
			Reportf(progress, "waiting for %s of %s, %s of %s used: %s", awaited, s.wait(machine.Name),
				time.Since(began).Round(time.Second), timeout, last)
		}
		return retry.RetryableError(last)
	})
	switch {
	case err != nil && last == nil:
		return context.Cause(ctx)
	case last != nil && ctx.Err() != nil && !errors.Is(last, context.Cause(ctx)):
		last = fmt.Errorf("%w (last: %w)", context.Cause(ctx), last)
	case awaited != "":
		last = fmt.Errorf("%w; waited %s for %s, which ssh.startupTimeout of argosy.yaml sets", last, timeout, awaited)
	}
	return s.end(machine.Name, last)
}

// begin returns when the first machine was tried, and whether this one has answered.
func (s *Startup) begin(machine string) (began time.Time, answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began.IsZero() {
		s.began, s.answered, s.waiting = time.Now(), map[string]bool{}, map[string]bool{}
	}
	return s.began, s.answered[machine]
}

// wait notes that a machine is waited for, and returns the names of all that are, this one first.
func (s *Startup) wait(machine string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[machine] = true
	var others []string
	for name := range s.waiting {
		if name != machine {
			others = append(others, name)
		}
	}
	if len(others) == 0 {
		return machine
	}
	slices.Sort(others)
	return fmt.Sprintf("%s (others that start up: %s)", machine, strings.Join(others, ", "))
}

// end notes the result of the last try.
func (s *Startup) end(machine string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, machine)
	if err == nil {
		s.answered[machine] = true
	}
	return err
}

// exitOfNologin is the status of a shell that sshd did not start because of /run/nologin, which systemd removes at the
// end of the boot.
const exitOfNologin = 254

// awaits returns the part of a machine that is not there yet by the error of a try; empty where waiting cannot help.
func awaits(err error) string {
	var bastion *ssh.BastionError
	var hostKey *ssh.HostKeyError
	var shell *ssh.ShellError
	var name *net.DNSError
	switch {
	case err == nil, errors.As(err, &bastion):
		return ""
	case errors.As(err, &hostKey):
		if hostKey.Reason != "" || hostKey.Source == ssh.SourceFirstUse {
			return ""
		}
		return "the host key"
	case errors.As(err, new(*ssh.AuthError)), errors.As(err, &shell) && shell.ExitCode == exitOfNologin:
		return "the login"
	case errors.As(err, &name) && name.IsNotFound:
		return "the name in DNS"
	case errclass.IsTransient(err):
		return "the sshd"
	}
	return ""
}
