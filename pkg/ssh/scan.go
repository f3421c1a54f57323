package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// HostKey is a key that a machine showed, which nothing has proved to be its own.
type HostKey struct {
	// Line is the key as in /etc/ssh/ssh_host_ed25519_key.pub, without a comment.
	Line string
	// Fingerprint is "SHA256:…", as ssh-keygen -l prints it.
	Fingerprint string
}

// Type is that of the key, e.g. "ssh-ed25519".
func (k HostKey) Type() string {
	kind, _, _ := strings.Cut(k.Line, " ")
	return kind
}

// errScanned ends a handshake whose key is known.
var errScanned = errors.New("the host key is known")

// ScanHostKey returns the key that sshd at an address shows, its Ed25519 key where it has one. It sends no user name
// and no secret. port 0 is 22.
func ScanHostKey(ctx context.Context, address string, port int, timeout time.Duration) (HostKey, error) {
	if port == 0 {
		port = defaultPort
	}
	at := net.JoinHostPort(address, strconv.Itoa(port))
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", at)
	if err != nil {
		return HostKey{}, fmt.Errorf("scanning the host key of %q: %w", at, err)
	}
	defer func() { _ = connection.Close() }()
	if deadline, has := ctx.Deadline(); has {
		if err := connection.SetDeadline(deadline); err != nil {
			return HostKey{}, fmt.Errorf("scanning the host key of %q: %w", at, err)
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	defer stop()
	var found HostKey
	_, _, _, err = xssh.NewClientConn(connection, at, &xssh.ClientConfig{
		HostKeyAlgorithms: plainAlgorithms(),
		HostKeyCallback: func(_ string, _ net.Addr, key xssh.PublicKey) error {
			found = HostKey{
				Line:        strings.TrimSpace(string(xssh.MarshalAuthorizedKey(key))),
				Fingerprint: xssh.FingerprintSHA256(key),
			}
			return errScanned
		},
	})
	if found.Line == "" {
		return HostKey{}, fmt.Errorf("scanning the host key of %q: %w", at, err)
	}
	return found, nil
}

// plainAlgorithms returns those of host keys without certificates, Ed25519 first: every system has one, and people
// compare it most often.
func plainAlgorithms() []string {
	plain := slices.DeleteFunc(slices.Clone(xssh.SupportedAlgorithms().HostKeys), isCertificateAlgorithm)
	rest := slices.DeleteFunc(plain, func(name string) bool { return name == xssh.KeyAlgoED25519 })
	return append([]string{xssh.KeyAlgoED25519}, rest...)
}
