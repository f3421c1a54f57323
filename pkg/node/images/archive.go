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

	"argosy.dev/argosy/pkg/errclass"
)

// errCorrupt: what came is no archive of images, or a damaged one. Another attempt brings the same.
var errCorrupt = errclass.With(errclass.Permanent, errors.New("it is damaged, or no archive of images"))

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errCorrupt, fmt.Errorf(format, args...))
}

const (
	blockSize = 512
	// maxText bounds what says which images are in an archive, as containerd does.
	maxText = 20 << 20
	// maxWindow bounds the memory of zstd; archives packed with --long need more than the usual 8 MiB.
	maxWindow = 256 << 20
	// maxHead bounds what may stand before a file's content.
	maxHead = 4 << 20
	// copySize is how much of an archive is passed on at a time.
	copySize = 256 << 10
)

// decompress gives the tar in an archive that may be packed with gzip or zstd, which its first bytes tell. Not every
// containerd does so itself, and which images there are can only be read from the tar.
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

// decisive are the files that say which images an archive holds.
var decisive = map[string]bool{"oci-layout": true, "index.json": true, "manifest.json": true}

// relay passes a tar on while it arrives, and reads meanwhile which images are in it. What says so is held back until
// all has been passed on and sound agrees: up to then the runtime has layers and nothing that makes images of them,
// whatever happens. The order of files in a tar does not matter to it.
type relay struct {
	from io.Reader
	to   io.Writer
	by   judge
	// tar reads from the relay itself, which sees what it reads.
	tar *tar.Reader
	// offset is how much of the tar was read.
	offset int64
	// sink gets what is read: head while a header is, else what follows.
	sink       io.Writer
	head, held bytes.Buffer
	texts      map[string][]byte
}

// judge decides about an archive while it is passed on.
type judge interface {
	// blame says what an error of reading means.
	blame(err error) error
	// vouched says whether sound knows the archive's digest; otherwise each file in it that is named by its digest is
	// held against that.
	vouched() bool
	// sound is asked when all has been read, with the images in it.
	sound(named map[string]string) error
}

// pass passes the tar from one to the other.
func pass(from io.Reader, to io.Writer, by judge) error {
	r := &relay{from: from, to: to, by: by, texts: map[string][]byte{}}
	r.tar = tar.NewReader(r)
	if err := r.entries(); err != nil {
		return err
	}
	// What follows the end mark is padding. Reading it has whoever unpacks or hashes see everything.
	if _, err := io.Copy(io.Discard, from); err != nil {
		return by.blame(err)
	}
	named, err := names(r.texts)
	if err != nil {
		return err
	}
	if err := by.sound(named); err != nil {
		return err
	}
	r.held.Write(make([]byte, 2*blockSize)) // the end mark
	if _, err := to.Write(r.held.Bytes()); err != nil {
		return fmt.Errorf("%w: %w", errRuntime, err)
	}
	return nil
}

// Read is what the tar is read through.
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
			return r.by.blame(err)
		}
	}
}

// content reads a file to its end, by which it goes where it should.
func (r *relay) content(header *tar.Header, buffer []byte) (err error) {
	if r.sink == &r.held {
		r.texts[path.Clean(header.Name)], err = io.ReadAll(r.tar)
		return err
	}
	digest, named := strings.CutPrefix(path.Clean(header.Name), blobs)
	if !named || r.by.vouched() {
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

// next reads a header and decides where it and what follows go. io.EOF: there is none any more.
func (r *relay) next() (*tar.Header, error) {
	before := r.sink
	// A file is filled up to a whole block, which is read together with what follows.
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
	if header.Typeflag == tar.TypeReg && decisive[path.Clean(header.Name)] {
		if r.sink = &r.held; int64(r.held.Len())+header.Size > maxText {
			return nil, fmt.Errorf("%q says in %d bytes which images there are", header.Name, header.Size)
		}
	}
	if _, err := r.sink.Write(r.head.Bytes()); err != nil {
		return nil, fmt.Errorf("%w: %w", errRuntime, err)
	}
	return header, nil
}

// index is index.json of an OCI layout, as far as it names images.
type index struct {
	Manifests []struct {
		Digest      string            `json:"digest"`
		Annotations map[string]string `json:"annotations"`
	} `json:"manifests"`
}

// names are the images in an archive, and the digests that they lead to; "" where only the runtime makes the manifest,
// as it does of what `docker save` writes.
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

// layoutName is the name that containerd gives an image of an OCI layout. A name that is only a tag is none: containerd
// would make one of it that holds the day of the import.
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
			named[normalize(tag)] = ""
		}
	}
	return named, nil
}

// normalize gives a reference the registry, folder and tag that it stands for: "docker.io/library/alpine:latest" for
// "alpine", as containerd does.
func normalize(reference string) string {
	domain, rest, found := strings.Cut(reference, "/")
	if !found || !strings.ContainsAny(domain, ".:") && domain != "localhost" && strings.ToLower(domain) == domain {
		domain, rest = "docker.io", reference
	}
	if domain == "index.docker.io" {
		domain = "docker.io"
	}
	if domain == "docker.io" && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	if repository, digest, pinned := strings.Cut(rest, "@"); pinned {
		repository, _, _ = strings.Cut(repository, ":")
		return domain + "/" + repository + "@" + digest
	}
	if !strings.Contains(rest, ":") {
		rest += ":latest"
	}
	return domain + "/" + rest
}
