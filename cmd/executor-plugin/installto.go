package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/internal/atomicfile"
)

// installToCommand is for an init container: the control plane's image has no executor-plugin in it, and the container
// that serves bundles needs both.
func installToCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "install-to DIR",
		Short:  "Copy this program to DIR/executor-plugin",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return installTo(args[0])
		},
	}
}

// installTo copies by rename: a container that is restarted never finds half a program, and one that runs is not
// disturbed.
func installTo(dir string) error {
	own, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	source, err := os.Open(own)
	if err != nil {
		return fmt.Errorf("opening this program: %w", err)
	}
	defer source.Close()
	target := filepath.Join(dir, "executor-plugin")
	copied, err := atomicfile.Create(target)
	if err != nil {
		return fmt.Errorf("copying this program to %q: %w", target, err)
	}
	defer copied.Discard()
	if _, err := io.Copy(copied, source); err != nil {
		return fmt.Errorf("copying this program to %q: %w", target, err)
	}
	if err := copied.Commit(0o755); err != nil {
		return fmt.Errorf("copying this program to %q: %w", target, err)
	}
	return nil
}
