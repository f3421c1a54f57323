package join

import (
	"context"
	"strconv"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/node/host"
)

const (
	// maxRestarts is the number of restarts after which waiting for a service ends: with a unit's RestartSec of 2 s,
	// after at least 10 s.
	maxRestarts = 5
	// restartsInterval is the least time between two questions to systemd.
	restartsInterval = time.Second
)

// crashLoop counts the restarts of a service by systemd since it was first asked.
type crashLoop struct {
	unit  string
	count int

	// first is systemd's count when it was first asked; negative before that.
	first int
	asked time.Time
}

// detected reports whether systemd has restarted the service maxRestarts times. An answer that cannot be parsed counts
// as no restart.
func (s *crashLoop) detected(ctx context.Context, h *host.Host) bool {
	if time.Since(s.asked) < restartsInterval {
		return false
	}
	output, err := h.Runner.Run(ctx, host.Command{Argv: []string{"systemctl", "show", s.unit, "--property=NRestarts"}})
	s.asked = time.Now()
	now, malformed := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(string(output)), "NRestarts="))
	if err != nil || malformed != nil {
		return false
	}
	// A start by hand resets systemd's count.
	if s.first < 0 || now < s.first {
		s.first = now
	}
	s.count = now - s.first
	return s.count >= maxRestarts
}
