package operation_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/secret"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

var (
	errNoSSHD  = errclass.Errorf(errclass.Transient, "reaching m1: connection refused")
	errNoKey   = errclass.With(errclass.Configuration, &ssh.HostKeyError{Host: "m1", Offered: "ssh-ed25519 SHA256:a"})
	errNoLogin = errclass.With(errclass.Configuration, &ssh.AuthError{Host: "m1", User: "ops"})
	errNologin = errclass.With(errclass.Configuration, &ssh.ShellError{Host: "m1", User: "ops", ExitCode: 254})
	errNoName  = errclass.With(errclass.Configuration, &net.DNSError{
		Err: "no such host", Name: "m1",
		IsNotFound: true,
	})
	errOtherKey = errclass.With(errclass.Configuration, &ssh.HostKeyError{
		Host: "m1", Known: []string{"ssh-ed25519 SHA256:b"}, Source: "hostKeys",
	})
)

// startingUp fails with each of errs in turn, and then succeeds.
func startingUp(errs ...error) func(context.Context) error {
	return func(context.Context) error {
		if len(errs) == 0 {
			return nil
		}
		err := errs[0]
		errs = errs[1:]
		return err
	}
}

func TestAMachineThatStartsUpIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s operation.Startup
		var lines []string
		err := s.Wait(t.Context(), config.Machine{Name: "m1"}, 10*time.Minute,
			operation.AsText(func(line string) { lines = append(lines, line) }),
			startingUp(errNoName, errNoSSHD, errNoSSHD, errOtherKey, errNoKey, errNologin, errNoLogin))
		assert.NilError(t, err)
		text := strings.Join(lines, "\n")
		for _, awaited := range []string{"the name in DNS", "the sshd", "the host key", "the login"} {
			assert.Assert(t, strings.Contains(text, "waiting for "+awaited+" of m1, "), text)
		}
		assert.Equal(t, len(lines), 4, "one line as long as nothing changes: %s", text)
	})
}

func TestTheWaitForAMachineEndsWithItsLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s operation.Startup
		began, tries := time.Now(), 0
		err := s.Wait(t.Context(), config.Machine{Name: "m1"}, time.Minute, operation.NoProgress{},
			func(context.Context) error { tries++; return errNoSSHD })
		assert.Error(t, err, "reaching m1: connection refused; waited 1m0s for the sshd, which ssh.startupTimeout of "+
			"argosy.yaml sets")
		assert.Assert(t, errclass.IsTransient(err))
		assert.Assert(t, time.Since(began) <= time.Minute && tries > 10, "%d tries", tries)

		// The time is that of all machines together.
		err = s.Wait(t.Context(), config.Machine{Name: "m2"}, time.Minute, operation.NoProgress{},
			func(context.Context) error { return errNoSSHD })
		assert.ErrorIs(t, err, errNoSSHD)
		assert.Assert(t, time.Since(began) <= time.Minute)
	})
}

func TestWaitingForAMachineEndsWhenItCannotHelp(t *testing.T) {
	other := errors.New("its architecture is riscv64")
	for name, test := range map[string]struct {
		timeout time.Duration
		err     error
	}{
		"without the setting": {0, errNoSSHD},
		"another error":       {time.Minute, other},
		"a key of the machine that differs from its earlier one": {time.Minute, &ssh.HostKeyError{
			Host: "m1", Known: []string{"ssh-ed25519 SHA256:b"}, Source: ssh.SourceFirstUse,
		}},
		"a revoked key":               {time.Minute, &ssh.HostKeyError{Host: "m1", Reason: "known_hosts revokes it"}},
		"a bastion that is not there": {time.Minute, &ssh.BastionError{Host: "m1", Err: errNoSSHD}},
		"a bastion's login":           {time.Minute, &ssh.BastionError{Host: "m1", Err: errNoLogin}},
		"a shell that runs nothing":   {time.Minute, &ssh.ShellError{Host: "m1", ExitCode: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var s operation.Startup
			tries := 0
			err := s.Wait(t.Context(), config.Machine{Name: "m1"}, test.timeout, operation.NoProgress{},
				func(context.Context) error { tries++; return test.err })
			assert.Equal(t, err, test.err)
			assert.Equal(t, tries, 1)
		})
	}
}

