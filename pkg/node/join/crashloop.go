package join

import (
	"context"
	"strconv"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/node/host"
)

const (
	// maxRestarts is after how many starts anew a service is given up: with a unit's RestartSec of 2 s, after 10 s and
	// more.
	maxRestarts = 5
	// restartsInterval is how often systemd is asked at most.
	restartsInterval = time.Second
)

// crashLoop counts how often systemd has started a service anew, of its own accord, since it was first asked.
type crashLoop struct {
	unit  string
	count int

	// first is what systemd had counted when it was first asked; negative before.
	first int
	asked time.Time
}

// detected says whether the service had to be started so often that it is not going to come up. What systemd does not
// tell counts as never.
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
	// Whoever starts the service by hand has systemd count from none.
	if s.first < 0 || now < s.first {
		s.first = now
	}
	s.count = now - s.first
	return s.count >= maxRestarts
}
