package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// debianPackages maps a program that the lab runs to the package that brings it.
func debianPackages() map[string]string {
	return map[string]string{
		"debootstrap":    "debootstrap",
		"systemd-nspawn": "systemd-container",
		"iptables":       "iptables",
		"ip":             "iproute2",
		"bridge":         "iproute2",
		"ssh":            "openssh-client",
		"ssh-keygen":     "openssh-client",
		"nsenter":        "util-linux",
		"chroot":         "coreutils",
		"openssl":        "openssl",
		"gcc":            "gcc",
		"pkg-config":     "pkg-config",
	}
}

// ensurePackages installs what is missing when it runs as root, and otherwise
// says what to install.
func (l *Lab) ensurePackages(ctx context.Context) error {
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	return l.installPackages(ctx, missing)
}

func (l *Lab) installPackages(ctx context.Context, names []string) error {
	install := append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, names...)
	if os.Geteuid() != 0 {
		return fmt.Errorf("the lab lacks Debian packages, run: %s", quoteArgv(install))
	}
	l.logf("installing Debian packages %s", strings.Join(names, " "))
	if _, err := run(ctx, "apt-get", "update"); err != nil {
		return fmt.Errorf("refreshing the package lists: %w", err)
	}
	if _, err := run(ctx, append([]string{"env", "DEBIAN_FRONTEND=noninteractive"}, install...)...); err != nil {
		return fmt.Errorf("installing Debian packages: %w", err)
	}
	return nil
}

func missingPackages() []string {
	var missing []string
	seen := map[string]bool{}
	for program, name := range debianPackages() {
		if _, err := exec.LookPath(program); err == nil || seen[name] {
			continue
		}
		seen[name] = true
		missing = append(missing, name)
	}
	// runc is built with seccomp, which needs the library's headers.
	if _, err := os.Stat("/usr/include/seccomp.h"); err != nil {
		missing = append(missing, "libseccomp-dev", "libc6-dev")
	}
	return missing
}
