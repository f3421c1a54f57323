package store

import (
	"math"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
)

func TestFileSystemsThatOtherKernelsShareAreKnown(t *testing.T) {
	for kind, name := range map[int64]string{
		0x6969: "NFS", 0x65735546: "FUSE", 0x01021997: "9P", 0xff534d42: "SMB", 0xfe534d42: "SMB",
		0xff534d42 - math.MaxUint32 - 1: "SMB", 0x00c36400: "CephFS",
		unix.EXT4_SUPER_MAGIC: "", unix.XFS_SUPER_MAGIC: "", unix.BTRFS_SUPER_MAGIC: "", unix.TMPFS_MAGIC: "",
		unix.OVERLAYFS_SUPER_MAGIC: "",
	} {
		assert.Equal(t, foreignFileSystem(kind), name, "%x", kind)
	}
}

func TestADatabaseMayBeOnAFileSystemOfThisKernel(t *testing.T) {
	assert.NilError(t, CheckFileSystem(t.TempDir()))
	err := CheckFileSystem(filepath.Join(t.TempDir(), "none"))
	assert.ErrorContains(t, err, "no such file")
}

func TestADatabaseOnASharedFileSystemIsRefused(t *testing.T) {
	err := checkFileSystem("/var/lib/argosy", unix.NFS_SUPER_MAGIC)
	assert.ErrorContains(t, err, `in "/var/lib/argosy": it is on NFS`)
	assert.ErrorContains(t, err, "use a StorageClass of local or block devices")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}
