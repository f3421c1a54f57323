package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"strings"
)

// loadedFolder notes on a machine which archives its containerd was given.
const loadedFolder = "/var/lib/lab/loaded"

// LoadImage loads an image archive into the containerd of a machine.
func (l *Lab) LoadImage(ctx context.Context, name, archive string) error {
	in, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("opening image %q: %w", archive, err)
	}
	defer in.Close()
	if _, err := l.ExecInput(ctx, name, in, "ctr", "--namespace", "k8s.io", "images", "import", "-"); err != nil {
		return fmt.Errorf("loading image %q on machine %q: %w", archive, name, err)
	}
	return nil
}

// loadImages loads the archives that the machine was not given before. Archives are named by their content, so that a
// name stands for one content.
func (l *Lab) loadImages(ctx context.Context, m MachineSpec, archives []string) error {
	have, err := l.Exec(ctx, m.Name, "sh", "-euc", `mkdir -p "$1"; ls "$1"`, "sh", loadedFolder)
	if err != nil {
		return fmt.Errorf("listing the images of machine %q: %w", m.Name, err)
	}
	for _, archive := range archives {
		sum := sha256.Sum256([]byte(archive))
		note := hex.EncodeToString(sum[:8])
		if strings.Contains(have, note) {
			continue
		}
		if err := l.LoadImage(ctx, m.Name, archive); err != nil {
			return err
		}
		if _, err := l.Exec(ctx, m.Name, "touch", path.Join(loadedFolder, note)); err != nil {
			return fmt.Errorf("noting that image %q is loaded: %w", archive, err)
		}
	}
	return nil
}
