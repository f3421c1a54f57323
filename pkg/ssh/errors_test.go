package ssh

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	xssh "golang.org/x/crypto/ssh"
	"gotest.tools/v3/assert"
)

func TestTheEndOfAConnectionIsKnownHoweverItLooks(t *testing.T) {
	write := &net.OpError{Op: "write", Net: "tcp", Err: net.ErrClosed}
	for _, err := range []error{
		io.EOF, net.ErrClosed, write, fmt.Errorf("copying: %w", write), &xssh.ExitMissingError{},
		&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)},
	} {
		assert.Assert(t, lost(err), "%v", err)
	}
	assert.Assert(t, !lost(errors.New("scp: permission denied")))
}
