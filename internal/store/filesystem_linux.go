package store

import (
	"golang.org/x/sys/unix"

	"argosy.dev/argosy/pkg/errclass"
)

// CheckFileSystem refuses a folder for SQLite's database that is not on a file system of this kernel alone. For a
// moment two pods have the database open, and another reads it for a backup: their locks, and the shared memory of the
// write-ahead log, hold within one kernel (https://www.sqlite.org/wal.html).
func CheckFileSystem(folder string) error {
	var found unix.Statfs_t
	if err := unix.Statfs(folder, &found); err != nil {
		return errclass.Errorf(errclass.Permanent, "asking for the file system of %q: %w", folder, err)
	}
	return checkFileSystem(folder, int64(found.Type))
}

// checkFileSystem refuses a folder by the type of its file system.
func checkFileSystem(folder string, kind int64) error {
	if name := foreignFileSystem(kind); name != "" {
		return errclass.Errorf(errclass.Configuration, "opening SQLite's database in %q: it is on %s, of a network "+
			"or of a sandboxed runtime, where two pods may damage it: use a StorageClass of local or block devices "+
			"and no runtimeClassName that is sandboxed, or set controlPlane.backingStore.etcd.deploy.enabled: true",
			folder, name)
	}
	return nil
}

// foreignFileSystem returns the name of a file system behind which another kernel may have the same file open, by the
// type that statfs(2) returns; "" for others. Those are file systems of a network, FUSE, and 9P, which a sandboxed
// runtime puts before any volume: gVisor 9P, Kata Containers virtiofs, which is FUSE. Types are of linux/magic.h, and
// the last four of the projects' source. They have 32 bits, which some architectures extend by their sign.
func foreignFileSystem(kind int64) string {
	switch kind & 0xffffffff {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "SMB"
	case unix.FUSE_SUPER_MAGIC:
		return "FUSE"
	case unix.V9FS_MAGIC:
		return "9P"
	case unix.CEPH_SUPER_MAGIC:
		return "CephFS"
	case unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC:
		return "AFS"
	case unix.OCFS2_SUPER_MAGIC, 0x01161970, 0x0bd00bd0, 0x47504653, 0x19830326:
		return "a cluster file system" // OCFS2; GFS2, Lustre, GPFS, BeeGFS
	}
	return ""
}
