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

// limit is a budget of this computer's kernel that all machines share, and of
// which the lab needs more than the kernel's default.
type limit struct {
	path string
	want int
	// saved is the file in the state folder that keeps the value from before.
	saved string
}

// limits are for eight machines and ten hosted control planes: each init,
// kubelet and container runtime, and each API server watches files.
func limits() []limit {
	return []limit{
		{"/proc/sys/fs/inotify/max_user_instances", 4096, "inotify-instances.before"},
		{"/proc/sys/fs/inotify/max_user_watches", 131072, "inotify-watches.before"},
	}
}

// raiseLimits raises low limits and stores their values.
func (l *Lab) raiseLimits() error {
	for _, one := range limits() {
		if err := one.raise(l.state); err != nil {
			return fmt.Errorf("raising limit %q: %w", one.path, err)
		}
	}
	return nil
}

// restoreLimits undoes raiseLimits where the limit has not changed since.
func (l *Lab) restoreLimits() error {
	var problems []error
	for _, one := range limits() {
		if err := one.restore(l.state); err != nil {
			problems = append(problems, fmt.Errorf("restoring limit %q: %w", one.path, err))
		}
	}
	return errors.Join(problems...)
}

func (o limit) raise(state string) error {
	have, err := o.read()
	if err != nil || have >= o.want {
		return err
	}
	saved := filepath.Join(state, o.saved)
	if !exists(saved) {
		if err := os.WriteFile(saved, []byte(strconv.Itoa(have)), 0o644); err != nil {
			return fmt.Errorf("remembering it: %w", err)
		}
	}
	return o.write(o.want)
}

func (o limit) restore(state string) error {
	saved := filepath.Join(state, o.saved)
	text, err := os.ReadFile(saved)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("reading what it was: %w", err)
	}
	before, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("reading what it was: %w", err)
	}
	now, err := o.read()
	if err != nil {
		return err
	}
	if now == o.want {
		if err := o.write(before); err != nil {
			return err
		}
	}
	if err := os.Remove(saved); err != nil {
		return fmt.Errorf("forgetting what it was: %w", err)
	}
	return nil
}

func (o limit) read() (int, error) {
	text, err := os.ReadFile(o.path)
	if err != nil {
		return 0, fmt.Errorf("reading it: %w", err)
	}
	value, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("reading it: %w", err)
	}
	return value, nil
}

func (o limit) write(value int) error {
	if err := os.WriteFile(o.path, []byte(strconv.Itoa(value)), 0o644); err != nil {
		return fmt.Errorf("writing it: %w", err)
	}
	return nil
}
