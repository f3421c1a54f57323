package build

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// defaultPath is the PATH of an image whose spec sets none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ImageSpec is an image made of static programs. Beside Files it has /tmp, which everybody may write, and an
// /etc/passwd and /etc/group with root, nobody and argosy (8737); without a Base nothing else, not even a shell.
type ImageSpec struct {
	// Ref is the name with its tag: "quay.io/argoproj/argoexec:v3.7.18".
	Ref string
	// Base is a folder of the cache, where a path always stands for the same content. Its content is a layer of its
	// own, which images with the same Base share.
	Base string
	// Files are the image's files: the absolute path in the image, the file on disk. They belong to root; one that
	// is executable on disk has mode 0755, any other 0644.
	Files      map[string]string
	Entrypoint []string
	// Cmd are the arguments for a container that names none.
	Cmd []string
	// Env are lines "NAME=value". Without a PATH among them the image gets the usual one.
	Env []string
	// User is the user of the container, "8737" or "8737:8737", or empty for root.
	User string
}

// imageContent has everything that determines an image.
type imageContent struct {
	Revision        int
	Ref, User, Arch string
	Entrypoint, Env []string
	Cmd             []string `json:",omitempty"`
	Base            string   `json:",omitempty"`
	Files           []imageFile
}

type imageFile struct {
	Path, Digest string
	Executable   bool
	content      []byte
}

// Image returns the path of an archive with the image, in the format of "docker save", which "ctr images import" reads.
// Equal specs over equal files give byte for byte the same archive.
func (b *Builder) Image(ctx context.Context, spec ImageSpec) (string, error) {
	tag, err := name.NewTag(spec.Ref)
	if err != nil {
		return "", fmt.Errorf("reading image reference %q: %w", spec.Ref, err)
	}
	content, err := readImage(spec)
	if err != nil {
		return "", fmt.Errorf("reading the files of image %q: %w", spec.Ref, err)
	}
	inputs, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("writing the inputs of image %q: %w", spec.Ref, err)
	}
	entry := filepath.Join("images", fileName(spec.Ref)+"-"+digest(inputs)[:16])
	archive := fileName(path.Base(spec.Ref)) + ".tar"
	folder, err := b.ensure(ctx, entry, "image "+spec.Ref, func(folder string, _ *progress) error {
		image, err := makeImage(content)
		if err != nil {
			return err
		}
		return tarball.WriteToFile(filepath.Join(folder, archive), tag, image)
	})
	if err != nil {
		return "", err
	}
	return filepath.Join(folder, archive), nil
}

func readImage(spec ImageSpec) (imageContent, error) {
	content := imageContent{
		Revision: revision, Ref: spec.Ref, User: spec.User, Arch: runtime.GOARCH,
		Entrypoint: spec.Entrypoint, Cmd: spec.Cmd, Env: spec.Env, Base: spec.Base,
	}
	hasPath := slices.ContainsFunc(spec.Env, func(line string) bool { return strings.HasPrefix(line, "PATH=") })
	if !hasPath {
		content.Env = append([]string{defaultPath}, spec.Env...)
	}
	for target, source := range spec.Files {
		if !path.IsAbs(target) || path.Clean(target) != target {
			return content, fmt.Errorf("placing %q: %q is not a clean absolute path", source, target)
		}
		info, err := os.Stat(source)
		if err != nil {
			return content, fmt.Errorf("placing %q: %w", target, err)
		}
		bytes, err := os.ReadFile(source)
		if err != nil {
			return content, fmt.Errorf("placing %q: %w", target, err)
		}
		content.Files = append(content.Files, imageFile{
			Path: strings.TrimPrefix(target, "/"), Digest: digest(bytes),
			Executable: info.Mode()&0o100 != 0, content: bytes,
		})
	}
	slices.SortFunc(content.Files, func(a, b imageFile) int { return strings.Compare(a.Path, b.Path) })
	return content, nil
}

