package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"argosy.dev/argosy/pkg/secret"
	"argosy.dev/argosy/pkg/ssh"
)

// uploadSize is the size of a large node bundle.
const uploadSize = 400 << 20

// upload compares our upload with OpenSSH's scp of the same file.
func (b *bench) upload(ctx context.Context) error {
	path, digest, err := randomFile()
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(path)) }()
	machine, err := b.site.Lab.Spec("m1")
	if err != nil {
		return err
	}
	key, err := os.ReadFile(b.site.Lab.KeyPath())
	if err != nil {
		return fmt.Errorf("reading the lab's key: %w", err)
	}
	known, err := os.ReadFile(b.site.Lab.KnownHostsPath())
	if err != nil {
		return fmt.Errorf("reading the lab's host keys: %w", err)
	}
	client, err := ssh.Dial(ctx, ssh.Config{
		Address: machine.Address, User: machine.Login,
		Auth: ssh.Auth{PrivateKey: secret.New(string(key))}, HostKeys: ssh.HostKeys{KnownHosts: known},
	})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	const target = "/var/lib/argosy/bench-upload"
	empty := func() error {
		_, err := b.site.Lab.Exec(ctx, "m1", "sh", "-c", "mkdir -p /var/lib/argosy; rm -f "+
			"/var/lib/argosy/bench-upload*; sync")
		return err
	}
	defer func() { _ = empty() }()
	scp := func() (time.Duration, error) {
		if err := empty(); err != nil {
			return 0, err
		}
		started := time.Now()
		out, err := exec.CommandContext(ctx, "scp", "-q", "-o", "BatchMode=yes", "-o",
			"UserKnownHostsFile="+b.site.Lab.KnownHostsPath(),
			"-i", b.site.Lab.KeyPath(), path, machine.Login+"@"+machine.Address+":"+target).CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("running scp: %w\n%s", err, out)
		}
		return time.Since(started), nil
	}
	upload := func(leavePartial bool) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			if err := empty(); err != nil {
				return 0, err
			}
			started := time.Now()
			_, err := client.Upload(ctx, ssh.Upload{
				Source: func(offset int64) (io.ReadCloser, error) { return openAt(path, offset) },
				Size:   uploadSize, SHA256: digest, Path: target, Mode: 0o600, LeavePartial: leavePartial,
			})
			return time.Since(started), err
		}
	}
	// As with bundles, the reader of the growing file hashes it meanwhile.
	if err := b.pair("upload-400MiB", upload(true), scp); err != nil {
		return err
	}
	// With the digest checked on the machine afterwards, which scp does not do.
	return b.pair("upload-verified-400MiB", upload(false), scp)
}

func openAt(path string, offset int64) (io.ReadCloser, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	_, err = file.Seek(offset, io.SeekStart)
	return file, err
}

// randomFile makes a file that no layer can compress.
func randomFile() (path, digest string, err error) {
	folder, err := os.MkdirTemp("", "argosy-bench-")
	if err != nil {
		return "", "", fmt.Errorf("making a folder: %w", err)
	}
	path = filepath.Join(folder, "bundle")
	file, err := os.Create(path)
	if err != nil {
		return "", "", fmt.Errorf("making a file: %w", err)
	}
	hash := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(file, hash), rand.Reader, uploadSize); err != nil {
		return "", "", fmt.Errorf("filling a file: %w", err)
	}
	return path, hex.EncodeToString(hash.Sum(nil)), file.Close()
}
