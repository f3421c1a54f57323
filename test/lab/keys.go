package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ensureKeys makes missing secrets of the lab. They are made once and kept through every reset, so that pinned host
// keys stay true.
func (l *Lab) ensureKeys(ctx context.Context) error {
	for _, dir := range []string{l.keysDir(), l.secretsDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making folder %q: %w", dir, err)
		}
	}
	for _, name := range []string{"ops-password", "key-passphrase"} {
		if err := ensureSecret(filepath.Join(l.secretsDir(), name)); err != nil {
			return err
		}
	}
	passphrase, err := os.ReadFile(filepath.Join(l.secretsDir(), "key-passphrase"))
	if err != nil {
		return fmt.Errorf("reading the key's passphrase: %w", err)
	}
	keys := map[string]string{
		"id_ed25519": "", "id_certified": "", "ca_user": "", "ca_host": "",
		"id_passphrase": string(passphrase),
	}
	for _, m := range machines() {
		keys["host_"+m.Name] = ""
	}
	for name, phrase := range keys {
		if err := ensureKey(ctx, filepath.Join(l.keysDir(), name), phrase); err != nil {
			return err
		}
	}
	if err := l.ensureCertificates(ctx); err != nil {
		return err
	}
	return l.writeKnownHosts()
}

func ensureSecret(path string) error {
	if exists(path) {
		return nil
	}
	if err := os.WriteFile(path, []byte(rand.Text()), 0o600); err != nil {
		return fmt.Errorf("writing secret %q: %w", path, err)
	}
	return nil
}

func ensureKey(ctx context.Context, path, passphrase string) error {
	if exists(path) {
		return nil
	}
	comment := "argosy-lab-" + filepath.Base(path)
	if _, err := run(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", comment, "-f",
		path); err != nil {
		return fmt.Errorf("making key %q: %w", path, redact(err, passphrase))
	}
	return nil
}

// redact keeps a passphrase out of a command's error.
func redact(err error, secret string) error {
	if secret == "" {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), secret, "(hidden)"))
}

// ensureCertificates signs a user key for everyone's root and ops, and the host
// key of m1.
func (l *Lab) ensureCertificates(ctx context.Context) error {
	user := filepath.Join(l.keysDir(), "id_certified")
	if !exists(user + "-cert.pub") {
		if _, err := run(ctx, "ssh-keygen", "-q", "-s", filepath.Join(l.keysDir(), "ca_user"), "-I", "argosy-lab",
			"-n", "root,ops", user+".pub"); err != nil {
			return fmt.Errorf("signing user key %q: %w", user, err)
		}
	}
	m1, err := l.Spec("m1")
	if err != nil {
		return err
	}
	host := filepath.Join(l.keysDir(), "host_"+m1.Name)
	if !exists(host + "-cert.pub") {
		if _, err := run(ctx, "ssh-keygen", "-q", "-s", filepath.Join(l.keysDir(), "ca_host"), "-I", m1.Name, "-h",
			"-n", m1.Name+","+m1.Address, host+".pub"); err != nil {
			return fmt.Errorf("signing host key %q: %w", host, err)
		}
	}
	return nil
}

// ensureVirtualMachineKeys makes the host key of a virtual machine, which the lab can do without until it boots one,
// and pins it.
func (l *Lab) ensureVirtualMachineKeys(ctx context.Context, m MachineSpec) error {
	if err := ensureKey(ctx, filepath.Join(l.keysDir(), "host_"+m.Name), ""); err != nil {
		return err
	}
	return l.writeKnownHosts()
}

func (l *Lab) writeKnownHosts() error {
	known := machines()
	for _, m := range virtualMachines() {
		if exists(filepath.Join(l.keysDir(), "host_"+m.Name+".pub")) {
			known = append(known, m)
		}
	}
	var lines []string
	for _, m := range known {
		key, err := l.publicKey("host_" + m.Name)
		if err != nil {
			return err
		}
		lines = append(lines, m.Address+","+m.Name+" "+key)
	}
	text := strings.Join(lines, "\n") + "\n"
	if old, err := os.ReadFile(l.KnownHostsPath()); err == nil && string(old) == text {
		return nil
	}
	if err := os.WriteFile(l.KnownHostsPath(), []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing known hosts: %w", err)
	}
	return nil
}

// publicKey returns "type base64" without the comment.
func (l *Lab) publicKey(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(l.keysDir(), name+".pub"))
	if err != nil {
		return "", fmt.Errorf("reading public key %q: %w", name, err)
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return "", fmt.Errorf("reading public key %q: it has %d fields", name, len(fields))
	}
	return fields[0] + " " + fields[1], nil
}

// HostKey is the public host key of a machine, as "ssh-ed25519 AAAA…".
func (l *Lab) HostKey(machine string) (string, error) { return l.publicKey("host_" + machine) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
