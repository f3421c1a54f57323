package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/fault"
	"argosy.dev/argosy/pkg/node/host"
)

// grace is how much longer than the operation's own deadline its unit may live, to write down how it ended.
const grace = 30 * time.Second

// Units runs operations in processes that outlive the one that starts them.
type Units interface {
	// Start begins to run the operation; timeout is the operation's own deadline, 0 for none.
	Start(ctx context.Context, id string, timeout time.Duration) error
	// Alive says whether the operation's process exists.
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
	argv := []string{
		"systemd-run", "--quiet", "--collect", "--unit=" + unitName(id), "--description=Argosy operation " + id,
		// Only our process gets SIGTERM, and has time to finish what must not be left half done. The commands it runs die
		// with it, so systemd need not look for them, which with cgroup v1 in a container it does in vain for minutes.
		"--property=KillMode=process", "--property=TimeoutStopSec=120", "--property=OOMScoreAdjust=-500",
	}
	if timeout > 0 {
		argv = append(argv, fmt.Sprintf("--property=RuntimeMaxSec=%d", int((timeout+grace).Seconds())))
	}
	argv = append(argv, "--", s.Self, "run", "--id", id)
	if _, err := s.Runner.Run(ctx, host.Command{Argv: argv}); err != nil {
		return fault.As(fault.Transient, fmt.Errorf("starting unit %q: %w", unitName(id), err))
	}
	return nil
}

// Alive asks systemd.
func (s *Systemd) Alive(ctx context.Context, id string) bool {
	output, _ := s.Runner.Run(ctx, host.Command{Argv: []string{"systemctl", "show", "--property=ActiveState", "--value", unitName(id)}})
	switch strings.TrimSpace(string(output)) {
	case "active", "activating", "reloading", "deactivating":
		return true
	}
	return false
}
