// Command release makes the files of a release from the commit of a checkout and the programs that the Makefile built,
// and pushes its image and its chart:
//
//	go run ./install/release -version v0.2.0 -registry ghcr.io/argosy-dev -key cosign.key -push
//
// The key's password is in COSIGN_PASSWORD, as for cosign.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"argosy.dev/argosy/internal/release"
)

func main() {
	made := release.Release{}
	flag.StringVar(&made.Version, "version", "", "the version, such as v0.2.0")
	flag.StringVar(&made.Registry, "registry", release.DefaultRegistry, "where image and chart are")
	flag.StringVar(&made.Checkout, "checkout", ".", "the folder with install/, workflows/ and charts/")
	flag.StringVar(&made.Programs, "programs", "bin/release", "the programs by platform, such as linux-amd64/argosy")
	flag.StringVar(&made.Certificates, "certificates", "/etc/ssl/certs/ca-certificates.crt",
		"the authorities that the image trusts")
	flag.StringVar(&made.Builder, "builder", "https://argosy.dev/release/by-hand",
		"the URI of what makes the release, for the provenance")
	key := flag.String("key", "", "a private key of cosign to sign with")
	push := flag.Bool("push", false, "push image and chart")
	out := flag.String("out", "dist", "the folder for the release's own folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, made, *key, *out, *push); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, of release.Release, key, out string, push bool) error {
	var err error
	if of.Commit, of.Created, err = release.Commit(ctx, of.Checkout); err != nil {
		return err
	}
	if key != "" {
		if of.Key, err = release.ReadKey(key, []byte(os.Getenv("COSIGN_PASSWORD"))); err != nil {
			return err
		}
	}
	folder := filepath.Join(out, of.Version)
	made, err := of.Make(ctx, folder)
	if err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(folder, release.Sums))
	if err != nil {
		return fmt.Errorf("reading the checksums: %w", err)
	}
	fmt.Printf("%s has:\n%s", folder, sums)
	if key == "" {
		fmt.Println("nothing is signed: no key was given")
	}
	if !push {
		return nil
	}
	pushed, err := made.Push(ctx)
	for _, name := range pushed {
		fmt.Println("pushed", name)
	}
	return err
}
