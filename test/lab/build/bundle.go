package build

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// Bundle is a node bundle in a folder of its own, with a SHA256SUMS beside it.
type Bundle struct {
	// Path is the archive, Name the last part of it: "kubernetes-v1.34.4-amd64.tar.gz".
	Path, Name string
	// SHA256 is the archive's digest in hexadecimal digits.
	SHA256 string
}

// checksums is the name of the file with the digests, in the format of sha256sum.
const checksums = "SHA256SUMS"

// Bundle returns the node bundle of the Kubernetes version as a tar.gz: beneath ./release/ kubeadm, kubelet, kubectl,
// containerd, containerd-shim-runc-v2, ctr, runc, cni/bin/, pause-image.tar and pause-image.txt.
func (b *Builder) Bundle(ctx context.Context, version string) (Bundle, error) {
	files, err := b.bundleFiles(ctx, version)
	if err != nil {
		return Bundle{}, err
	}
	return b.makeBundle(ctx, "kubernetes-"+version+"-"+runtime.GOARCH+".tar.gz", files)
}

// bundleFile is a file of a bundle, from disk or with the text given.
type bundleFile struct {
	// Path is beneath ./release/ and slash-separated.
	Path string
	// Source is the file on disk. It lies in the cache, where a path always stands for the same content, so that the
	// bundle's key needs the path alone.
	Source string
	Text   string
}

func (b *Builder) bundleFiles(ctx context.Context, version string) ([]bundleFile, error) {
	kubernetes, err := b.Kubernetes(ctx, version)
	if err != nil {
		return nil, err
	}
	containerd, err := b.Containerd(ctx)
	if err != nil {
		return nil, err
	}
	runc, err := b.Runc(ctx)
	if err != nil {
		return nil, err
	}
	plugins, err := b.CNI(ctx)
	if err != nil {
		return nil, err
	}
	pause, ref, err := b.pauseImage(ctx, kubernetes, version)
	if err != nil {
		return nil, err
	}
	files := []bundleFile{{Path: "pause-image.tar", Source: pause}, {Path: "pause-image.txt", Text: ref + "\n"}}
	add := func(prefix, folder string, names ...string) {
		for _, name := range names {
			files = append(files, bundleFile{Path: prefix + name, Source: filepath.Join(folder, name)})
		}
	}
	add("", kubernetes, "kubeadm", "kubelet", "kubectl")
	add("", containerd, "containerd", "containerd-shim-runc-v2", "ctr")
	add("", runc, "runc")
	add("cni/bin/", plugins, "loopback", "portmap", "bandwidth", "bridge", "firewall", "host-local")
	return files, nil
}

// makeBundle writes the files, sorted, as an archive of that name.
func (b *Builder) makeBundle(ctx context.Context, name string, files []bundleFile) (Bundle, error) {
	slices.SortFunc(files, func(a, b bundleFile) int { return strings.Compare(a.Path, b.Path) })
	inputs, err := json.Marshal(struct {
		Revision int
		Name     string
		Files    []bundleFile
	}{revision, name, files})
	if err != nil {
		return Bundle{}, fmt.Errorf("writing the inputs of bundle %q: %w", name, err)
	}
	entry := filepath.Join("bundles", name+"-"+digest(inputs)[:16])
	folder, err := b.ensure(ctx, entry, "bundle "+name, func(folder string, _ *progress) error {
		sum, err := writeBundle(ctx, filepath.Join(folder, name), files)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(folder, checksums), []byte(sum+"  "+name+"\n"), 0o644)
	})
	if err != nil {
		return Bundle{}, err
	}
	line, err := os.ReadFile(filepath.Join(folder, checksums))
	if err != nil {
		return Bundle{}, fmt.Errorf("reading the digest of bundle %q: %w", name, err)
	}
	sum, _, _ := strings.Cut(string(line), " ")
	return Bundle{Path: filepath.Join(folder, name), Name: name, SHA256: sum}, nil
}

// writeBundle returns the digest of the archive it wrote.
func writeBundle(ctx context.Context, archive string, files []bundleFile) (string, error) {
	file, err := os.Create(archive)
	if err != nil {
		return "", fmt.Errorf("creating %q: %w", archive, err)
	}
	defer file.Close()
	sum := sha256.New()
	compressed := gzip.NewWriter(io.MultiWriter(file, sum))
	if err := writeRelease(ctx, tar.NewWriter(compressed), files); err != nil {
		return "", fmt.Errorf("writing %q: %w", archive, err)
	}
	if err := compressed.Close(); err != nil {
		return "", fmt.Errorf("compressing %q: %w", archive, err)
	}
	if err := file.Close(); err != nil {
		return "", fmt.Errorf("closing %q: %w", archive, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// writeRelease writes each folder before its files. All times are zero and all owners root, so that equal files give
// equal archives.
func writeRelease(ctx context.Context, archive *tar.Writer, files []bundleFile) error {
	written := map[string]bool{}
	var folder func(name string) error
	folder = func(name string) error {
		if name == "." || written[name] {
			return nil
		}
		if err := folder(path.Dir(name)); err != nil {
			return err
		}
		written[name] = true
		return archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./" + name + "/", Mode: 0o755})
	}
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Join("release", file.Path)
		if err := folder(path.Dir(name)); err != nil {
			return fmt.Errorf("adding the folder of %q: %w", name, err)
		}
		if err := writeBundleFile(archive, "./"+name, file); err != nil {
			return fmt.Errorf("adding %q: %w", name, err)
		}
	}
	return archive.Close()
}

func writeBundleFile(archive *tar.Writer, name string, file bundleFile) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(file.Text))}
	if file.Source == "" {
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.WriteString(archive, file.Text)
		return err
	}
	source, err := os.Open(file.Source)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	header.Size = info.Size()
	if info.Mode()&0o100 != 0 {
		header.Mode = 0o755
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(archive, source)
	return err
}
