package lab

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	suite = "bookworm"
	// rootfsPackages are those of a site's image: no Kubernetes, no container runtime, but the tools that kubelet and
	// kube-proxy call.
	rootfsPackages = "systemd,systemd-sysv,dbus,openssh-server,openssh-client,openssh-sftp-server,iproute2,iptables," +
		"kmod,conntrack,ethtool,socat,procps,curl,sudo,ca-certificates,libseccomp2,iputils-ping,util-linux"
)

// rootfsScript runs inside the new root file system.
//
//go:embed manifests/rootfs.sh
var rootfsScript string

// rootfs returns the folder with the machines' common root file system, made
// by debootstrap the first time. Its name holds a digest of all its inputs.
func (l *Lab) rootfs(ctx context.Context) (string, error) {
	digest := sha256.Sum256([]byte(suite + "\n" + rootfsPackages + "\n" + rootfsScript))
	dir := filepath.Join(l.cache, "lab", "rootfs-"+hex.EncodeToString(digest[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("looking for root file system %q: %w", dir, err)
	}
	start := time.Now()
	l.logf("making the machines' root file system (about a minute)")
	if err := l.makeRootfs(ctx, dir); err != nil {
		return "", fmt.Errorf("making root file system %q: %w", dir, err)
	}
	l.logf("root file system made in %s", time.Since(start).Round(time.Second))
	return dir, nil
}

func (l *Lab) makeRootfs(ctx context.Context, dir string) error {
	mirror, err := debianMirror(ctx)
	if err != nil {
		return err
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("removing %q: %w", partial, err)
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return fmt.Errorf("making %q: %w", partial, err)
	}
	if _, err := run(ctx, "debootstrap", "--variant=minbase", "--include="+rootfsPackages, suite, partial,
		mirror); err != nil {
		return fmt.Errorf("bootstrapping Debian %s: %w", suite, err)
	}
	if _, err := runInput(ctx, strings.NewReader(rootfsScript), "chroot", partial, "/bin/sh", "-eu"); err != nil {
		return fmt.Errorf("configuring Debian %s: %w", suite, err)
	}
	if err := os.Rename(partial, dir); err != nil {
		return fmt.Errorf("naming %q: %w", dir, err)
	}
	return nil
}

// debianMirror asks apt itself, so that every way to configure a source works.
func debianMirror(ctx context.Context) (string, error) {
	ask := func() (string, error) {
		out, err := run(ctx, "apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)",
			"Created-By: Packages")
		if err != nil {
			return "", fmt.Errorf("asking apt for its sources: %w", err)
		}
		return mirrorOf(out), nil
	}
	mirror, err := ask()
	if err != nil || mirror != "" {
		return mirror, err
	}
	// apt names no targets before it has read its lists once.
	if _, err := run(ctx, "apt-get", "update"); err != nil {
		return "", fmt.Errorf("refreshing the package lists: %w", err)
	}
	if mirror, err = ask(); err != nil {
		return "", err
	}
	if mirror == "" {
		return "", fmt.Errorf("reading apt's sources: none offers %s main", suite)
	}
	return mirror, nil
}

// mirrorOf picks the mirror of the suite out of lines "codename component uri".
func mirrorOf(targets string) string {
	for _, line := range strings.Split(targets, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == suite && fields[1] == "main" {
			return fields[2]
		}
	}
	return ""
}
