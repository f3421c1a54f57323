package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/skeema/knownhosts"
	xssh "golang.org/x/crypto/ssh"
)

// hostKeyChecker decides about the host key of one connection, see HostKeys.
type hostKeyChecker struct {
	host     string // for messages
	hostPort string
	policy   HostKeys

	pinned   []xssh.PublicKey
	known    knownHosts
	cas      []xssh.PublicKey
	recorded knownHosts

	// accepted is the key that this connection began with. The check is repeated whenever the session's keys are
	// renewed, and must then neither record anything nor meet another key.
	accepted xssh.PublicKey
	// refusal is kept because the protocol library may lose its type.
	refusal error
}

// newHostKeyChecker reads the policy. Its errors are the user's to correct, and come before anything is dialled.
func newHostKeyChecker(c Config) (*hostKeyChecker, error) {
	t := &hostKeyChecker{host: c.host(), hostPort: c.hostPort(), policy: c.HostKeys}
	var err error
	if t.pinned, err = parseKeys(c.HostKeys.Pinned); err != nil {
		return nil, fmt.Errorf("reading hostKeys of %s: %w", t.host, err)
	}
	if t.cas, err = parseKeys(c.HostKeys.CAs); err != nil {
		return nil, fmt.Errorf("reading host CAs for %s: %w", t.host, err)
	}
	if t.known, err = parseKnownHosts(c.HostKeys.KnownHosts); err != nil {
		return nil, fmt.Errorf("reading host keys for %s: %w", t.host, err)
	}
	if t.recorded, err = parseKnownHosts(c.HostKeys.Recorded); err != nil {
		return nil, fmt.Errorf("reading recorded host keys for %s: %w", t.host, err)
	}
	if c.HostKeys.TrustOnFirstUse && c.HostKeys.Record == nil {
		return nil, fmt.Errorf("reading host keys for %s: trust on first use needs a Record function", t.host)
	}
	return t, nil
}

