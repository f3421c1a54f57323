package lab

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// ensurePackages makes sure that Debian packages are there, given by name or as "lab", which stands for all that the
// lab needs. As root it installs missing ones, otherwise its error names them. test/packages.sh holds the list, which
// the Makefile asks for before it compiles anything.
func (l *Lab) ensurePackages(ctx context.Context, wanted ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(l.source, "test", "packages.sh"), wanted...)
	out, err := runCmd(cmd, nil)
	if out != "" {
		l.logf("%s", strings.TrimSpace(out))
	}
	if err != nil {
		return fmt.Errorf("looking for Debian packages: %w", err)
	}
	return nil
}
