package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
)

const (
	// block is the alignment of a resumed upload, in bytes: dd seeks in whole blocks.
	block = 1 << 20
	// chunk is how much is read from a source at a time. More is no faster, and fifty uploads at once should stay
	// small.
	chunk   = 128 << 10
	partial = ".partial"
)

// Upload is a file to write on a machine, as root.
type Upload struct {
	// Source opens the content at an offset. It is called once for each attempt.
	Source func(offset int64) (io.ReadCloser, error)
	// Size in bytes; 0 when unknown.
	Size int64
	// SHA256 of the whole content, hex.
	SHA256 string
	// Path is where the file will be, absolute. Its folder is made when missing, with DirMode.
	Path string
	// Mode of the file. Default 0644.
	Mode os.FileMode
	// DirMode of a folder that has to be made. Default 0755.
	DirMode os.FileMode
	// LeavePartial ends the upload with Path + ".partial", for a reader on the machine that follows the growing file,
	// verifies it and renames it. A file that is at Path already then counts by its size: that reader put it there.
	LeavePartial bool
	// Progress, when not nil, is told how much of the file is on its way, about once a chunk.
	Progress func(done, total int64)
}

var errSourceShort = errors.New("it ended early")

// UploadResult describes a finished upload.
type UploadResult struct {
	// Skipped: the file was there already.
	Skipped bool
	// Resumed: only the rest was sent.
	Resumed bool
	// Bytes that were sent.
	Bytes int64
	// Method is "scp" or "stream"; empty when nothing was sent.
	Method string
}

// FromBytes is a Source of data in memory.
func FromBytes(data []byte) func(offset int64) (io.ReadCloser, error) {
	return FromReaderAt(bytes.NewReader(data), int64(len(data)))
}

// FromReaderAt is a Source of size bytes of r.
func FromReaderAt(r io.ReaderAt, size int64) func(offset int64) (io.ReadCloser, error) {
	return func(offset int64) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(r, offset, size-offset)), nil
	}
}

// Upload puts a file on the machine: into Path + ".partial", which is verified, given its mode and renamed. It costs
// one exec when the file is there already, and otherwise three. An upload that was cut off is taken up where it
// stopped, and begun anew once when the whole does not have the digest it should have.
func (c *Client) Upload(ctx context.Context, upload Upload) (UploadResult, error) {
	return uploader{runner: c.Elevated(), host: c.host(), client: c}.run(ctx, upload)
}

// UploadBy does the same over a runner whose commands are root's; messages call the machine host.
func UploadBy(ctx context.Context, runner Runner, host string, upload Upload) (UploadResult, error) {
	return uploader{runner: runner, host: host}.run(ctx, upload)
}

// uploader writes files on a machine.
type uploader struct {
	runner Runner
	host   string
	client *Client // has scp, and larger pieces; nil where the runner is all there is
}

func (c uploader) run(ctx context.Context, upload Upload) (UploadResult, error) {
	result, err := c.upload(ctx, upload)
	if err != nil {
		return result, fmt.Errorf("uploading %q to %s: %w", upload.Path, c.host, err)
	}
	return result, nil
}

func (c uploader) upload(ctx context.Context, upload Upload) (UploadResult, error) {
	for attempt := 1; ; attempt++ {
		state, err := c.probe(ctx, upload)
		if err != nil {
			return UploadResult{}, err
		}
		if state.have {
			return UploadResult{Skipped: true}, nil
		}
		result, err := c.send(ctx, upload, state)
		if err != nil || upload.LeavePartial {
			return result, err
		}
		mismatch, err := c.finish(ctx, upload)
		if mismatch == "" || err != nil {
			return result, err
		}
		if attempt == 2 {
			return result, fmt.Errorf("it arrived with sha256 %s instead of %s", mismatch, upload.SHA256)
		}
	}
}

