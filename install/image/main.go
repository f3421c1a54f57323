// Command image writes the plugin's container image as an archive, without a container engine: one layer with the
// program, one with the system's CA certificates. The same inputs give the same digest.
//
//	go run ./install/image -program bin/executor-plugin \
//	    -reference ghcr.io/argosy-dev/executor-plugin:v0.1.0 -out bin/executor-plugin.tar
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"argosy.dev/argosy/internal/release"
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
	image, err := release.Image{Program: program, Certificates: certificates, Arch: arch}.Build()
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
