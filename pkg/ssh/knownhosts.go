package ssh

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/skeema/knownhosts"
	xssh "golang.org/x/crypto/ssh"
)

// knownHosts is a known_hosts file held in memory. The libraries read such files only by path, and a plugin with a
// read-only root has none to give; the tests hold this reading of them against theirs.
type knownHosts []knownLine

type knownLine struct {
	marker string // "", "cert-authority" or "revoked"
	hosts  []string
	key    xssh.PublicKey
}

// parseKnownHosts is strict: a line that cannot be read may be the one that revokes a key.
func parseKnownHosts(data []byte) (knownHosts, error) {
	var lines knownHosts
	for number, text := range bytes.Split(data, []byte("\n")) {
		marker, hosts, key, _, _, err := xssh.ParseKnownHosts(text)
		if errors.Is(err, io.EOF) {
			continue
		}
		if err == nil && marker != "" && marker != "cert-authority" && marker != "revoked" {
			err = fmt.Errorf("unknown marker %q", "@"+marker)
		}
		if err != nil {
			return nil, fmt.Errorf("reading line %d of known_hosts: %w", number+1, err)
		}
		lines = append(lines, knownLine{marker: marker, hosts: hosts, key: key})
	}
	return lines, nil
}

// revoked reports whether a key, or the key or signer of a certificate, was revoked for any host.
func (k knownHosts) revoked(key xssh.PublicKey) bool {
	keys := []xssh.PublicKey{key}
	if certificate, ok := key.(*xssh.Certificate); ok {
		keys = []xssh.PublicKey{certificate.Key, certificate.SignatureKey}
	}
	for _, line := range k {
		if line.marker == "revoked" && contains(keys, line.key) {
			return true
		}
	}
	return false
}

// keys returns the known keys of hostPort: the machine's own keys, or with marker "cert-authority" the authorities for
// it. As in OpenSSH, a line without a port counts for port 22, and for other ports when it holds the offered key (or
// may sign it); a different key on such a line does not count for another port.
func (k knownHosts) keys(hostPort, marker string, offered xssh.PublicKey) []xssh.PublicKey {
	found := k.matching(knownhosts.Normalize(strings.ToLower(hostPort)), marker)
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil || port == "22" || len(found) > 0 {
		return found
	}
	plain := k.matching(strings.ToLower(host), marker)
	if offered == nil || contains(plain, offered) {
		return plain
	}
	return nil
}

func (k knownHosts) matching(name, marker string) []xssh.PublicKey {
	var found []xssh.PublicKey
	for _, line := range k {
		if line.marker == marker && line.matches(name) {
			found = append(found, line.key)
		}
	}
	return found
}

// matches reports whether the line is for a host, "name" or "[name]:port".
func (l knownLine) matches(name string) bool {
	matched := false
	for _, pattern := range l.hosts {
		if strings.HasPrefix(pattern, "|") {
			matched = matched || hashMatches(pattern, name)
			continue
		}
		wanted, negated := strings.CutPrefix(strings.ToLower(pattern), "!")
		if !globMatches(wanted, name) && !globMatches(knownhosts.Normalize(wanted), name) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// hashMatches compares with "|1|base64(salt)|base64(HMAC-SHA1(salt, name))".
func hashMatches(pattern, name string) bool {
	parts := strings.Split(pattern, "|")
	if len(parts) != 4 || parts[1] != "1" {
		return false
	}
	salt, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return false
	}
	want, err := base64.StdEncoding.DecodeString(parts[3])
	if err != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	_, _ = mac.Write([]byte(name))
	return hmac.Equal(mac.Sum(nil), want)
}

// globMatches knows * and ?, and no brackets: "[host]:2222" is a name. It backtracks to the last * alone, so that no
// pattern takes more than len(pattern)*len(name) steps.
func globMatches(pattern, name string) bool {
	p, n, star, retry := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			retry++
			p, n = star+1, retry
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func contains(keys []xssh.PublicKey, wanted xssh.PublicKey) bool {
	for _, key := range keys {
		if bytes.Equal(key.Marshal(), wanted.Marshal()) {
			return true
		}
	}
	return false
}