func TestAMachineThatAnsweredIsNotWaitedForAgain(t *testing.T) {
	var s operation.Startup
	m1 := config.Machine{Name: "m1"}
	assert.NilError(t, s.Wait(t.Context(), m1, time.Minute, operation.NoProgress{}, startingUp()))
	err := s.Wait(t.Context(), m1, time.Minute, operation.NoProgress{}, startingUp(errNoSSHD))
	assert.Equal(t, err, errNoSSHD)
}

func TestAWorkflowThatEndsEndsTheWaitForMachines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := fmt.Errorf("the workflow was stopped")
		time.AfterFunc(20*time.Second, func() { cancel(stopped) })
		var s operation.Startup
		err := s.Wait(ctx, config.Machine{Name: "m1"}, time.Hour, operation.NoProgress{},
			func(context.Context) error { return errNoSSHD })
		assert.ErrorIs(t, err, stopped)
		assert.ErrorContains(t, err, "connection refused")
	})
}

// A port at which first nothing listens, then an sshd with another host key, and then the machine's own.
func TestAnSSHDThatComesUpIsReached(t *testing.T) {
	key := sshtest.NewKey(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	port := free.Addr().(*net.TCPAddr).Port
	assert.NilError(t, free.Close())
	server := sshtest.Start(t, sshtest.Options{Authorized: []sshtest.Key{key}})
	image := sshtest.Start(t, sshtest.Options{Authorized: []sshtest.Key{key}})
	pool := ssh.NewPool()
	t.Cleanup(func() { assert.NilError(t, pool.Close()) })
	settings := ssh.Config{
		Name: "m1", Address: "127.0.0.1", Port: port, Auth: ssh.Auth{PrivateKey: secret.New(key.PEM(t, ""))},
		HostKeys: ssh.HostKeys{Pinned: []string{server.HostKey.Line()}}, StartingUp: true,
	}
	var behind atomic.Int64
	var lines []string
	var startup operation.Startup
	err = startup.Wait(t.Context(), config.Machine{Name: "m1"}, time.Minute,
		operation.AsText(func(line string) { lines = append(lines, line) }),
		func(ctx context.Context) error {
			_, err := pool.Get(ctx, settings)
			switch {
			case errors.As(err, new(*ssh.HostKeyError)):
				behind.Store(int64(server.Port))
			case err != nil:
				behind.Store(int64(image.Port))
				forwardTo(t, port, &behind)
			}
			return err
		})
	assert.NilError(t, err)
	assert.Equal(t, len(lines), 2, "%q", lines)
	assert.Assert(t, strings.Contains(lines[0], "waiting for the sshd of m1, "), lines[0])
	assert.Assert(t, strings.Contains(lines[1], "waiting for the host key of m1, "), lines[1])
}

// forwardTo listens at port and passes each connection to the port behind it.
func forwardTo(t *testing.T, port int, behind *atomic.Int64) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	assert.NilError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", behind.Load()))
			if err != nil {
				_ = client.Close()
				continue
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_ = to.Close()
			}
			go pass(server, client)
			go pass(client, server)
		}
	}()
}

func TestARefusedLoginIsWaitedForUntilTheTimeIsOver(t *testing.T) {
	server, key := sshtest.Start(t, sshtest.Options{}), sshtest.NewKey(t)
	pool := ssh.NewPool()
	t.Cleanup(func() { assert.NilError(t, pool.Close()) })
	var startup operation.Startup
	err := startup.Wait(t.Context(), config.Machine{Name: "m1"}, time.Second, operation.NoProgress{},
		func(ctx context.Context) error {
			_, err := pool.Get(ctx, ssh.Config{
				Name: "m1", Address: server.Address, Port: server.Port, StartingUp: true,
				Auth:     ssh.Auth{PrivateKey: secret.New(key.PEM(t, ""))},
				HostKeys: ssh.HostKeys{Pinned: []string{server.HostKey.Line()}},
			})
			return err
		})
	assert.ErrorContains(t, err, "login as \"root\" on m1")
	assert.ErrorContains(t, err, "waited 1s for the login, which ssh.startupTimeout of argosy.yaml sets")
}