func parseKeys(lines []string) ([]xssh.PublicKey, error) {
	var keys []xssh.PublicKey
	for _, line := range lines {
		key, _, _, rest, err := xssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("reading public key %q: %w", line, err)
		}
		if len(rest) > 0 {
			return nil, fmt.Errorf("reading public key %q: it has more than one line", line)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// check is called with a key whose possession the machine has proven.
func (t *hostKeyChecker) check(ctx context.Context, key xssh.PublicKey) error {
	if t.accepted != nil && contains([]xssh.PublicKey{t.accepted}, key) {
		return nil
	}
	if t.accepted != nil {
		t.refusal = t.changed(key, []xssh.PublicKey{t.accepted}, "this connection")
	} else {
		t.refusal = t.decide(ctx, key)
	}
	if t.refusal == nil {
		t.accepted = key
	}
	return t.refusal
}

func (t *hostKeyChecker) decide(ctx context.Context, key xssh.PublicKey) error {
	if t.known.revoked(key) {
		return t.refused(key, "known_hosts revokes it")
	}
	plain := key
	certificate, certified := key.(*xssh.Certificate)
	if certified {
		plain = certificate.Key
	}
	if len(t.pinned) > 0 {
		if contains(t.pinned, plain) {
			return nil
		}
		return t.changed(plain, t.pinned, "hostKeys")
	}
	if certified && t.isAuthority(certificate.SignatureKey) {
		return t.certificate(certificate)
	}
	if known := t.known.keys(t.hostPort, "", plain); len(known) > 0 {
		return t.compare(plain, known, "known_hosts")
	}
	if recorded := t.recorded.keys(t.hostPort, "", plain); len(recorded) > 0 {
		return t.compare(plain, recorded, SourceFirstUse)
	}
	if t.policy.TrustOnFirstUse {
		return t.record(ctx, plain)
	}
	return &HostKeyError{Host: t.host, Offered: fingerprint(plain)}
}

// isAuthority reports whether key may sign for this host.
func (t *hostKeyChecker) isAuthority(key xssh.PublicKey) bool {
	return contains(t.cas, key) || contains(t.known.keys(t.hostPort, "cert-authority", key), key)
}

// certificate checks that a trusted authority's certificate is for this host, of the right kind and in time.
func (t *hostKeyChecker) certificate(certificate *xssh.Certificate) error {
	if err := withinValidityOfHost(certificate); err != nil {
		return t.refused(certificate, err.Error())
	}
	checker := xssh.CertChecker{
		IsHostAuthority: func(key xssh.PublicKey, _ string) bool { return t.isAuthority(key) },
		IsRevoked:       func(c *xssh.Certificate) bool { return t.known.revoked(c) },
	}
	if err := checker.CheckHostKey(t.hostPort, noAddress{}, certificate); err != nil {
		return t.refused(certificate, err.Error())
	}
	return nil
}

// withinValidityOfHost gives the two most common reasons in words that name the times and the hosts.
func withinValidityOfHost(certificate *xssh.Certificate) error {
	if len(certificate.ValidPrincipals) == 0 {
		return errors.New("its certificate names no host, and so would hold for all of them")
	}
	if err := withinValidity(certificate, time.Now()); err != nil {
		return fmt.Errorf("its certificate %q: %w", certificate.KeyId, err)
	}
	return nil
}

func (t *hostKeyChecker) compare(key xssh.PublicKey, known []xssh.PublicKey, source string) error {
	if contains(known, key) {
		return nil
	}
	return t.changed(key, known, source)
}

func (t *hostKeyChecker) record(ctx context.Context, key xssh.PublicKey) error {
	line := knownhosts.Line([]string{t.hostPort}, key)
	if err := t.policy.Record(ctx, line); err != nil {
		return fmt.Errorf("recording host key %s of %s: %w", fingerprint(key), t.host, err)
	}
	return nil
}

func (t *hostKeyChecker) changed(key xssh.PublicKey, known []xssh.PublicKey, source string) error {
	var prints []string
	for _, k := range known {
		prints = append(prints, fingerprint(k))
	}
	return &HostKeyError{Host: t.host, Offered: fingerprint(key), Known: prints, Source: source}
}

func (t *hostKeyChecker) refused(key xssh.PublicKey, reason string) error {
	return &HostKeyError{Host: t.host, Offered: fingerprint(key), Reason: reason}
}

// algorithms orders the key types that the machine may offer, so that of its keys it shows the one we know. Others stay
// on the list: a machine whose key type changed is then refused with both fingerprints instead of "no common
// algorithm".
func (t *hostKeyChecker) algorithms() []string {
	var order []string
	add := func(names ...string) {
		for _, name := range names {
			if !slices.Contains(order, name) {
				order = append(order, name)
			}
		}
	}
	certificates := len(t.pinned) == 0 && (len(t.cas) > 0 || len(t.known.keys(t.hostPort, "cert-authority", nil)) > 0)
	supported := xssh.SupportedAlgorithms().HostKeys
	plain := slices.DeleteFunc(slices.Clone(supported), isCertificateAlgorithm)
	if certificates {
		add(slices.DeleteFunc(slices.Clone(supported),
			func(name string) bool { return !isCertificateAlgorithm(name) })...)
	}
	for _, key := range slices.Concat(t.pinned, t.known.keys(t.hostPort, "", nil),
		t.recorded.keys(t.hostPort, "", nil)) {
		if key.Type() == xssh.KeyAlgoRSA {
			add(xssh.KeyAlgoRSASHA512, xssh.KeyAlgoRSASHA256)
		} else if slices.Contains(plain, key.Type()) {
			add(key.Type())
		}
	}
	// Of a machine of which nothing is known, the key that every system has and users compare most often.
	add(xssh.KeyAlgoED25519)
	add(plain...)
	return order
}

func isCertificateAlgorithm(name string) bool {
	return strings.Contains(name, "-cert-v01@")
}

func fingerprint(key xssh.PublicKey) string {
	if certificate, ok := key.(*xssh.Certificate); ok {
		return "a certificate for " + fingerprint(certificate.Key) + " signed by " +
			fingerprint(certificate.SignatureKey)
	}
	return key.Type() + " " + xssh.FingerprintSHA256(key)
}

// noAddress stands in where the library wants an address that nothing here reads: names decide, not where they led.
type noAddress struct{}

func (noAddress) Network() string { return "tcp" }
func (noAddress) String() string  { return "0.0.0.0:0" }

var _ net.Addr = noAddress{}
