package ssh_test

import (
	"net"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

func TestAScanFindsTheHostKeyWithoutALogin(t *testing.T) {
	server := sshtest.StartOpenSSH(t, sshtest.OpenSSHOptions{})
	key, err := ssh.ScanHostKey(t.Context(), server.Address, server.Port, time.Minute)
	assert.NilError(t, err)
	assert.Equal(t, key.Line, server.HostKey.Line())
	assert.Equal(t, key.Fingerprint, server.HostKey.Fingerprint())
	assert.Equal(t, key.Type(), "ssh-ed25519")
}

// The first listens and stays silent, the second does not speak SSH, and nothing listens at the third.
func TestAScanEndsWithoutAKey(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer func() { _ = silent.Close() }()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer func() { _ = other.Close() }()
	go func() {
		connection, err := other.Accept()
		if err == nil {
			_, _ = connection.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = connection.Close()
		}
	}()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	assert.NilError(t, gone.Close())
	for _, listener := range []net.Listener{silent, other, gone} {
		at := listener.Addr().(*net.TCPAddr)
		_, err := ssh.ScanHostKey(t.Context(), "127.0.0.1", at.Port, 300*time.Millisecond)
		assert.ErrorContains(t, err, `scanning the host key of "`+at.String()+`"`)
	}
}
