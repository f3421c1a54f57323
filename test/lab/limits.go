package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// All machines share this computer's inotify budget of root, and eight inits,
// kubelets and container runtimes need more than the kernel's default.
const (
	inotifyInstances     = "/proc/sys/fs/inotify/max_user_instances"
	wantInotifyInstances = 1024
)

func (l *Lab) savedLimit() string { return filepath.Join(l.state, "inotify-instances.before") }

// raiseLimits raises the budget where it is low and remembers what it was.
func (l *Lab) raiseLimits() error {
	data, err := os.ReadFile(inotifyInstances)
	if err != nil {
		return fmt.Errorf("reading %q: %w", inotifyInstances, err)
	}
	have, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return fmt.Errorf("reading %q: %w", inotifyInstances, err)
	}
	if have >= wantInotifyInstances {
		return nil
	}
	if err := os.WriteFile(l.savedLimit(), data, 0o644); err != nil {
		return fmt.Errorf("remembering the inotify limit: %w", err)
	}
	if err := os.WriteFile(inotifyInstances, []byte(strconv.Itoa(wantInotifyInstances)), 0o644); err != nil {
		return fmt.Errorf("raising the inotify limit: %w", err)
	}
	return nil
}

// restoreLimits undoes raiseLimits unless somebody has changed the limit since.
func (l *Lab) restoreLimits() error {
	saved, err := os.ReadFile(l.savedLimit())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("reading the remembered inotify limit: %w", err)
	}
	now, err := os.ReadFile(inotifyInstances)
	if err != nil {
		return fmt.Errorf("reading %q: %w", inotifyInstances, err)
	}
	if strings.TrimSpace(string(now)) == strconv.Itoa(wantInotifyInstances) {
		if err := os.WriteFile(inotifyInstances, saved, 0o644); err != nil {
			return fmt.Errorf("restoring the inotify limit: %w", err)
		}
	}
	if err := os.Remove(l.savedLimit()); err != nil {
		return fmt.Errorf("forgetting the inotify limit: %w", err)
	}
	return nil
}
