package ssh

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/skeema/knownhosts"
	xssh "golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/ssh/sshtest"
)

func TestKnownHostsAreReadAsTheLibraryReadsThem(t *testing.T) {
	a, b := sshtest.NewKey(t), sshtest.NewKey(t)
	hosts := []string{
		"m1:22", "m1:2222", "M1:22", "m2.example.com:22", "10.0.0.1:22", "[fd00::1]:22", "[fd00::1]:2222",
		"other:22",
	}
	for _, pattern := range []string{
		"m1", "m1,m2.example.com", "[m1]:2222", "m?", "*.example.com", "*,!m1", "!m1,*", "10.0.0.*", "fd00::1",
		"[fd00::1]:2222", "*",
		"[10.0.0.1]:22",
		xHash("m1"), xHash("[m1]:2222"), xHash("10.0.0.1"),
	} {
		for _, marker := range []string{"", "@cert-authority "} {
			text := "# a comment\n\n" + marker + pattern + " " + a.Line() + " somebody@somewhere\n"
			file := t.TempDir() + "/known_hosts"
			assert.NilError(t, os.WriteFile(file, []byte(text), 0o600))
			theirs, err := knownhosts.NewDB(file)
			assert.NilError(t, err)
			ours, err := parseKnownHosts([]byte(text))
			assert.NilError(t, err)
			for _, host := range hosts {
				if host == "M1:22" {
					continue // OpenSSH compares names in lower case, the library does not
				}
				kind := ""
				if marker != "" {
					kind = "cert-authority"
				}
				want := 0
				for _, key := range theirs.HostKeys(host) {
					if key.Cert == (marker != "") {
						want++
					}
				}
				same, stranger := len(ours.keys(host, kind, a.Signer.PublicKey())),
					len(ours.keys(host, kind, b.Signer.PublicKey()))
				if strings.HasSuffix(host, ":22") {
					assert.Equal(t, same, want, "%s for %s", marker+pattern, host)
					assert.Equal(t, stranger, want, "%s for %s", marker+pattern, host)
					continue
				}
				// On other ports OpenSSH lets more lines vouch for the key they hold than the library does, and no more
				// lines speak against another key.
				assert.Assert(t, same >= want, "%s for %s", marker+pattern, host)
				// OpenSSH reads "!m1" as port 22 of m1 alone, the library as all of m1; and the library's wildcards
				// miss IPv6 addresses with a port.
				if !strings.Contains(pattern, "!") && !strings.HasPrefix(host, "[") {
					assert.Assert(t, stranger <= want, "%s for %s", marker+pattern, host)
				}
			}
		}
	}
}

func xHash(name string) string { return xknownhosts.HashHostname(name) }

func TestALineWithoutPortCountsOnlyForTheSameKey(t *testing.T) {
	a, b := sshtest.NewKey(t), sshtest.NewKey(t)
	known, err := parseKnownHosts([]byte("m1 " + a.Line()))
	assert.NilError(t, err)
	assert.Equal(t, len(known.keys("m1:2222", "", a.Signer.PublicKey())), 1)
	assert.Equal(t, len(known.keys("m1:2222", "", b.Signer.PublicKey())), 0)
	assert.Equal(t, len(known.keys("M1:22", "", b.Signer.PublicKey())), 1)
}

func TestABadLineOfKnownHostsIsNamed(t *testing.T) {
	for _, bad := range []string{"m1 ssh-ed25519 AAAA", "@unknown m1 " + sshtest.NewKey(t).Line(), "m1 ssh-rsa"} {
		_, err := parseKnownHosts([]byte("# one\n" + bad + "\n"))
		assert.ErrorContains(t, err, "reading line 2 of known_hosts")
	}
}

func TestACertificateFallsWithItsKeyOrItsAuthority(t *testing.T) {
	authority, host := sshtest.NewKey(t), sshtest.NewKey(t)
	certificate := authority.Certify(t, host, sshtest.Certificate{Kind: xssh.HostCert})
	for _, revoked := range []sshtest.Key{authority, host} {
		known, err := parseKnownHosts([]byte("@revoked * " + revoked.Line()))
		assert.NilError(t, err)
		assert.Assert(t, known.revoked(certificate))
	}
	var none knownHosts
	assert.Assert(t, !none.revoked(certificate))
}

func FuzzKnownHosts(f *testing.F) {
	f.Add("m1,*.x,!y ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHgyB5Gm5fL6nZ0p2n2fB0nDqkGgn2m0d4yQb7lP0v3s", "m1:22")
	f.Add("|1|c2FsdA==|aGFzaA== ssh-rsa AAAA", "[::1]:2222")
	f.Fuzz(func(t *testing.T, text, host string) {
		known, err := parseKnownHosts([]byte(text))
		if err != nil {
			return
		}
		if _, _, err := net.SplitHostPort(host); err == nil {
			known.keys(host, "", nil)
		}
	})
}
