package machine

import (
	"errors"

	"github.com/sethvargo/go-retry"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/ssh"
)

// reconnectBackoff returns the waits between attempts to reach a machine again. They end with the caller's context.
func reconnectBackoff() retry.Backoff {
	return retry.WithJitterPercent(jitter, retry.WithCappedDuration(longestWait, retry.NewExponential(firstWait)))
}

// reconnectHelps reports whether another connection can help after err. A login that worked a moment ago and is refused
// now is a machine that shuts down or boots: while it boots, only root may log in, and a login shell may lack its home.
// connected reports whether a login worked before, started whether the login shell did.
func reconnectHelps(err error, connected, started bool) bool {
	var refused *ssh.AuthError
	var shell *ssh.ShellError
	var failed *ssh.ExitError
	switch {
	case errors.As(err, &refused):
		return connected
	case errors.As(err, &shell):
		return started
	case errors.As(err, &failed):
		return failed.Signal != ""
	default:
		return errclass.IsTransient(err)
	}
}
