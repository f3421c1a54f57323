package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// downloadScript downloads packages and all that they depend on beyond the machines' root file system, of which it gets
// a copy of its own: $1 is the root file system, $2 a scratch folder, $3 the folder for the packages, and the rest
// their names. Apt's own settings lead to the mirror, from which a package "name/trixie" is taken out of another suite,
// and what it depends on out of the machines' own where that suffices.
const downloadScript = `
rootfs=$1 scratch=$2 packages=$3; shift 3
mkdir -p "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay overlay -o "lowerdir=$rootfs,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
mkdir -p "$scratch/root/packages"
mount --bind "$packages" "$scratch/root/packages"
mount -t proc proc "$scratch/root/proc"
cp -L --remove-destination /etc/resolv.conf /etc/hosts "$scratch/root/etc/"
mkdir -p "$scratch/root/etc/ssl/certs"
cp -L --remove-destination /etc/ssl/certs/ca-certificates.crt "$scratch/root/etc/ssl/certs/"
cp -r /etc/apt/apt.conf.d "$scratch/root/etc/apt/"
for name in "$@"; do
  case $name in
  */*) sed "s/ ` + suite + ` / ${name#*/} /" "$scratch/root/etc/apt/sources.list" \
    > "$scratch/root/etc/apt/sources.list.d/${name#*/}.list" ;;
  esac
done
chroot "$scratch/root" apt-get update -qq
chroot "$scratch/root" apt-get install -qq --yes --no-install-recommends --download-only \
  -o Dir::Cache::archives=/packages -o APT::Default-Release=` + suite + ` "$@"
`

// InstallDebian installs Debian packages on a machine, with their dependencies, from the cache or from this computer's
// mirror; machines reach none. Their services start as they do on any Debian. A name may have a suite as apt takes it,
// "containerd/trixie", if the package can do with the machine's C library.
func (l *Lab) InstallDebian(ctx context.Context, machine string, names ...string) error {
	rootfs, err := l.rootfs(ctx)
	if err != nil {
		return err
	}
	packages, err := l.downloadDebian(ctx, rootfs, names)
	if err != nil {
		return fmt.Errorf("downloading Debian packages %s: %w", strings.Join(names, " "), err)
	}
	archive, err := archiveOf(packages)
	if err != nil {
		return err
	}
	const unpack = `rm -rf /tmp/packages && mkdir /tmp/packages && tar -xC /tmp/packages &&
		DEBIAN_FRONTEND=noninteractive dpkg --install /tmp/packages/*.deb && rm -rf /tmp/packages`
	if _, err := l.ExecInput(ctx, machine, bytes.NewReader(archive), "sh", "-c", unpack); err != nil {
		return fmt.Errorf("installing Debian packages %s on machine %q: %w", strings.Join(names, " "), machine, err)
	}
	return nil
}

// downloadDebian returns the folder of the packages, under a name that holds a digest of all its inputs.
func (l *Lab) downloadDebian(ctx context.Context, rootfs string, names []string) (string, error) {
	digest := sha256.Sum256([]byte(rootfs + "\n" + strings.Join(names, "\n")))
	folder := filepath.Join(l.cache, "lab", "debian-"+hex.EncodeToString(digest[:8]))
	if exists(folder) {
		return folder, nil
	}
	partial, scratch := folder+".partial", folder+".scratch"
	defer os.RemoveAll(scratch)
	for _, dir := range []string{partial, scratch} {
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("removing %q: %w", dir, err)
		}
		if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil {
			return "", fmt.Errorf("making folder %q: %w", dir, err)
		}
	}
	argv := []string{"unshare", "--mount", "sh", "-euc", downloadScript, "sh", rootfs, scratch, partial}
	if _, err := run(ctx, append(argv, names...)...); err != nil {
		return "", err
	}
	if err := os.Rename(partial, folder); err != nil {
		return "", fmt.Errorf("naming %q: %w", folder, err)
	}
	return folder, nil
}

// archiveOf packs the packages of a folder.
func archiveOf(folder string) ([]byte, error) {
	names, err := filepath.Glob(filepath.Join(folder, "*.deb"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("packing the packages in %q: there are none", folder)
	}
	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("packing %q: %w", name, err)
		}
		header := tar.Header{Name: filepath.Base(name), Mode: 0o644, Size: int64(len(data))}
		if err := archive.WriteHeader(&header); err != nil {
			return nil, fmt.Errorf("packing %q: %w", name, err)
		}
		if _, err := archive.Write(data); err != nil {
			return nil, fmt.Errorf("packing %q: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("packing the packages in %q: %w", folder, err)
	}
	return packed.Bytes(), nil
}
