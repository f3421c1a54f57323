package bundle

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"argosy.dev/argosy/pkg/errclass"
)

// Bounds on what an archive may unpack to. A node bundle has some twenty files and less than 500 MB; a much
// larger archive is broken or hostile, and must not fill the machine's disk.
const (
	maxEntries      = 10_000
	maxUnpackedSize = 8 << 30
)

// Format is how an archive is compressed; it is also the ending of its name.
type Format string

// The formats.
const (
	TarGzip Format = "tar.gz"
	TarZstd Format = "tar.zst"
)

// FormatOf returns the format for an archive's name.
func FormatOf(name string) (Format, error) {
	for _, format := range []Format{TarGzip, TarZstd} {
		if strings.HasSuffix(name, "."+string(format)) {
			return format, nil
		}
	}
	return "", errclass.Errorf(errclass.Configuration, "reading the format of bundle %q: its name ends neither in "+
		".tar.gz nor in .tar.zst", name)
}

// RefusedError is an archive entry that may not be unpacked. Its class is permanent: the archive stays as it is.
type RefusedError struct {
	// Entry is the name in the archive.
	Entry string
	// Why is the reason.
	Why string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("refusing entry %q of the bundle: %s", e.Entry, e.Why)
}

// WriteError is a file that could not be written, because of the disk and not of the archive.
type WriteError struct {
	// Entry is the name in the archive.
	Entry string
	Err   error
}

func (e *WriteError) Error() string { return fmt.Sprintf("unpacking %q: %v", e.Entry, e.Err) }
func (e *WriteError) Unwrap() error { return e.Err }

// Hooks are called while an archive is unpacked. Each may be nil.
type Hooks struct {
	// Before is called before each file is made, by its path beneath the folder. Its error takes the file's place.
	Before func(name string) error
	// Failed is called as soon as a file could not be written, so that a read of the archive that waits for more of
	// it can be ended.
	Failed func(error)
}

// Unpack writes the archive from r into the folder dir, which must exist and should be empty, and returns
// its files in the archive's order. Nothing is written outside dir: an entry that tries is refused with a
// *RefusedError, as are device nodes and names that come twice. A link becomes a hard link to the file of the
// archive that it leads to, and is among the returned files; one that leads to anything else is refused. The
// compressed stream is read to its end. A caller that needs its digest hashes r; until that is compared, nothing in
// dir may be executed.
func Unpack(ctx context.Context, r io.Reader, format Format, dir string, hooks ...Hooks) ([]File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening folder %q to unpack into: %w", dir, err)
	}
	defer root.Close()

	ahead := readAhead(r, 1<<20, 8)
	defer ahead.Close()
	plain, stop, err := decompress(ahead, format)
	if err != nil {
		return nil, err
	}
	defer stop()
	// Decompressing and writing run side by side.
	plainAhead := readAhead(plain, 1<<20, 8)
	// It must have ended before the decompressor beneath it is closed.
	defer plainAhead.Close()

	u := &unpacking{root: root, seen: map[string]bool{}, hooks: hooks}
	if err := u.entries(ctx, tar.NewReader(plainAhead)); err != nil {
		var disk *WriteError
		if errors.As(err, &disk) {
			u.failed(err)
		}
		return nil, err
	}
	// After the end mark comes padding; reading it makes the decompressor check the stream's own checksum.
	if _, err := io.Copy(io.Discard, io.LimitReader(plainAhead, maxUnpackedSize)); err != nil {
		return nil, fmt.Errorf("reading the end of the bundle: %w", err)
	}
	if _, err := io.Copy(io.Discard, ahead); err != nil {
		return nil, fmt.Errorf("reading the end of the bundle: %w", err)
	}
	if err := u.makeLinks(); err != nil {
		return nil, err
	}
	return u.files, nil
}

func decompress(r io.Reader, format Format) (io.Reader, func(), error) {
	switch format {
	case TarGzip:
		z, err := gzip.NewReader(bufio.NewReaderSize(r, 256<<10))
		if err != nil {
			return nil, nil, fmt.Errorf("reading the gzip header of the bundle: %w", err)
		}
		return z, func() { _ = z.Close() }, nil
	case TarZstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(256<<20))
		if err != nil {
			return nil, nil, fmt.Errorf("reading the zstd header of the bundle: %w", err)
		}
		return z, z.Close, nil
	}
	return nil, nil, errclass.Errorf(errclass.Configuration,
		"unpacking a bundle of format %q: only tar.gz and tar.zst are known", format)
}

type unpacking struct {
	root  *os.Root
	seen  map[string]bool
	files []File
	links []symlink
	size  int64
	buf   []byte
	hooks []Hooks
}

// symlink is a symbolic link of the archive; target is a path beneath the folder.
type symlink struct{ name, target string }

func (u *unpacking) failed(err error) {
	for _, hooks := range u.hooks {
		if hooks.Failed != nil {
			hooks.Failed(err)
		}
	}
}

// before announces a file, and returns why it must not be made.
func (u *unpacking) before(header *tar.Header, name string) error {
	for _, hooks := range u.hooks {
		if hooks.Before == nil {
			continue
		}
		if err := hooks.Before(name); err != nil {
			return u.writing(header, err)
		}
	}
	return nil
}

func (u *unpacking) entries(ctx context.Context, archive *tar.Reader) error {
	u.buf = make([]byte, 1<<20)
	for count := 0; ; count++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("unpacking the bundle: %w", context.Cause(ctx))
		}
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the bundle's table: %w", err)
		}
		if count >= maxEntries {
			return &RefusedError{header.Name, fmt.Sprintf("the archive has more than %d entries", maxEntries)}
		}
		if err := u.entry(header, archive); err != nil {
			return err
		}
	}
}

