package build

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// requirePackages makes sure that the Debian packages are there: as root it installs those that are missing, otherwise
// its error names the packages to install. On a system without dpkg the compiler reports missing files.
func (b *Builder) requirePackages(ctx context.Context, names []string) error {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		return nil
	}
	var missing []string
	for _, name := range names {
		if !packageInstalled(ctx, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("looking for Debian packages: missing are %s; install them with: sudo apt-get install %[1]s",
			strings.Join(missing, " "))
	}
	fmt.Fprintf(b.Log, "installing Debian packages %s\n", strings.Join(missing, " "))
	if b.aptGet(ctx, append([]string{"install", "--yes", "--no-install-recommends"}, missing...)) == nil {
		return nil
	}
	// The lists may be absent or too old for the mirror.
	if err := b.aptGet(ctx, []string{"update"}); err != nil {
		return err
	}
	return b.aptGet(ctx, append([]string{"install", "--yes", "--no-install-recommends"}, missing...))
}

func packageInstalled(ctx context.Context, name string) bool {
	out, err := exec.CommandContext(ctx, "dpkg-query", "--show", "--showformat=${db:Status-Status}", name).Output()
	return err == nil && string(out) == "installed"
}

func (b *Builder) aptGet(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return &commandError{Folder: "/", Args: cmd.Args, Output: lastLines(string(out), 20), Err: err}
	}
	return nil
}
