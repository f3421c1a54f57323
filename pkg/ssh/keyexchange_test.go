package ssh_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

func TestServersThatAllowOneKeyExchangeAreReached(t *testing.T) {
	for _, name := range []string{
		"diffie-hellman-group16-sha512", "diffie-hellman-group-exchange-sha256", "diffie-hellman-group14-sha256",
		"curve25519-sha256", "ecdh-sha2-nistp384",
	} {
		t.Run(name, func(t *testing.T) {
			_, config := openSSH(t, sshtest.OpenSSHOptions{Config: "KexAlgorithms " + name})
			works(t, dial(t, config))
		})
	}
}

func TestKeyExchangesWithSHA1AreNotOffered(t *testing.T) {
	for _, name := range []string{"diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha1"} {
		t.Run(name, func(t *testing.T) {
			_, config := openSSH(t, sshtest.OpenSSHOptions{Config: "KexAlgorithms " + name})
			assert.ErrorContains(t, refuses(t, config, errclass.Configuration), "agreeing on algorithms with")
		})
	}
}