// probeScript answers three lines: whether the file is there, how much of a part of it is, and whether scp is.
// Arguments: folder, file, sha256, size ("0": unknown), umask for folders, how a file counts as there: "digest" or
// "size".
const probeScript = `dir=$1 file=$2 sum=$3 size=$4 mask=$5 by=$6
umask "$mask" && mkdir -p -- "$dir" || exit 1
have=no
if [ -f "$file" ]; then
  if [ "$size" = 0 ] || [ "$(wc -c <"$file" | tr -d ' ')" = "$size" ]; then
    if [ "$by" = size ] || [ "$(sha256sum <"$file" | cut -d' ' -f1)" = "$sum" ]; then have=yes; fi
  fi
fi
part=0
if [ -f "$file.partial" ]; then
  part=$(wc -c <"$file.partial" | tr -d ' ')
  if [ "$size" != 0 ] && [ "$part" -gt "$size" ]; then rm -f -- "$file.partial"; part=0; fi
fi
scp=no
if command -v scp >/dev/null 2>&1; then scp=yes; fi
echo "$have $part $scp"`

// remoteState is the state of the machine before an upload.
type remoteState struct {
	have bool
	part int64
	scp  bool
}

func (c uploader) probe(ctx context.Context, upload Upload) (remoteState, error) {
	by, dirMode := "digest", upload.DirMode
	if upload.LeavePartial {
		by = "size"
	}
	if dirMode == 0 {
		dirMode = 0o755
	}
	result, err := c.script(ctx, probeScript, path.Dir(upload.Path), upload.Path, upload.SHA256,
		strconv.FormatInt(upload.Size, 10), octal(0o777&^dirMode), by)
	if err != nil {
		return remoteState{}, fmt.Errorf("reading the state of the file: %w", err)
	}
	var have, scp string
	var part int64
	if _, err := fmt.Sscan(string(result.Stdout), &have, &part, &scp); err != nil {
		answer := quotable(string(result.Stdout))
		return remoteState{}, fmt.Errorf("reading the state of the file: answer %q: %w", answer, err)
	}
	return remoteState{have: have == "yes", part: part, scp: scp == "yes"}, nil
}

// script runs constant shell text as root; values are passed in args.
func (c uploader) script(ctx context.Context, text string, args ...string) (Result, error) {
	return c.runner.Run(ctx, Command{Argv: append([]string{"/bin/sh", "-c", text, "sh"}, args...)})
}

func octal(mode os.FileMode) string { return fmt.Sprintf("%04o", mode.Perm()) }

// send appends to the part on the machine until it is complete.
func (c uploader) send(ctx context.Context, upload Upload, state remoteState) (UploadResult, error) {
	if upload.Size > 0 && state.part == upload.Size {
		return UploadResult{Resumed: true}, nil
	}
	// Only whole blocks count as there. Written again, bytes are the same bytes: even an older upload that still runs
	// does no harm, since both write every byte to its own place.
	offset := state.part - state.part%block
	source, err := upload.Source(offset)
	if err != nil {
		return UploadResult{}, fmt.Errorf("opening the source at %d: %w", offset, err)
	}
	counted := &sourceReader{source: source, done: offset, total: upload.Size, progress: upload.Progress}
	counted.counted.Store(offset)
	defer counted.close()

	result := UploadResult{Resumed: offset > 0, Method: "stream"}
	if c.client != nil && c.client.canSCP(upload, state, offset) {
		result.Method = "scp"
		err = c.client.sendBySCP(ctx, upload, counted)
	} else {
		err = c.sendByStream(ctx, upload, offset, counted)
	}
	result.Bytes = counted.count() - offset
	if failed := counted.failure(); failed != nil {
		return result, fmt.Errorf("reading the source: %w", failed)
	}
	if err != nil {
		return result, err
	}
	if upload.Size > 0 && counted.count() != upload.Size {
		return result, fmt.Errorf("reading the source: %w, after %d of %d bytes", errSourceShort, counted.count(),
			upload.Size)
	}
	return result, nil
}

