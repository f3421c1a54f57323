package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Commit returns the digest and the time of the commit that a checkout has. A checkout with changes is an error: that
// release could not be made again.
func Commit(ctx context.Context, checkout string) (commit string, created time.Time, err error) {
	changes, err := git(ctx, checkout, "status", "--porcelain")
	if err != nil {
		return "", time.Time{}, err
	}
	if changes != "" {
		return "", time.Time{}, fmt.Errorf("reading the commit of %q: it has changes that are in no commit:\n%s",
			checkout, changes)
	}
	found, err := git(ctx, checkout, "log", "-1", "--format=%H %ct")
	if err != nil {
		return "", time.Time{}, err
	}
	commit, seconds, _ := strings.Cut(found, " ")
	since, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("reading the time of commit %q: %w", commit, err)
	}
	return commit, time.Unix(since, 0).UTC(), nil
}

func git(ctx context.Context, folder string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", folder}, args...)...).Output()
	var exited *exec.ExitError
	if errors.As(err, &exited) {
		return "", fmt.Errorf("running git %s: %w: %s", args[0], err, bytes.TrimSpace(exited.Stderr))
	}
	if err != nil {
		return "", fmt.Errorf("running git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
