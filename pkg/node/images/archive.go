package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"argosy.dev/argosy/internal/imageref"
	"argosy.dev/argosy/pkg/errclass"
)

// errCorrupt is the error for a file that is no archive of images, or a damaged one. It is permanent, since another
// attempt reads the same file.
var errCorrupt = errclass.With(errclass.Permanent, errors.New("it is damaged, or no archive of images"))

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errCorrupt, fmt.Errorf(format, args...))
}

const (
	blockSize = 512
	// maxText bounds the files that list an archive's images, as in containerd.
	maxText = 20 << 20
	// maxWindow bounds the memory of zstd; archives packed with --long need more than the usual 8 MiB.
	maxWindow = 256 << 20
	// maxHead bounds the headers before a file's content.
	maxHead = 4 << 20
	// copySize is the size of one read of an archive.
	copySize = 256 << 10
)

// decompress returns the tar in an archive that may be packed with gzip or zstd, by its first bytes. Not every
// containerd unpacks by itself, and the list of images is in the tar.
func decompress(r io.Reader) (plain io.Reader, stop func(), err error) {
	// Small, so that large reads of an archive that is not packed are not copied.
	buffered := bufio.NewReaderSize(r, 4<<10)
	start, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("reading its first bytes: %w", err)
	}
	switch {
	case bytes.HasPrefix(start, []byte{0x1f, 0x8b}):
		unpacked, err := gzip.NewReader(bufio.NewReaderSize(buffered, copySize))
		if err != nil {
			return nil, nil, fmt.Errorf("reading its gzip header: %w", err)
		}
		return unpacked, func() { _ = unpacked.Close() }, nil
	case bytes.HasPrefix(start, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		unpacked, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("reading its zstd header: %w", err)
		}
		return unpacked, unpacked.Close, nil
	}
	return buffered, func() {}, nil
}

// indexFiles are the files that list an archive's images.
var indexFiles = map[string]bool{"oci-layout": true, "index.json": true, "manifest.json": true}

// relay passes a tar on while it arrives, and meanwhile reads the list of its images. It holds the indexFiles back
// until all others were passed on and verify returned no error: until then the runtime has layers and cannot make
// images of them. The order of files in a tar does not matter to the runtime.
type relay struct {
	from io.Reader
	to   io.Writer
	by   verifier
	// tar reads from the relay itself, which passes on the bytes that are read.
	tar *tar.Reader
	// offset is the number of bytes of the tar that were read.
	offset int64
	// sink gets the bytes that are read: head while a header is read, else to or a text.
	sink       io.Writer
	head, held bytes.Buffer
	texts      map[string][]byte
}

// verifier checks an archive while it is passed on.
type verifier interface {
	// readError returns the cause of a read error.
	readError(err error) error
	// hasDigest reports whether verify checks the archive's digest; otherwise each file that is named by its digest is
	// checked against that.
	hasDigest() bool
	// verify is called with the archive's images when all has been read; after an error they are not imported.
	verify(named map[string]string) error
}

// pass passes the tar from one to the other.
func pass(from io.Reader, to io.Writer, by verifier) error {
	r := &relay{from: from, to: to, by: by, texts: map[string][]byte{}}
	r.tar = tar.NewReader(r)
	if err := r.entries(); err != nil {
		return err
	}
	// The rest is padding. It is read to its end so that hashes and unpackers see the whole stream.
	if _, err := io.Copy(io.Discard, from); err != nil {
		return by.readError(err)
	}
	named, err := names(r.texts)
	if err != nil {
		return err
	}
	if err := by.verify(named); err != nil {
		return err
	}
	r.held.Write(make([]byte, 2*blockSize)) // the end mark
	if _, err := to.Write(r.held.Bytes()); err != nil {
		return fmt.Errorf("%w: %w", errRuntime, err)
	}
	return nil
}

// Read reads from the source and writes the bytes to sink.
func (r *relay) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.offset += int64(n)
	if r.sink == &r.head && r.head.Len()+n > maxHead {
		return n, fmt.Errorf("a header of more than %d bytes", maxHead)
	}
	if n > 0 {
		if _, err := r.sink.Write(p[:n]); err != nil {
			return n, fmt.Errorf("%w: %w", errRuntime, err)
		}
	}
	return n, err
}

func (r *relay) entries() error {
	buffer := make([]byte, copySize)
	r.sink = r.to
	for {
		header, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = r.content(header, buffer)
		}
		if errors.Is(err, errRuntime) {
			return err
		}
		if err != nil {
			return r.by.readError(err)
		}
	}
}