func (u *unpacking) entry(header *tar.Header, content io.Reader) error {
	name, err := localName(header.Name)
	if err != nil {
		return err
	}
	if header.Typeflag == tar.TypeDir {
		if err := u.root.MkdirAll(name, 0o755); err != nil {
			return u.writing(header, err)
		}
		return nil
	}
	if u.seen[name] {
		return &RefusedError{header.Name, "it is in the archive twice"}
	}
	u.seen[name] = true
	if slices.ContainsFunc(u.links, func(link symlink) bool { return strings.HasPrefix(name, link.name+"/") }) {
		return &RefusedError{header.Name, "it leads through a link"}
	}
	if u.size += header.Size; header.Size < 0 || u.size > maxUnpackedSize {
		return &RefusedError{header.Name, fmt.Sprintf("the archive unpacks to more than %d bytes",
			int64(maxUnpackedSize))}
	}
	if err := u.before(header, name); err != nil {
		return err
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return u.writing(header, err)
	}
	switch header.Typeflag {
	case tar.TypeReg:
		return u.file(header, name, content)
	case tar.TypeSymlink:
		return u.symlink(header, name)
	case tar.TypeLink:
		return u.link(header, name)
	}
	return &RefusedError{header.Name, "it is neither a file, a folder nor a link"}
}

// localName returns the clean path beneath the target for an entry's name, or refuses the name.
func localName(entry string) (string, error) {
	switch {
	case entry == "" || strings.ContainsRune(entry, 0):
		return "", &RefusedError{entry, "its name is empty or holds a zero byte"}
	case path.IsAbs(entry):
		return "", &RefusedError{entry, "its name is absolute"}
	}
	for part := range strings.SplitSeq(entry, "/") {
		if part == ".." {
			return "", &RefusedError{entry, "its name leads out of the folder"}
		}
	}
	return path.Clean(entry), nil
}

func (u *unpacking) file(header *tar.Header, name string, content io.Reader) error {
	// Never set-user-id, and never writable for others.
	file, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(header.Mode)&0o755)
	if err != nil {
		return u.writing(header, err)
	}
	defer file.Close()
	sum := sha256.New()
	disk := &diskWriter{file: file, fd: int(file.Fd())}
	if _, err := io.CopyBuffer(io.MultiWriter(disk, sum), onlyReader{content}, u.buf); err != nil {
		if disk.err != nil {
			return u.writing(header, disk.err)
		}
		return fmt.Errorf("unpacking %q: %w", header.Name, err)
	}
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("reading the size of %q: %w", header.Name, err)
	}
	if err := file.Close(); err != nil {
		return u.writing(header, err)
	}
	u.files = append(u.files, fileOf(name, info, hex.EncodeToString(sum.Sum(nil))))
	return nil
}

func (u *unpacking) symlink(header *tar.Header, name string) error {
	target := header.Linkname
	if target == "" || path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		return &RefusedError{header.Name, fmt.Sprintf("it links to %q, outside of the folder", target)}
	}
	// It is made when the file is there that it leads to, which may come later.
	u.links = append(u.links, symlink{name, path.Join(path.Dir(name), target)})
	return nil
}

func (u *unpacking) link(header *tar.Header, name string) error {
	target, err := localName(header.Linkname)
	if err != nil {
		return &RefusedError{header.Name, fmt.Sprintf("it links to %q, outside of the folder", header.Linkname)}
	}
	return u.linkTo(header, name, target)
}

// linkTo gives a file of the archive a second name.
func (u *unpacking) linkTo(header *tar.Header, name, target string) error {
	at := slices.IndexFunc(u.files, func(file File) bool { return file.Path == target })
	if at < 0 {
		why := fmt.Sprintf("it links to %q, which is no file of the archive", header.Linkname)
		return &RefusedError{header.Name, why}
	}
	if err := u.root.Link(target, name); err != nil {
		return u.writing(header, err)
	}
	linked := u.files[at]
	linked.Path = name
	u.files = append(u.files, linked)
	return nil
}

// makeLinks makes the symbolic links of the archive, as hard links: a file that is installed from one is then the
// file itself. They may lead through each other.
func (u *unpacking) makeLinks() error {
	targets := map[string]string{}
	for _, link := range u.links {
		targets[link.name] = link.target
	}
	for _, link := range u.links {
		target := link.target
		for range len(u.links) {
			if next, leads := targets[target]; leads {
				target = next
			}
		}
		header := &tar.Header{Name: link.name, Linkname: link.target}
		err := u.before(header, link.name)
		if err == nil {
			err = u.linkTo(header, link.name, target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writing tells an attempt to leave the folder through a link, or to write a name twice, from a full or broken disk.
func (u *unpacking) writing(header *tar.Header, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return &RefusedError{header.Name, "it is in the archive twice"}
	}
	if strings.Contains(err.Error(), "path escapes from parent") {
		return &RefusedError{header.Name, "it leads out of the folder through a link"}
	}
	return &WriteError{header.Name, err}
}

// diskWriter remembers why writing failed, to tell it from a failure to read the archive.
type diskWriter struct {
	file io.Writer
	fd   int
	// written and begun are how many bytes were written, and for how many of them the disk was set to work.
	written, begun int64
	err            error
}

// writeback is after how many bytes the disk is set to work: a bundle is on the disk before it is used, and so most
// of it is there when the last byte has arrived.
const writeback = 8 << 20

func (w *diskWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	if err != nil {
		w.err = err
	}
	if w.written += int64(n); w.written-w.begun >= writeback {
		beginWriteback(w.fd, w.begun, w.written-w.begun)
		w.begun = w.written
	}
	return n, err
}

// onlyReader hides WriteTo, so that io.CopyBuffer uses our large buffer.
type onlyReader struct{ io.Reader }
