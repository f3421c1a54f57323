// Package host is the machine as the phases see it: its files beneath a root, and the programs that may be started on
// it. It knows nothing of Kubernetes. Tests give it a folder as root and a fake runner, and the phases work the same.
package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Host is a machine.
type Host struct {
	// Root comes before every path; empty on the machine itself.
	Root string
	// Runner starts programs.
	Runner Runner
	// Before is called before each change of files that the phases depend on; an error prevents the change. It is nil
	// on machines; tests use it to count changes, to make them fail, or to cut the power.
	Before func(Change) error

	folders folders
}

// Local returns the machine that this program runs on.
func Local() *Host { return &Host{Runner: Processes{}} }

// Path returns the path at which name, an absolute path on the machine, is found.
func (h *Host) Path(name string) string { return filepath.Join(h.Root, name) }

// ReadFile reads a file.
func (h *Host) ReadFile(name string) ([]byte, error) { return os.ReadFile(h.Path(name)) }

// ReadLine returns a file's content without the white space around it; "" when there is no such file.
func (h *Host) ReadLine(name string) string {
	data, _ := h.ReadFile(name)
	return strings.TrimSpace(string(data))
}

// Exists reports whether name exists, also as a broken link.
func (h *Host) Exists(name string) bool {
	_, err := os.Lstat(h.Path(name))
	return err == nil
}

// Holds reports whether the file has exactly this content.
func (h *Host) Holds(name string, content []byte) bool {
	data, err := h.ReadFile(name)
	return err == nil && bytes.Equal(data, content)
}

// Overwrite writes into an existing file in place, as files below /proc and /sys require.
func (h *Host) Overwrite(name, content string) error {
	file, err := os.OpenFile(h.Path(name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	_, err = file.WriteString(content)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return nil
}
