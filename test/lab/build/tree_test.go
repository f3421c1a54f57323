package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
)

func TestAptPlanListsPackagesWithVersions(t *testing.T) {
	said := "NOTE: This is only a simulation!\nReading package lists...\n" +
		"Inst libfake1 (2:1.0-1+deb12u1 Debian:12.1/stable [amd64])\n" +
		"Inst fake-data [0.9] (1.1 Debian:12.1/stable, Debian-Security:12/stable [all]) []\n" +
		"Conf libfake1 (2:1.0-1+deb12u1 Debian:12.1/stable [amd64])\nInst\n"
	assert.DeepEqual(t, installs(said), []string{"libfake1=2:1.0-1+deb12u1", "fake-data=1.1"})
}

func TestUnpackedPackageHasNoDocumentation(t *testing.T) {
	source, archive, tree := t.TempDir(), filepath.Join(t.TempDir(), "fake.deb"), t.TempDir()
	write(t, filepath.Join(source, "DEBIAN/control"),
		"Package: fake\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: fake\n")
	for _, path := range []string{"usr/sbin/fake", "usr/share/doc/fake/copyright", "usr/lib/fake-linux/gconv/a.so"} {
		write(t, filepath.Join(source, path), "fake")
	}
	out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--build", source, archive).CombinedOutput()
	assert.NilError(t, err, string(out))

	assert.NilError(t, unpackArchives(t.Context(), tree, []string{archive}))
	for path, wanted := range map[string]bool{
		"usr/sbin/fake": true, "usr/share": false,
		"usr/lib/fake-linux/gconv": false,
	} {
		_, err := os.Stat(filepath.Join(tree, path))
		assert.Equal(t, err == nil, wanted, path)
	}
}

func TestBusyboxLinksCommandsThatNoPackageHas(t *testing.T) {
	tree := t.TempDir()
	write(t, filepath.Join(tree, "bin/busybox"), "#!/bin/sh\nprintf 'busybox\\ncat\\nsh\\nip\\n'\n")
	assert.NilError(t, os.Chmod(filepath.Join(tree, "bin/busybox"), 0o755))
	write(t, filepath.Join(tree, "usr/sbin/ip"), "a better ip")

	assert.NilError(t, linkBusybox(t.Context(), tree))
	links, err := filepath.Glob(filepath.Join(tree, "bin/*"))
	assert.NilError(t, err)
	assert.DeepEqual(t, links, []string{
		filepath.Join(tree, "bin/busybox"), filepath.Join(tree, "bin/cat"), filepath.Join(tree, "bin/sh"),
	})
	target, err := os.Readlink(filepath.Join(tree, "bin/sh"))
	assert.NilError(t, err)
	assert.Equal(t, target, "busybox")
}

func TestFileBelowALinkIsRefused(t *testing.T) {
	tree := t.TempDir()
	write(t, filepath.Join(tree, "usr/sbin/iptables"), "")
	assert.ErrorIs(t, linkAll(tree, map[string]string{"usr/sbin/iptables": "xtables-nft-multi"}), os.ErrExist)
}
