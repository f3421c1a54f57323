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

	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/secret"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/test/lab"
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
	client, err := b.dial(ctx, machine)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	const target = "/var/lib/argosy/bench-upload"
	empty := func() error {
		_, err := b.site.Lab.Exec(ctx, "m1", "sh", "-c", "mkdir -p /var/lib/argosy; rm -f "+target+"*; sync")
		return err
	}
	defer func() { _ = empty() }()
	scp := func() error {
		out, err := exec.CommandContext(ctx, "scp", "-q", "-o", "BatchMode=yes", "-o",
			"UserKnownHostsFile="+b.site.Lab.KnownHostsPath(),
			"-i", b.site.Lab.KeyPath(), path, machine.Login+"@"+machine.Address+":"+target).CombinedOutput()
		if err != nil {
			return fmt.Errorf("running scp: %w\n%s", err, out)
		}
		return nil
	}
	send := func() error {
		_, err := client.Upload(ctx, ssh.Upload{
			Source: func(offset int64) (io.ReadCloser, error) { return openAt(path, offset) },
			Size:   uploadSize, SHA256: digest, Path: target, Mode: 0o600, LeavePartial: true,
		})
		return err
	}
	timed := func(work func() error) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			if err := empty(); err != nil {
				return 0, err
			}
			started := time.Now()
			err := work()
			return time.Since(started), err
		}
	}
	if err := b.pair("upload-400MiB", timed(send), timed(scp)); err != nil {
		return err
	}
	if err := b.installFollower(ctx); err != nil {
		return err
	}
	// As with bundles, a reader of the growing file hashes it meanwhile; scp verifies nothing.
	return b.pair("upload-verified-400MiB", timed(func() error {
		var both errgroup.Group
		both.Go(send)
		both.Go(func() error {
			_, err := b.site.Lab.Exec(ctx, "m1", follower, followVerb, target, digest)
			return err
		})
		return both.Wait()
	}), timed(scp))
}

// dial logs in to a machine as its user.
func (b *bench) dial(ctx context.Context, machine lab.MachineSpec) (*ssh.Client, error) {
	key, err := os.ReadFile(b.site.Lab.KeyPath())
	if err != nil {
		return nil, fmt.Errorf("reading the lab's key: %w", err)
	}
	known, err := os.ReadFile(b.site.Lab.KnownHostsPath())
	if err != nil {
		return nil, fmt.Errorf("reading the lab's host keys: %w", err)
	}
	return ssh.Dial(ctx, ssh.Config{
		Address: machine.Address, User: machine.Login,
		Auth: ssh.Auth{PrivateKey: secret.New(string(key))}, HostKeys: ssh.HostKeys{KnownHosts: known},
	})
}

const (
	// follower is this program on a machine, which then does argosy-node's part of a push.
	follower   = "/var/lib/argosy/bench"
	followVerb = "follow"
)

// installFollower puts this program on m1.
func (b *bench) installFollower(ctx context.Context) error {
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("opening this program: %w", err)
	}
	defer func() { _ = program.Close() }()
	_, err = b.site.Lab.ExecInput(ctx, "m1", program, "sh", "-c", `cat >"$1" && chmod 0755 "$1"`, "sh", follower)
	return err
}

// follow reads a file that an upload still fills, as argosy-node does while a bundle is pushed, and checks its digest.
func follow(ctx context.Context, target, digest string) error {
	growing := bundle.Follow(ctx, target+".partial", target, uploadSize, time.Minute)
	defer func() { _ = growing.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, growing); err != nil {
		return fmt.Errorf("following %q: %w", target, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != digest {
		return fmt.Errorf("following %q: it has sha256 %s instead of %s", target, got, digest)
	}
	return nil
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
