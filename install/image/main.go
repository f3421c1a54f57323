// Command image writes the plugin's container image as an archive, without a container engine: one layer with the
// program, one with the system's CA certificates. The same inputs give the same digest.
//
//	go run ./install/image -program bin/executor-plugin \
//	    -reference ghcr.io/argosy-dev/executor-plugin:v0.1.0 -out bin/executor-plugin.tar
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// certificates is where Debian keeps them, and where Go looks first.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

func main() {
	program := flag.String("program", "bin/executor-plugin", "the built program")
	reference := flag.String("reference", "ghcr.io/argosy-dev/executor-plugin:v0.1.0",
		"the image's name, as plugin.yaml has it")
	arch := flag.String("arch", "amd64", "the program's architecture")
	out := flag.String("out", "bin/executor-plugin.tar", "the archive to write")
	flag.Parse()
	if err := write(*program, *reference, *arch, *out); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func write(program, reference, arch, out string) error {
	tag, err := name.NewTag(reference)
	if err != nil {
		return fmt.Errorf("reading reference %q: %w", reference, err)
	}
	image, err := build(program, arch)
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(out, tag, image); err != nil {
		return fmt.Errorf("writing archive %q: %w", out, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return fmt.Errorf("reading the image's digest: %w", err)
	}
	fmt.Printf("%s %s %s\n", out, reference, digest)
	return nil
}

func build(program, arch string) (v1.Image, error) {
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: arch,
		Config: v1.Config{Entrypoint: []string{"/executor-plugin"}, User: "8737"},
	})
	if err != nil {
		return nil, fmt.Errorf("describing the image: %w", err)
	}
	for _, file := range []struct{ from, to string }{
		{certificates, "etc/ssl/certs/ca-certificates.crt"},
		{program, "executor-plugin"},
	} {
		content, err := os.ReadFile(file.from)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", file.from, err)
		}
		layer, err := layerOf(file.to, content)
		if err != nil {
			return nil, fmt.Errorf("making a layer of %q: %w", file.from, err)
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, fmt.Errorf("adding %q: %w", file.from, err)
		}
	}
	return image, nil
}

// layerOf makes a layer with one file, without a time or an owner that would differ from build to build.
func layerOf(path string, content []byte) (v1.Layer, error) {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	if err := writer.WriteHeader(&tar.Header{
		Name: path, Mode: 0o755, Size: int64(len(content)),
		Typeflag: tar.TypeReg,
	}); err != nil {
		return nil, err
	}
	if _, err := writer.Write(content); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser,
		error,
	) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
}
