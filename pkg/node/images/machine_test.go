package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/images/archivetest"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// machine is a folder with a container runtime that imports as containerd does: it takes files in any order, and a tar
// that ends early for a whole one.
type machine struct {
	t    *testing.T
	host *host.Host
	log  bytes.Buffer

	mu sync.Mutex
	// has are the runtime's images, and imports counts the imports.
	has     map[string]string
	imports int
	// refuses ends the import of an archive that names this image, after its name was stored, as a full disk does.
	refuses string
	// old is a ctr that does not know --local.
	old   bool
	calls []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	root, err := os.MkdirTemp("", "m") // a socket's path is short
	assert.NilError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	m := &machine{t: t, has: map[string]string{}}
	m.host = &host.Host{Root: root, Runner: m}
	m.write("/usr/local/bin/ctr", nil)
	assert.NilError(t, os.Chmod(m.host.Path("/usr/local/bin/ctr"), 0o755))
	m.runs(layout.ContainerdSocket)
	return m
}

// runs has the runtime answer at a socket.
func (m *machine) runs(socket string) {
	assert.NilError(m.t, os.MkdirAll(filepath.Dir(m.host.Path(socket)), 0o755))
	listener, err := net.Listen("unix", m.host.Path(socket))
	assert.NilError(m.t, err)
	m.t.Cleanup(func() { _ = listener.Close() })
}

func (m *machine) write(name string, content []byte) {
	assert.NilError(m.t, os.MkdirAll(filepath.Dir(m.host.Path(name)), 0o755))
	assert.NilError(m.t, os.WriteFile(m.host.Path(name), content, 0o644))
}

// context returns the context for the phases of an operation.
func (m *machine) context() *node.Context {
	store := node.NewStore(m.host)
	assert.NilError(m.t, store.Prepare("images-1"))
	return &node.Context{
		Operation: &spec.Operation{ID: "images-1", Cluster: "team-a"}, Host: m.host, Store: store,
		Log: &m.log,
	}
}

var bin = Runtime{BinariesPath: "/usr/local/bin"}

func (m *machine) check(sources ...spec.ImageSource) (bool, string) {
	m.t.Helper()
	holds, detail, err := Check(m.t.Context(), m.context(), bin, sources)
	assert.NilError(m.t, err)
	return holds, detail
}

func (m *machine) apply(sources ...spec.ImageSource) (string, error) {
	return Apply(m.t.Context(), m.context(), bin, sources)
}

// Run is ctr, and sync.
func (m *machine) Run(_ context.Context, c host.Command) ([]byte, error) {
	if c.Argv[0] == "sync" {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.calls = append(m.calls, "sync")
		return nil, nil
	}
	args := c.Argv[1:]
	assert.Check(m.t, slices.Contains(args, "k8s.io"), "images belong where the kubelet looks")
	at := slices.Index(args, "images")
	m.mu.Lock()
	m.calls = append(m.calls, strings.Join(args[at:], " "))
	m.mu.Unlock()
	switch args = args[at+1:]; args[0] {
	case "list":
		return m.list(args[1:]), nil
	case "remove":
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, name := range args[1:] {
			delete(m.has, name)
		}
		return nil, nil
	case "import":
		if slices.Contains(args, "--help") {
			return m.help(), nil
		}
		assert.Check(m.t, slices.Contains(args, "--local") != m.old, "%q", args)
		return m.imported(c)
	}
	return nil, &host.CommandError{Command: c, Err: errors.New("exit status 1")}
}

func (m *machine) help() []byte {
	if m.old {
		return []byte("OPTIONS:\n --base-name value\n")
	}
	return []byte("OPTIONS:\n --local  Run import locally\n --sync-fs  Synchronize the file system\n")
}

func (m *machine) list(filters []string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := "time=\"now\" level=warning msg=\"deprecated\"\nREF TYPE DIGEST SIZE PLATFORMS LABELS\n"
	for name, digest := range m.has {
		if slices.Contains(filters, "name=="+strconv.Quote(name)) {
			out += fmt.Sprintf("%s  application/vnd.oci.image.manifest.v1+json %s 3.1 KiB linux/amd64 -\n", name,
				digest)
		}
	}
	return []byte(out)
}

func (m *machine) imported(c host.Command) ([]byte, error) {
	files := map[string][]byte{}
	fails := func(text string) ([]byte, error) {
		return []byte(text), &host.CommandError{
			Command: c, Output: []byte("ctr: " + text + "\n"),
			Err: errors.New("exit status 1"),
		}
	}
	for archive := tar.NewReader(c.Stdin); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fails(err.Error())
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return fails("failed to ingest: " + err.Error())
		}
		files[path.Clean(header.Name)] = content
	}
	named, err := names(files)
	if err != nil {
		return fails("unrecognized image format")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.imports++
	for name, digest := range named {
		if digest == "" {
			digest = "sha256:made-of-" + name
		} else if files["blobs/sha256/"+strings.TrimPrefix(digest, "sha256:")] == nil {
			return fails("content digest " + digest + ": not found")
		}
		m.has[name] = digest
		if name == m.refuses {
			return fails("no space left on device")
		}
	}
	return nil, nil
}

// seeds makes every image another one.
func seed(name string) [32]byte { return sha256.Sum256([]byte(name)) }

// archiveOf is a small OCI layout with one image.
func archiveOf(t testing.TB, name string) []byte {
	t.Helper()
	var archive bytes.Buffer
	_, err := archivetest.Image{Name: name, Size: 3000, Seed: seed(name)}.WriteLayout(&archive)
	assert.NilError(t, err)
	return archive.Bytes()
}

func saved(t testing.TB, name string) []byte {
	t.Helper()
	var archive bytes.Buffer
	assert.NilError(t, archivetest.Image{Name: name, Size: 3000, Seed: seed(name)}.WriteSaved(&archive))
	return archive.Bytes()
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func onPath(path string) spec.ImageSource { return spec.ImageSource{Name: path, Path: path} }

func sent(key string) spec.ImageSource {
	return spec.ImageSource{Name: "https://files.example.com/" + key, Sent: &spec.SentImages{Key: key}}
}

// remembers reads the record.
func (m *machine) remembers() record {
	known := record{}
	data, err := m.host.ReadFile(spec.ImagesFile)
	assert.NilError(m.t, err)
	assert.NilError(m.t, json.Unmarshal(data, &known))
	return known
}
