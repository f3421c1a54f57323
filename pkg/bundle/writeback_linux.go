package bundle

import "golang.org/x/sys/unix"

// beginWriteback sets the disk to work on a part of a file, without waiting for it. It is a hint: a file system
// that does not know it writes later.
func beginWriteback(fd int, offset, length int64) {
	_ = unix.SyncFileRange(fd, offset, length, unix.SYNC_FILE_RANGE_WRITE)
}
