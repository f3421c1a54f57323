package store

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
)

// Bounds of one file of an archive, and of the files kept in memory. Keys' files are 4 MiB and one value more, and
// etcd's own bound of a value is 1.5 MiB; keys and documents are a few KiB.
const (
	maxPart = 64 << 20
	maxKept = 16 << 20
)

// Archive is one that was read from its first to its last byte and is whole.
type Archive struct {
	Manifest
	path       string
	identities []age.Identity
	kept       map[string][]byte
}

// damagedError is an archive that can't be used. Its class is permanent.
type damagedError struct {
	// Archive is the file's name.
	Archive string
	// Why is the damage.
	Why string
}

func (e *damagedError) Error() string {
	return fmt.Sprintf("archive %q can't be used: %s; take another one", e.Archive, e.Why)
}

// Open reads an archive in full and compares it with its manifest, before anything of it is used. One that is encrypted
// opens with an identity of a recipient.
func Open(path string, identities ...age.Identity) (*Archive, error) {
	a := &Archive{path: path, identities: identities, kept: map[string][]byte{}}
	kept, keys := 0, 0
	var found []Part
	err := a.walk(func(name string, content []byte) error {
		sum := sha256.Sum256(content)
		found = append(found, Part{Name: name, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])})
		if strings.HasPrefix(name, storePrefix) {
			count, err := countRecords(content)
			keys += count
			return err
		}
		if kept += len(content); kept > maxKept {
			return errors.New("its keys and documents are larger than any cluster's")
		}
		a.kept[name] = content
		return nil
	})
	if err != nil {
		return nil, a.damaged(err)
	}
	return a, a.damaged(a.check(found, keys))
}

// damaged adds the archive's name to its damage. A file that can't be opened is not damaged.
func (a *Archive) damaged(err error) error {
	var unreadable *os.PathError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errLocked):
		return fmt.Errorf("opening archive %q: %w", filepath.Base(a.path), err)
	case errors.As(err, &unreadable):
		return errclass.Errorf(errclass.Permanent, "reading archive %q: %w", filepath.Base(a.path), err)
	}
	return errclass.With(errclass.Permanent, &damagedError{Archive: filepath.Base(a.path), Why: err.Error()})
}

// check compares the files found with the manifest.
func (a *Archive) check(found []Part, keys int) error {
	if len(found) == 0 || found[len(found)-1].Name != manifestName {
		return errors.New("it is cut off: its manifest is missing")
	}
	if err := json.Unmarshal(a.kept[manifestName], &a.Manifest); err != nil {
		return fmt.Errorf("its manifest can't be read: %w", err)
	}
	if a.Format != format {
		return fmt.Errorf("its format is %d, and this program reads %d", a.Format, format)
	}
	found = found[:len(found)-1]
	for i := range max(len(found), len(a.Parts)) {
		switch {
		case i >= len(found):
			return fmt.Errorf("its part %q is missing", a.Parts[i].Name)
		case i >= len(a.Parts), found[i].Name != a.Parts[i].Name:
			return fmt.Errorf("its part %q is not in its manifest", found[i].Name)
		case found[i] != a.Parts[i]:
			return fmt.Errorf("its part %q differs from its manifest", found[i].Name)
		}
	}
	if keys != a.Manifest.Keys {
		return fmt.Errorf("it has %s, and its manifest lists %d", count.Of(keys, "key"), a.Manifest.Keys)
	}
	return nil
}

func countRecords(content []byte) (int, error) {
	count := 0
	for len(content) > 0 {
		var err error
		if _, content, err = nextRecord(content); err != nil {
			return count, err
		}
		count++
	}
	return count, nil
}

// Files returns the files of a folder of the archive by their names within it.
func (a *Archive) Files(folder string) map[string][]byte {
	files := map[string][]byte{}
	for name, content := range a.kept {
		if file, in := strings.CutPrefix(name, folder); in {
			files[file] = content
		}
	}
	return files
}

// pairs visits all keys, in the archive's order. The file is read again, and each part is compared again before its
// first key is shown: others may write to the volume meanwhile.
func (a *Archive) pairs(visit func(pair) error) error {
	parts := slices.Clone(a.Parts)
	return a.walk(func(name string, content []byte) error {
		if len(parts) == 0 {
			return nil // the manifest
		}
		sum := sha256.Sum256(content)
		if hex.EncodeToString(sum[:]) != parts[0].SHA256 || name != parts[0].Name {
			return a.damaged(fmt.Errorf("its part %q changed while it was in use", name))
		}
		parts = parts[1:]
		if !strings.HasPrefix(name, storePrefix) {
			return nil
		}
		for len(content) > 0 {
			var p pair
			var err error
			if p, content, err = nextRecord(content); err != nil {
				return a.damaged(err)
			}
			if err := visit(p); err != nil {
				return err
			}
		}
		return nil
	})
}

// walk visits all files of the archive with their content, which it gives away.
func (a *Archive) walk(visit func(name string, content []byte) error) error {
	file, err := os.Open(a.path)
	if err != nil {
		return err
	}
	defer file.Close()
	content, err := decrypted(file, a.identities)
	if err != nil {
		return err
	}
	zip, err := zstd.NewReader(content, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(32<<20))
	if err != nil {
		return fmt.Errorf("it is not a zstd archive: %w", err)
	}
	defer zip.Close()
	files := tar.NewReader(zip)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return readToEnd(zip)
		}
		if err != nil {
			return cutOff(err)
		}
		if header.Typeflag != tar.TypeReg || header.Size > maxPart {
			return fmt.Errorf("its part %q is no file of an archive of Argosy's", header.Name)
		}
		content := make([]byte, header.Size)
		if _, err := io.ReadFull(files, content); err != nil {
			return cutOff(err)
		}
		if err := visit(header.Name, content); err != nil {
			return err
		}
	}
}

// readToEnd reads from the last file to the end: nothing but padding, and zstd's own checksum.
func readToEnd(zip io.Reader) error {
	rest, err := io.ReadAll(io.LimitReader(zip, maxPart))
	if err != nil {
		return cutOff(err)
	}
	if slices.ContainsFunc(rest, func(b byte) bool { return b != 0 }) {
		return errors.New("there is more after its end")
	}
	return nil
}

func cutOff(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("it is cut off")
	}
	return fmt.Errorf("it is damaged: %w", err)
}