// streamScript writes its input into a file from a block on, and keeps the blocks before it. Arguments: file, block.
const streamScript = `umask 077; exec dd of="$1" bs=1048576 seek="$2" conv=notrunc status=none`

func (c uploader) sendByStream(ctx context.Context, upload Upload, offset int64, source *sourceReader) error {
	argv := []string{"/bin/sh", "-c", streamScript, "sh", upload.Path + partial, strconv.FormatInt(offset/block, 10)}
	var err error
	if c.client == nil {
		_, err = c.runner.Run(ctx, Command{Argv: argv, Stdin: source})
	} else {
		_, err = c.client.runElevated(ctx, argv, NewOutput(nil), func(stdin io.Writer) error {
			_, _ = source.WriteTo(stdin)
			return source.failure()
		})
	}
	if err != nil {
		return fmt.Errorf("sending by stream: %w", err)
	}
	return nil
}

// finishScript verifies, sets the mode and renames; a wrong digest is printed, and the file removed.
// Arguments: file, sha256, mode.
const finishScript = `file=$1 sum=$2 mode=$3
got=$(sha256sum <"$file.partial" | cut -d' ' -f1)
if [ "$got" != "$sum" ]; then rm -f -- "$file.partial"; echo "$got"; exit 0; fi
chmod -- "$mode" "$file.partial" && mv -f -- "$file.partial" "$file"`

// finish returns the digest of the file if it is the wrong one, else "".
func (c uploader) finish(ctx context.Context, upload Upload) (mismatch string, err error) {
	mode := upload.Mode
	if mode == 0 {
		mode = 0o644
	}
	result, err := c.script(ctx, finishScript, upload.Path, upload.SHA256, octal(mode))
	if err != nil {
		return "", fmt.Errorf("renaming it into place: %w", err)
	}
	return quotable(strings.TrimSpace(string(result.Stdout))), nil
}

// sourceReader reads a source in large pieces, counts the bytes, and reports progress. It can be stopped while a reader
// still reads from it.
type sourceReader struct {
	source   io.ReadCloser
	done     int64
	total    int64
	progress func(done, total int64)

	counted atomic.Int64
	failed  atomic.Pointer[error]
	closed  atomic.Bool
}

// WriteTo copies everything to w; io.Copy prefers it to its own 32 KiB at a time.
func (c *sourceReader) WriteTo(w io.Writer) (int64, error) {
	buffer := make([]byte, chunk)
	start := c.done
	c.counted.Store(c.done)
	for !c.closed.Load() {
		n, readErr := c.source.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return c.done - start, err
			}
			c.done += int64(n)
			c.counted.Store(c.done)
			if c.progress != nil && !c.closed.Load() {
				c.progress(c.done, c.total)
			}
		}
		if errors.Is(readErr, io.EOF) {
			return c.done - start, nil
		}
		if readErr != nil {
			c.failed.Store(&readErr)
			return c.done - start, readErr
		}
	}
	return c.done - start, io.ErrClosedPipe
}

// Read serves callers that do not know WriteTo.
func (c *sourceReader) Read(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, io.ErrClosedPipe
	}
	n, err := c.source.Read(p)
	c.done += int64(n)
	c.counted.Store(c.done)
	if c.progress != nil && n > 0 {
		c.progress(c.done, c.total)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		c.failed.Store(&err)
	}
	return n, err
}

func (c *sourceReader) count() int64 { return c.counted.Load() }

// failure returns why the source could not be read.
func (c *sourceReader) failure() error {
	if failed := c.failed.Load(); failed != nil && !c.closed.Load() {
		return *failed
	}
	return nil
}

// stop makes the next read fail.
func (c *sourceReader) stop() { c.closed.Store(true) }

func (c *sourceReader) close() {
	c.stop()
	_ = c.source.Close() // it was read, not written
}

var (
	_ io.WriterTo = (*sourceReader)(nil)
	_ io.Reader   = (*sourceReader)(nil)
)