// content reads a file to its end, which passes it on, and checks its digest.
func (r *relay) content(header *tar.Header, buffer []byte) (err error) {
	if r.sink == &r.held {
		r.texts[path.Clean(header.Name)], err = io.ReadAll(r.tar)
		return err
	}
	digest, named := strings.CutPrefix(path.Clean(header.Name), blobs)
	if !named || r.by.hasDigest() {
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.tar, buffer)
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, r.tar, buffer); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fmt.Errorf("file %q in it has the sha256 %s", header.Name, got)
	}
	return nil
}

// blobs are the files of an OCI layout that are named by their digests.
const blobs = "blobs/sha256/"

// next reads a header and sets the sink for it and its file. It returns io.EOF after the last one.
func (r *relay) next() (*tar.Header, error) {
	before := r.sink
	// A file is padded to a whole block. The padding is read together with the next header.
	padding := int((blockSize - r.offset%blockSize) % blockSize)
	r.head.Reset()
	r.sink = &r.head
	header, err := r.tar.Next()
	if errors.Is(err, errRuntime) {
		return nil, err
	}
	filling := make([]byte, padding) // that of the last file may be missing
	copy(filling, r.head.Next(padding))
	if _, err := before.Write(filling); err != nil {
		return nil, fmt.Errorf("%w: %w", errRuntime, err)
	}
	if err != nil {
		return nil, err
	}
	r.sink = r.to
	if header.Typeflag == tar.TypeReg && indexFiles[path.Clean(header.Name)] {
		if r.sink = &r.held; int64(r.held.Len())+header.Size > maxText {
			return nil, fmt.Errorf("%q lists its images in %d bytes", header.Name, header.Size)
		}
	}
	if _, err := r.sink.Write(r.head.Bytes()); err != nil {
		return nil, fmt.Errorf("%w: %w", errRuntime, err)
	}
	return header, nil
}

// index has the fields of an OCI layout's index.json that name images.
type index struct {
	Manifests []struct {
		Digest      string            `json:"digest"`
		Annotations map[string]string `json:"annotations"`
	} `json:"manifests"`
}

// names returns the images in an archive with their digests; "" where the runtime makes the manifest, as for archives
// of `docker save`.
func names(texts map[string][]byte) (map[string]string, error) {
	var layout struct {
		Version string `json:"imageLayoutVersion"`
	}
	if text, found := texts["oci-layout"]; found {
		if err := json.Unmarshal(text, &layout); err != nil {
			return nil, corrupt("reading its oci-layout: %w", err)
		}
	}
	read, text := dockerNames, texts["manifest.json"]
	if layout.Version != "" {
		read, text = layoutNames, texts["index.json"]
	}
	named, err := read(text)
	if err != nil {
		return nil, err
	}
	if len(named) == 0 {
		return nil, errclass.With(errclass.Permanent, errors.New("no image in it has a name, by which pods could ask "+
			"for it; write it with a name, "+
			"as `docker save NAME` does, or give index.json the annotation io.containerd.image.name"))
	}
	return named, nil
}

func layoutNames(text []byte) (map[string]string, error) {
	var listed index
	if err := json.Unmarshal(text, &listed); err != nil {
		return nil, corrupt("reading its index.json: %w", err)
	}
	named := map[string]string{}
	for _, manifest := range listed.Manifests {
		if name := layoutName(manifest.Annotations); name != "" {
			named[name] = manifest.Digest
		}
	}
	return named, nil
}

// layoutName returns the name that containerd gives an image of an OCI layout. It returns "" for a name that is only a
// tag: containerd would make a name with the date of the import.
func layoutName(annotations map[string]string) string {
	if name := annotations["io.containerd.image.name"]; name != "" {
		return name
	}
	if name := annotations["org.opencontainers.image.ref.name"]; strings.ContainsAny(name, "/:@") {
		return name
	}
	return ""
}

func dockerNames(text []byte) (map[string]string, error) {
	if text == nil {
		return nil, corrupt("it has neither an oci-layout nor a manifest.json")
	}
	var saved []struct {
		RepoTags []string `json:"RepoTags"`
	}
	if err := json.Unmarshal(text, &saved); err != nil {
		return nil, corrupt("reading its manifest.json: %w", err)
	}
	named := map[string]string{}
	for _, image := range saved {
		for _, tag := range image.RepoTags {
			name, err := imageref.Normalize(tag)
			if err != nil {
				return nil, corrupt("reading its manifest.json: %w", err)
			}
			named[name] = ""
		}
	}
	return named, nil
}