// makeImage leaves layers uncompressed: they travel over the local disk only, and most of the time there goes into
// unpacking.
func makeImage(content imageContent) (v1.Image, error) {
	var layers []mutate.Addendum
	if content.Base != "" {
		base, err := baseLayer(content.Base)
		if err != nil {
			return nil, fmt.Errorf("writing %q as a layer: %w", content.Base, err)
		}
		layers = append(layers, mutate.Addendum{Layer: static.NewLayer(base, types.DockerUncompressedLayer)})
	}
	own, err := makeLayer(content.Files)
	if err != nil {
		return nil, fmt.Errorf("writing the layer: %w", err)
	}
	layers = append(layers, mutate.Addendum{Layer: static.NewLayer(own, types.DockerUncompressedLayer)})
	image, err := mutate.Append(empty.Image, layers...)
	if err != nil {
		return nil, fmt.Errorf("adding the layers: %w", err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", content.Arch
	file.Config = v1.Config{Entrypoint: content.Entrypoint, Cmd: content.Cmd, Env: content.Env, User: content.User}
	image, err = mutate.ConfigFile(image, file)
	if err != nil {
		return nil, fmt.Errorf("setting the configuration: %w", err)
	}
	return image, nil
}

// makeLayer writes a tar with all times at zero, each folder before its files.
func makeLayer(files []imageFile) ([]byte, error) {
	var buffer bytes.Buffer
	layer := layerWriter{tar: tar.NewWriter(&buffer), folders: map[string]bool{".": true}}
	layer.folder("etc", 0o755)
	layer.folder("tmp", 0o1777)
	layer.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/:/sbin/nologin\n"+
		"nobody:x:65534:65534:nobody:/:/sbin/nologin\nargosy:x:8737:8737:argosy:/tmp:/sbin/nologin\n"))
	layer.file("etc/group", 0o644, []byte("root:x:0:\nnobody:x:65534:\nargosy:x:8737:\n"))
	for _, file := range files {
		mode := int64(0o644)
		if file.Executable {
			mode = 0o755
		}
		layer.file(file.Path, mode, file.content)
	}
	return buffer.Bytes(), layer.close()
}

// baseLayer writes the folder's tree in the same way, in the order of its paths.
func baseLayer(base string) ([]byte, error) {
	var buffer bytes.Buffer
	layer := layerWriter{tar: tar.NewWriter(&buffer), folders: map[string]bool{".": true}}
	err := filepath.WalkDir(base, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || file == base {
			return err
		}
		name, err := filepath.Rel(base, file)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return layer.found(file, name, info)
	})
	if err != nil {
		return nil, err
	}
	return buffer.Bytes(), layer.close()
}

// layerWriter keeps its first error and writes nothing after it.
type layerWriter struct {
	tar     *tar.Writer
	folders map[string]bool
	err     error
}

func (l *layerWriter) folder(name string, mode int64) {
	if l.folders[name] {
		return
	}
	l.folder(path.Dir(name), 0o755)
	l.folders[name] = true
	l.entry(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (l *layerWriter) file(name string, mode int64, content []byte) {
	l.folder(path.Dir(name), 0o755)
	l.entry(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}, content)
}

// found writes a file, link or folder that lies on disk under the path file.
func (l *layerWriter) found(file, name string, info fs.FileInfo) error {
	mode := int64(info.Mode().Perm())
	switch {
	case info.IsDir():
		l.folder(name, mode)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(file)
		if err != nil {
			return err
		}
		l.entry(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
	case info.Mode().IsRegular():
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		l.file(name, mode, content)
	default:
		return fmt.Errorf("adding %q: it is neither a file nor a link nor a folder", name)
	}
	return l.err
}

// close ends the archive and gives the first error of all.
func (l *layerWriter) close() error {
	if l.err != nil {
		return l.err
	}
	return l.tar.Close()
}

func (l *layerWriter) entry(header *tar.Header, content []byte) {
	if l.err != nil {
		return
	}
	if l.err = l.tar.WriteHeader(header); l.err == nil {
		_, l.err = io.Copy(l.tar, bytes.NewReader(content))
	}
}
