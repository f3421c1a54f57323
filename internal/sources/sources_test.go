package sources_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/sources"
	"argosy.dev/argosy/pkg/errclass"
)

func TestLinkLocalAddressesAreNeverDialled(t *testing.T) {
	dialer := sources.Dialer(time.Second)
	for _, address := range []string{
		"169.254.169.254:80", "[fe80::1%lo]:80", "[::ffff:169.254.169.254]:80", "[64:ff9b::a9fe:a9fe]:80",
		"[fd00:ec2::254]:80", "100.100.100.200:80", "0.0.0.0:80",
	} {
		err := dialer.Control("tcp", address, nil) // also where this computer has no IPv6
		assert.ErrorContains(t, err, "never come from a link-local address", address)
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
	_, err := dialer.DialContext(t.Context(), "tcp", "169.254.169.254:80")
	assert.ErrorIs(t, err, sources.ErrLinkLocal)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer listener.Close()
	connection, err := dialer.DialContext(t.Context(), "tcp", listener.Addr().String())
	assert.NilError(t, err)
	assert.NilError(t, connection.Close())
}

func TestOnlyListedHostsAreAllowed(t *testing.T) {
	list, err := sources.Parse(" Registry.example.com,*.mirror.example, 192.0.2.1 ,,2001:db8::1")
	assert.NilError(t, err)
	for _, host := range []string{
		"registry.example.com", "REGISTRY.example.com:5000", "registry.example.com.", "a.mirror.example",
		"a.b.mirror.example:443", "192.0.2.1", "192.0.2.1:80", "[2001:db8::1]:443", "2001:db8::1",
	} {
		assert.NilError(t, list.Check("bundles.repository", host), host)
	}
	for _, host := range []string{
		"mirror.example", "evilmirror.example", "registry.example.com.evil.example", "192.0.2.10", "docker.io", "",
	} {
		err := list.Check("bundles.repository", host)
		assert.ErrorContains(t, err, "bundles.repository: host", host)
		assert.ErrorContains(t, err, "ARGOSY_ALLOWED_SOURCES")
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
	assert.NilError(t, sources.List(nil).Check("bundles.repository", "docker.io"))
}

func TestALinkLocalAddressIsRefusedAlsoWithoutAList(t *testing.T) {
	listed, err := sources.Parse("169.254.169.254")
	assert.NilError(t, err)
	for _, list := range []sources.List{nil, listed} {
		for _, host := range []string{"169.254.169.254", "169.254.169.254:80", "[fe80::1]:5000", "fe80::1"} {
			err := list.Check("bundles.repository", host)
			assert.ErrorIs(t, err, sources.ErrLinkLocal, host)
		}
	}
}

func TestAListOfThingsThatAreNoHostsIsRefused(t *testing.T) {
	for _, text := range []string{"https://a.example", "a.example/b", "a.example:443", "*", "*.", "a*.example", "a b"} {
		_, err := sources.Parse(text)
		assert.ErrorContains(t, err, "is no host", text)
		assert.Assert(t, strings.Contains(err.Error(), text), text)
	}
}
