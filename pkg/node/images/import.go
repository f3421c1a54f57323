package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/node/spread"
)

// Check reports whether the runtime has every image of the sources, without reading any archive. An archive whose
// images are unknown, since it was never imported here, is wanted.
func Check(ctx context.Context, c *node.Context, into Runtime, sources []spec.ImageSource) (bool, string, error) {
	all := archives(c.Host, sources)
	wanted, err := missing(ctx, c, into, all, readRecord(c))
	if err != nil {
		return false, "", err
	}
	if len(wanted) == 0 {
		return true, "the images of " + count.Of(len(all), "archive") + " are there", nil
	}
	labels := make([]string, len(wanted))
	for i, one := range wanted {
		labels[i] = one.name
		c.AddChanges(spec.Change{What: "images of " + one.name, Effect: spec.NoRestart})
	}
	return false, fmt.Sprintf("%d of %d archives to import: %s", len(wanted), len(all), some(labels)), nil
}

// Apply imports the archives that Check found wanted, one after another. It goes on after one that fails; the error
// names all that failed, and those that were imported.
func Apply(ctx context.Context, c *node.Context, into Runtime, sources []spec.ImageSource) (string, error) {
	// An import that is cut off leaves no image, so stopping here is safe.
	ctx, cancel := c.Interruptible(ctx)
	defer cancel()
	work := &work{context: c, into: into, known: readRecord(c)}
	defer work.end()
	work.importArgs = sync.OnceValue(func() []string {
		return ImportArgs(ctx, c.Host, into.command(c, "images", "import", "--help"))
	})
	all := archives(c.Host, sources)
	wanted, err := missing(ctx, c, into, all, work.known)
	if err != nil {
		return "", err
	}
	for i, one := range wanted {
		what := path.Base(one.name)
		if len(wanted) > 1 {
			what = fmt.Sprintf("%s (%d of %d)", what, i+1, len(wanted))
		}
		err := work.importOne(ctx, one, what)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if err != nil {
			work.fails(one, err)
		}
		if errors.Is(err, errNoSender) {
			break // nor would the next one come
		}
	}
	return work.report(len(all))
}

// work is one run of Apply.
type work struct {
	context *node.Context
	into    Runtime
	known   record
	feeds   *feeds
	// importArgs are the arguments by which ctr imports, without the archive.
	importArgs func() []string

	done     []string
	failed   []error
	problems []string
}

func (w *work) end() {
	if w.feeds != nil {
		w.feeds.close()
	}
}

func (w *work) fails(one archive, err error) {
	_, _ = fmt.Fprintf(w.context.Log, "importing %s: %v\n", one.name, err)
	w.failed = append(w.failed, err)
	w.problems = append(w.problems, fmt.Sprintf("%s: %v", one.name, err))
}

// importOne imports one archive.
func (w *work) importOne(ctx context.Context, one archive, what string) error {
	if one.absent != nil {
		return one.absent
	}
	w.context.SetMessage("importing %s", what)
	began := time.Now()
	p := &transfer{work: w, archive: one, what: what}
	err := w.source(ctx, one, func(content io.Reader) error {
		p.begin(ctx, node.ProgressReader(w.context, content, one.size, what))
		return w.into.importStream(ctx, w.context, append(slices.Clone(w.importArgs()), "-"), p.copyTo)
	})
	if err == nil {
		err = Flush(ctx, w.context.Host, w.importArgs())
	}
	if err != nil {
		w.into.removeImages(ctx, w.context, p.fresh())
		return err
	}
	if err := w.note(ctx, one, p.named); err != nil {
		return err
	}
	w.done = append(w.done, fmt.Sprintf("%s (%s)", one.name, some(slices.Sorted(maps.Keys(p.named)))))
	_, _ = fmt.Fprintf(w.context.Log, "%s imported in %.3fs: %v\n", one.name, time.Since(began).Seconds(), p.named)
	return nil
}

// source opens the archive and calls use with it, which reads it to its end or fails. After a lost connection, use is
// called again with the archive from its start.
func (w *work) source(ctx context.Context, one archive, use func(io.Reader) error) error {
	if one.sent == nil {
		file, err := os.Open(w.context.Host.Path(one.path))
		if err != nil {
			return fmt.Errorf("opening it: %w", err)
		}
		defer file.Close()
		return use(file)
	}
	if w.feeds == nil {
		listening, err := listen(w.context)
		if err != nil {
			return err
		}
		w.feeds = listening
	}
	if w.context.Spread != nil && one.size > 0 && one.size <= spread.MaxSize && w.hasRoom(one.size) {
		return w.fromOthers(ctx, one, use)
	}
	return w.feeds.take(ctx, one.key, use)
}

// fromOthers is source for an archive that comes in pieces.
func (w *work) fromOthers(ctx context.Context, one archive, use func(io.Reader) error) error {
	content, err := w.feeds.inPieces(ctx, spread.File{Key: one.key, Size: one.size})
	if err != nil {
		return err
	}
	defer w.context.AwaitFeed("")
	defer content.Close()
	return use(content)
}

// hasRoom reports whether a file of this size fits beside its own unpacked content, which is about as large. Where it
// does not, the archive is streamed.
func (w *work) hasRoom(size int64) bool {
	var stat unix.Statfs_t
	if err := unix.Statfs(w.context.Host.Path(spec.Root), &stat); err != nil {
		return false
	}
	return int64(stat.Bavail)*stat.Bsize > 3*size
}

// note checks that the runtime has the imported images, and adds them to the record.
func (w *work) note(ctx context.Context, one archive, named map[string]string) error {
	has, err := w.into.digests(ctx, w.context, slices.Sorted(maps.Keys(named)))
	if err != nil {
		return err
	}
	for name, digest := range named {
		switch {
		case has[name] == "":
			return fmt.Errorf("it was imported, but the runtime has no image %s; is it for another platform?", name)
		case digest != "" && has[name] != digest:
			return fmt.Errorf("it was imported, but image %s is %s and not %s", name, has[name], digest)
		}
	}
	return w.known.add(w.context, one.key, recordEntry{Name: one.name, Images: has, At: time.Now().UTC()})
}

// report returns the phase's detail and error for total archives.
func (w *work) report(total int) (string, error) {
	imported := "nothing was imported"
	if len(w.done) > 0 {
		imported = fmt.Sprintf("%d of %d archives imported: %s", len(w.done), total, some(w.done))
	}
	if len(w.failed) == 0 {
		return imported, nil
	}
	return "", &node.Failure{
		Err: errclass.With(combinedClass(w.failed), &failures{
			text: fmt.Sprintf("%d of %d archives could not be imported: %s; %s", len(w.failed), total,
				strings.Join(w.problems, "; "), imported),
			causes: w.failed,
		}),
		Problems: w.problems,
		Hint:     "the next run imports only what is still missing",
	}
}

// failures is one error for several, with one text.
type failures struct {
	text   string
	causes []error
}

func (f *failures) Error() string   { return f.text }
func (f *failures) Unwrap() []error { return f.causes }

// combinedClass returns the class of several errors: transient if any is, since another attempt may help and shows the
// others again.
func combinedClass(errs []error) errclass.Class {
	class := errclass.Configuration
	for _, err := range errs {
		switch errclass.ClassOf(err) {
		case errclass.Transient:
			return errclass.Transient
		case errclass.Permanent:
			class = errclass.Permanent
		}
	}
	return class
}

// shown is the number of things that a message names.
const shown = 5

// some returns the first of several things as text.
func some(all []string) string {
	if len(all) <= shown {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:shown], ", "), len(all)-shown)
}
