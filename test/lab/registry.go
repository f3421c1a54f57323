package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// RegistryAddress is the lab's image registry, over plain HTTP, as machines and the host cluster name it in a
// reference. A client that pulls from it must be told that it speaks no TLS; the lab's machines are.
const RegistryAddress = uplinkAddress + ":5000"

func (l *Lab) registryDir() string { return filepath.Join(l.state, "registry") }

// blobs are the registry's layers and configurations on disk.
func (l *Lab) blobs() registry.BlobHandler {
	return registry.NewDiskBlobHandler(filepath.Join(l.registryDir(), "blobs"))
}

// serveRegistry is the registry's process.
func (l *Lab) serveRegistry(ctx context.Context) error {
	handler, err := l.registryHandler()
	if err != nil {
		return err
	}
	if err := serveHTTP(ctx, RegistryAddress, handler); err != nil {
		return fmt.Errorf("serving images: %w", err)
	}
	return nil
}

func (l *Lab) registryHandler() (http.Handler, error) {
	for _, name := range []string{"blobs", "manifests"} {
		if err := os.MkdirAll(filepath.Join(l.registryDir(), name), 0o755); err != nil {
			return nil, fmt.Errorf("making the registry's folder: %w", err)
		}
	}
	served := registry.New(registry.WithBlobHandler(l.blobs()), registry.Logger(log.New(io.Discard, "", 0)))
	kept := keptManifests{dir: filepath.Join(l.registryDir(), "manifests"), next: served}
	return kept, kept.restore()
}

// keptManifests stands before a registry that keeps its manifests in memory
// only. It writes down each that is pushed, to push it again after a restart.
type keptManifests struct {
	dir  string
	next http.Handler
}

// keptManifest is one push of a manifest.
type keptManifest struct {
	Path, ContentType string
	Body              []byte
}

// largestManifest is the size that registries commonly accept.
const largestManifest = 4 << 20

var manifestPath = regexp.MustCompile(`^/v2/.+/manifests/[^/]+$`)

func (k keptManifests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	changes := r.Method == http.MethodPut || r.Method == http.MethodDelete
	if !changes || !manifestPath.MatchString(r.URL.Path) {
		k.next.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largestManifest))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := newAnswer()
	k.next.ServeHTTP(answer, r)
	if answer.code < 300 {
		if err := k.note(r, body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	maps.Copy(w.Header(), answer.header)
	w.WriteHeader(answer.code)
	_, _ = w.Write(answer.body.Bytes())
}

// answer is a response that is looked at before anybody gets it.
type answer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func newAnswer() *answer { return &answer{header: http.Header{}, code: http.StatusOK} }

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// note writes a pushed manifest down, or forgets one that was deleted.
func (k keptManifests) note(r *http.Request, body []byte) error {
	sum := sha256.Sum256([]byte(r.URL.Path))
	path := filepath.Join(k.dir, hex.EncodeToString(sum[:])+".json")
	if r.Method == http.MethodDelete {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forgetting manifest %q: %w", r.URL.Path, err)
		}
		return nil
	}
	data, err := json.Marshal(keptManifest{Path: r.URL.Path, ContentType: r.Header.Get("Content-Type"), Body: body})
	if err != nil {
		return fmt.Errorf("encoding manifest %q: %w", r.URL.Path, err)
	}
	if err := os.WriteFile(path+".partial", data, 0o644); err != nil {
		return fmt.Errorf("writing manifest %q: %w", r.URL.Path, err)
	}
	if err := os.Rename(path+".partial", path); err != nil {
		return fmt.Errorf("naming manifest %q: %w", r.URL.Path, err)
	}
	return nil
}

// restore pushes everything written down, indexes last, since the registry takes one only when it has the manifests
// that the index lists.
func (k keptManifests) restore() error {
	files, err := filepath.Glob(filepath.Join(k.dir, "*.json"))
	if err != nil {
		return fmt.Errorf("looking for kept manifests: %w", err)
	}
	var images, indexes []keptManifest
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading a kept manifest: %w", err)
		}
		var m keptManifest
		if err := json.Unmarshal(data, &m); err != nil {
			return fmt.Errorf("reading kept manifest %q: %w", file, err)
		}
		if types.MediaType(m.ContentType).IsIndex() {
			indexes = append(indexes, m)
		} else {
			images = append(images, m)
		}
	}
	for _, m := range slices.Concat(images, indexes) {
		r, err := http.NewRequest(http.MethodPut, m.Path, bytes.NewReader(m.Body))
		if err != nil {
			return fmt.Errorf("restoring manifest %q: %w", m.Path, err)
		}
		r.Header.Set("Content-Type", m.ContentType)
		answer := newAnswer()
		if k.next.ServeHTTP(answer, r); answer.code >= 300 {
			return fmt.Errorf("restoring manifest %q: the registry answers %d: %s", m.Path, answer.code, &answer.body)
		}
	}
	return nil
}
