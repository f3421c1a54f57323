// Package ssh reaches machines: connections through any number of bastions, host keys, logins, commands as root, and
// uploads. It accepts no host key that it was not told to accept, puts no secret on a command line, and knows nothing
// of clusters or of Kubernetes.
//
// Errors carry a class of package errclass: an unreachable machine or a lost connection is transient; a host key, a
// login or a password for sudo, which a user has to change, is configuration.
package ssh

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"net"
	"strconv"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/secret"
)

// Defaults of empty fields of Config.
const (
	defaultPort           = 22
	defaultUser           = "root"
	defaultConnectTimeout = 10 * time.Second
	defaultKeepAlive      = 10 * time.Second
)

// Config describes how to reach one machine.
type Config struct {
	// Name is the name of the machine in messages. Default: Address.
	Name string
	// Address is a host name or an IP address, without a port.
	Address string
	// Port of sshd. Default 22.
	Port int
	// User to log in as. Default root.
	User string
	// Auth holds the credentials of User.
	Auth Auth
	// HostKeys decides which host keys are accepted.
	HostKeys HostKeys
	// Bastions are passed in order, the first is dialled directly. Their own Bastions are ignored.
	Bastions []Config
	// SudoPassword is given to sudo when it asks. Empty: sudo must not ask.
	SudoPassword secret.Value
	// ConnectTimeout bounds dial and login, for each hop. Default 10s.
	ConnectTimeout time.Duration
	// KeepAlive is how long a connection may be silent before it is probed; after three times as long again without a
	// sign of life it is given up. Default 10s.
	KeepAlive time.Duration
	// StartingUp is set for a machine that may still be booting: a pool repeats its refused logins after 30 seconds,
	// two minutes, and then every four in place of ten.
	StartingUp bool
}

// Auth holds credentials. All of them are offered, keys first.
type Auth struct {
	// PrivateKey in PEM, OpenSSH's own format included.
	PrivateKey secret.Value
	// Passphrase of the private key, when it has one.
	Passphrase secret.Value
	// Certificate for the private key, one line as in id_ed25519-cert.pub.
	Certificate secret.Value
	// Password for the methods password and keyboard-interactive.
	Password secret.Value
}

// HostKeys decides which host keys are accepted. A key revoked in KnownHosts never is. Otherwise the first line that
// has an entry for the machine decides:
//
//	Pinned                    one of these keys, and no other
//	KnownHosts and CAs        a certificate for this host signed by one of the authorities
//	KnownHosts                one of the keys on its lines
//	Recorded                  the key that was seen before
//	TrustOnFirstUse           any key, once, after Record has kept it
//	nothing                   none
type HostKeys struct {
	// Pinned keys, lines as in /etc/ssh/ssh_host_ed25519_key.pub.
	Pinned []string
	// KnownHosts is a file in OpenSSH's format, with hashed names, @cert-authority and @revoked.
	KnownHosts []byte
	// CAs sign host certificates for any machine, lines as in /etc/ssh/ca.pub.
	CAs []string
	// TrustOnFirstUse accepts a key of which nothing is known.
	TrustOnFirstUse bool
	// Recorded holds the lines that Record was given before.
	Recorded []byte
	// Record keeps a line in known_hosts' format; an error refuses the key. Needed for TrustOnFirstUse.
	Record func(ctx context.Context, line string) error
}

func (c Config) withDefaults() Config {
	if c.Port == 0 {
		c.Port = defaultPort
	}
	if c.User == "" {
		c.User = defaultUser
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = defaultConnectTimeout
	}
	if c.KeepAlive <= 0 {
		c.KeepAlive = defaultKeepAlive
	}
	return c
}

// lastBastion returns the last bastion as a machine of its own, reached through the bastions before it.
func (c Config) lastBastion() (Config, bool) {
	if len(c.Bastions) == 0 {
		return Config{}, false
	}
	last := len(c.Bastions) - 1
	bastion := c.Bastions[last]
	bastion.Bastions = c.Bastions[:last]
	return bastion, true
}

func (c Config) hostPort() string { return net.JoinHostPort(c.Address, strconv.Itoa(c.Port)) }

// host returns the name of the machine in messages: the one that the user gave, and its address where that differs.
func (c Config) host() string {
	if c.Name == "" || c.Name == c.Address {
		return c.hostPort()
	}
	return c.Name + " (" + c.hostPort() + ")"
}

// identity is equal for two configs that reach the same machine in the same way. Recorded host keys do not count, since
// they grow with the first connection.
func (c Config) identity() [sha256.Size]byte {
	digest := sha256.New()
	c.writeIdentity(digest)
	for _, bastion := range c.Bastions {
		bastion.withDefaults().writeIdentity(digest)
	}
	return [sha256.Size]byte(digest.Sum(nil))
}

func (c Config) writeIdentity(digest hash.Hash) {
	trust := strconv.FormatBool(c.HostKeys.TrustOnFirstUse)
	for _, part := range []string{
		c.Address, strconv.Itoa(c.Port), c.User,
		c.Auth.PrivateKey.Reveal(), c.Auth.Passphrase.Reveal(), c.Auth.Certificate.Reveal(), c.Auth.Password.Reveal(),
		c.SudoPassword.Reveal(), c.ConnectTimeout.String(), c.KeepAlive.String(),
		strings.Join(c.HostKeys.Pinned, "\n"), string(c.HostKeys.KnownHosts), strings.Join(c.HostKeys.CAs, "\n"), trust,
	} {
		// The length keeps neighbours apart: "ab","c" is not "a","bc".
		_ = binary.Write(digest, binary.BigEndian, uint64(len(part)))
		_, _ = digest.Write([]byte(part))
	}
}
