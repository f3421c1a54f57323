package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/host"
)

// unitGrace is the time after the operation's deadline in which its unit may still write the final status.
const unitGrace = 30 * time.Second

// Units runs operations in processes that outlive the one that starts them.
type Units interface {
	// Start begins to run the operation; timeout is the operation's own deadline, 0 for none.
	Start(ctx context.Context, id string, timeout time.Duration) error
	// Alive reports whether the operation's process exists.
	Alive(ctx context.Context, id string) bool
}

// Systemd runs operations as transient units, "argosy-<id>.service".
type Systemd struct {
	Runner host.Runner
	// Self is the program to run, an absolute path.
	Self string
}

var _ Units = (*Systemd)(nil)

func unitName(id string) string { return "argosy-" + id + ".service" }

// Start begins "<self> run --id <id>". Neither secrets nor anything that a user wrote is in the arguments.
func (s *Systemd) Start(ctx context.Context, id string, timeout time.Duration) error {
	// A phase that does not end in TimeoutStopSec is killed; the next start finishes it. Longer would only hold up a
	// reboot: kubeadm waits in vain for a kubelet that the shutdown has stopped.
	argv := []string{
		"systemd-run", "--quiet", "--collect", "--unit=" + unitName(id), "--description=Argosy operation " + id,
		// Only argosy-node gets SIGTERM, and has time to finish a step that must not be interrupted. The commands it
		// runs die with it, so systemd need not look for them, which with cgroup v1 in a container it does in vain for
		// minutes.
		"--property=KillMode=process", "--property=TimeoutStopSec=20", "--property=OOMScoreAdjust=-500",
	}
	if timeout > 0 {
		argv = append(argv, fmt.Sprintf("--property=RuntimeMaxSec=%d", int((timeout+unitGrace).Seconds())))
	}
	argv = append(argv, "--", s.Self, "run", "--id", id)
	ctx, cancel := context.WithTimeout(ctx, unitStartTimeout)
	defer cancel()
	for refused := 0; ; {
		_, err := s.Runner.Run(ctx, host.Command{Argv: argv})
		if err == nil {
			return nil
		}
		// The unit of an earlier run that was killed may need a moment to go. One more attempt is made when it is gone.
		state := s.state(ctx, id)
		if state == "inactive" {
			refused++
		}
		if refused > 1 || !s.waitToRetry(ctx, id, state) {
			return errclass.Errorf(errclass.Transient, "starting unit %q: %w", unitName(id), err)
		}
	}
}

// unitStartTimeout bounds the wait for an earlier unit of the same name to go.
const unitStartTimeout = 15 * time.Second

// waitToRetry waits before another attempt, and reports false when ctx has ended.
func (s *Systemd) waitToRetry(ctx context.Context, id, state string) bool {
	if state == "failed" {
		_, _ = s.Runner.Run(ctx, host.Command{Argv: []string{"systemctl", "reset-failed", unitName(id)}})
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

// Alive asks systemd. A unit that is deactivating does not count: if its process still runs, it holds the lock.
func (s *Systemd) Alive(ctx context.Context, id string) bool {
	switch s.state(ctx, id) {
	case "active", "activating", "reloading":
		return true
	}
	return false
}

func (s *Systemd) state(ctx context.Context, id string) string {
	output, _ := s.Runner.Run(ctx, host.Command{Argv: []string{
		"systemctl", "show", "--property=ActiveState", "--value",
		unitName(id),
	}})
	return strings.TrimSpace(string(output))
}
