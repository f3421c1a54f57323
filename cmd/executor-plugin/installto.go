package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/internal/atomicfile"
	"argosy.dev/argosy/internal/store"
)

// installToCommand is for an init container: the control plane's image has no executor-plugin in it, and the container
// that serves bundles needs both.
func installToCommand() *cobra.Command {
	var database string
	command := &cobra.Command{
		Use:    "install-to DIR",
		Short:  "Copy this program to DIR/executor-plugin",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if database != "" {
				if err := store.CheckFileSystem(database); err != nil {
					return err
				}
			}
			return installTo(args[0])
		},
	}
	command.Flags().StringVar(&database, "database", "",
		"also check that this folder is on a file system that may hold a SQLite database")
	return command
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
