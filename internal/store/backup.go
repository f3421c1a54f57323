package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
)

// storePatience is how long a store may take to answer for the first time. kine makes its tables first, and etcd's
// members find each other.
const storePatience = 2 * time.Minute

// Result describes an archive, short enough for a container's termination message.
type Result struct {
	// Archive is its name.
	Archive string `json:"archive"`
	// Bytes is its size.
	Bytes int64 `json:"bytes"`
	// Seconds that the work took.
	Seconds float64 `json:"seconds"`
	// Removed are old archives that went, as many as there is room to name; Gone is how many went.
	Removed []string `json:"removed,omitempty"`
	Gone    int      `json:"gone,omitempty"`
	// Maintained describes the maintenance of the store after its archive was written, and Unmaintained its error.
	Maintained   Maintained `json:"maintained,omitzero"`
	Unmaintained string     `json:"unmaintained,omitempty"`
	// Manifest without its parts.
	Manifest
}

// Order is a backup that was asked for.
type Order struct {
	Access
	// PKI and Documents are folders whose files go into the archive.
	PKI, Documents string
	// Output is the archive's path.
	Output string
	// Recipients are public keys of age, to which the archive is encrypted; none for an archive that is not.
	Recipients []string
	// Keep is how many of the cluster's archives stay; 0 for all.
	Keep int
	About
}

// Backup writes an archive, reads it again from its first to its last byte, and removes old ones only then. At the end
// it maintains the store; see Maintain.
func Backup(ctx context.Context, order Order, report func(string)) (Result, error) {
	started := time.Now()
	client, err := order.Connect()
	if err != nil {
		return Result{}, err
	}
	defer client.Close()
	report("waiting for the store to answer")
	if err := order.ready(ctx, client, storePatience); err != nil {
		return Result{}, err
	}
	archive, err := order.write(ctx, client, started, report)
	if err != nil {
		return Result{}, err
	}
	removed, err := prune(filepath.Dir(order.Output), order.Cluster, order.Keep)
	if err != nil {
		return Result{}, err
	}
	result, err := archive.Result()
	result.Gone, result.Removed = len(removed), removed[:min(len(removed), maxNamed)]
	var unmaintained error
	if result.Maintained, unmaintained = Maintain(ctx, order.Access, report); unmaintained != nil {
		result.Unmaintained = unmaintained.Error() // the archive is there nevertheless
	}
	result.Seconds = time.Since(started).Seconds()
	return result, err
}

// write writes the archive, and reads it again. An encrypted one is also encrypted to a key of this run's memory.
func (o Order) write(ctx context.Context, client Client, taken time.Time, report func(string)) (*Archive, error) {
	recipients, err := Recipients(o.Recipients)
	if err != nil {
		return nil, err
	}
	var own []age.Identity
	if len(recipients) > 0 {
		made, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, fmt.Errorf("making a key to read the archive again: %w", err)
		}
		own, recipients = append(own, made), append(recipients, made.Recipient())
	}
	if _, err := Create(o.Output, taken, func(w *Writer) (Manifest, error) {
		return o.fill(ctx, client, w, report)
	}, recipients...); err != nil {
		return nil, err
	}
	report("reading the archive again")
	return Open(o.Output, own...)
}

// maxNamed bounds the names in a result: a container's termination message is cut at 4 KiB, and JSON that is cut can't
// be read.
const maxNamed = 10

// fill puts all there is into an archive.
func (o Order) fill(ctx context.Context, client Client, w *Writer, report func(string)) (Manifest, error) {
	for _, folder := range []struct{ prefix, path string }{{PKIPrefix, o.PKI}, {documentsPrefix, o.Documents}} {
		if err := addFolder(w, folder.prefix, folder.path); err != nil {
			return Manifest{}, err
		}
	}
	revision, err := dump(ctx, client, w, func(keys int) { report(count.Of(keys, "key") + " so far") })
	if err != nil {
		return Manifest{}, err
	}
	return w.Close(o.About, revision)
}

// addFolder adds a folder's files. In a pod they are links beside folders whose names begin with two dots.
func addFolder(w *Writer, prefix, path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "reading the files for the archive: %w", err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(path, entry.Name()))
		if err != nil {
			return errclass.Errorf(errclass.Configuration, "reading the files for the archive: %w", err)
		}
		if err := w.Add(prefix+entry.Name(), content); err != nil {
			return err
		}
	}
	return nil
}

// Result tells of the archive.
func (a *Archive) Result() (Result, error) {
	info, err := os.Stat(a.path)
	if err != nil {
		return Result{}, errclass.Errorf(errclass.Permanent, "reading the size of archive %q: %w", a.name(), err)
	}
	result := Result{Archive: a.name(), Bytes: info.Size(), Manifest: a.Manifest}
	result.Parts = nil
	return result, nil
}

// Restore loads an archive into the store behind access.
func Restore(ctx context.Context, access Access, archive *Archive, report func(string)) (Result, error) {
	started := time.Now()
	client, err := access.Connect()
	if err != nil {
		return Result{}, err
	}
	defer client.Close()
	report("waiting for the store to answer")
	if err := access.ready(ctx, client, storePatience); err != nil {
		return Result{}, err
	}
	if err := load(ctx, client, archive, func(keys, of int) {
		report(fmt.Sprintf("%d of %d keys", keys,
			of))
	}); err != nil {
		return Result{}, err
	}
	result, err := archive.Result()
	result.Seconds = time.Since(started).Seconds()
	return result, err
}
