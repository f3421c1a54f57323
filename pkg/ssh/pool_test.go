package ssh_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/poll"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

func newPool(t *testing.T) *ssh.Pool {
	pool := ssh.NewPool()
	t.Cleanup(func() { assert.NilError(t, pool.Close()) })
	return pool
}

func TestAMachineIsDialledOnceForAllItsCallers(t *testing.T) {
	server, config := simulated(t, sshtest.Options{})
	pool := newPool(t)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			client, err := pool.Get(t.Context(), config)
			if assert.Check(t, err); err == nil {
				_, err = client.Run(t.Context(), ssh.Command{Argv: []string{"true"}})
				assert.Check(t, err)
			}
		})
	}
	group.Wait()
	assert.Equal(t, server.Logins(), 1)
}

func TestALostConnectionIsDialledAgain(t *testing.T) {
	server, config := simulated(t, sshtest.Options{})
	pool := newPool(t)
	client, err := pool.Get(t.Context(), config)
	assert.NilError(t, err)
	_, err = client.Run(t.Context(), ssh.Command{
		Argv:   []string{"/bin/sh", "-c", "echo; sleep 60"},
		Stdout: onWrite(server.Cut),
	})
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient, err)

	client, err = pool.Get(t.Context(), config)
	assert.NilError(t, err)
	works(t, client)
	assert.Equal(t, server.Logins(), 2)
}

func TestConnectionsThatNothingUsesAreClosed(t *testing.T) {
	bastion, lastBastion := simulated(t, sshtest.Options{})
	pool := newPool(t)
	pool.KeepIdle(2)
	var clients []*ssh.Client
	run := func(config ssh.Config) {
		client, err := pool.Get(t.Context(), config)
		assert.NilError(t, err)
		works(t, client)
		clients = append(clients, client)
	}
	var configs []ssh.Config
	for i := range 5 {
		_, config := simulated(t, sshtest.Options{})
		if i > 0 {
			config.Bastions = []ssh.Config{lastBastion}
		}
		configs = append(configs, config)
		if i == 1 {
			// A caller that has not begun its session, or has it open, keeps its connection.
			held, err := pool.Get(t.Context(), config)
			assert.NilError(t, err)
			clients = append(clients, held)
			continue
		}
		run(config)
	}
	_, last := simulated(t, sshtest.Options{})
	run(last) // a dial closes those that are idle by then: all but the two that were used last
	alive := func() (alive []bool) {
		for _, client := range clients {
			alive = append(alive, client.Alive())
		}
		return alive
	}
	poll.WaitOn(t, func(poll.LogT) poll.Result {
		if got := alive(); !got[0] && !got[2] {
			return poll.Success()
		}
		return poll.Continue("%v", alive())
	})
	assert.DeepEqual(t, alive(), []bool{false, true, false, true, true, true})
	works(t, clients[1])
	assert.Equal(t, bastion.Logins(), 1)
	run(configs[0])
}

func TestMachinesBehindABastionShareItsConnection(t *testing.T) {
	bastion, lastBastion := simulated(t, sshtest.Options{})
	pool := newPool(t)
	var machines []ssh.Config
	for range 3 {
		_, machine := simulated(t, sshtest.Options{})
		machine.Bastions = []ssh.Config{lastBastion}
		machines = append(machines, machine)
	}
	reach := func() {
		var group sync.WaitGroup
		for _, machine := range machines {
			group.Go(func() {
				client, err := pool.Get(t.Context(), machine)
				if assert.Check(t, err); err == nil {
					_, err = client.Run(t.Context(), ssh.Command{Argv: []string{"true"}})
					assert.Check(t, err)
				}
			})
		}
		group.Wait()
	}
	reach()
	assert.Equal(t, bastion.Logins(), 1)

	client, err := pool.Get(t.Context(), machines[0])
	assert.NilError(t, err)
	_, err = client.Run(t.Context(), ssh.Command{
		Argv:   []string{"/bin/sh", "-c", "echo; sleep 60"},
		Stdout: onWrite(bastion.Cut),
	})
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient, err)
	for _, machine := range machines {
		waitUntilLost(t, pool, machine)
	}
	reach()
	assert.Equal(t, bastion.Logins(), 2)
}

// waitUntilLost returns when the pool knows that a cut connection is gone: a command on it fails.
func waitUntilLost(t *testing.T, pool *ssh.Pool, config ssh.Config) {
	t.Helper()
	client, err := pool.Get(t.Context(), config)
	assert.NilError(t, err)
	_, _ = client.Run(t.Context(), ssh.Command{Argv: []string{"true"}})
}

func TestARefusedLoginIsNotRepeatedSoon(t *testing.T) {
	server, config := simulated(t, sshtest.Options{})
	good := config.Auth
	config.Auth = ssh.Auth{PrivateKey: secret.New(sshtest.NewKey(t).PEM(t, ""))}
	pool := newPool(t)
	for range 5 {
		_, err := pool.Get(t.Context(), config)
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration, err)
		assert.Assert(t, errors.As(err, new(*ssh.AuthError)))
	}
	assert.Equal(t, server.Attempts(), 1)

	// Another key is another login, which is tried at once.
	config.Auth = good
	client, err := pool.Get(t.Context(), config)
	assert.NilError(t, err)
	works(t, client)
}

func TestAKeyTrustedOnceIsRequiredWhenDialledAgain(t *testing.T) {
	server, config := simulated(t, sshtest.Options{})
	network := sshtest.NewNetwork(t, fmt.Sprintf("127.0.0.1:%d", server.Port))
	config.Port = network.Port
	recorded := 0
	config.HostKeys = ssh.HostKeys{
		TrustOnFirstUse: true,
		Record:          func(context.Context, string) error { recorded++; return nil },
	}
	pool := newPool(t)
	client, err := pool.Get(t.Context(), config)
	assert.NilError(t, err)
	assert.Equal(t, recorded, 1)

	impostor, _ := simulated(t, sshtest.Options{})
	network.Redirect(fmt.Sprintf("127.0.0.1:%d", impostor.Port))
	network.Cut()
	_, _ = client.Run(t.Context(), ssh.Command{Argv: []string{"true"}})
	_, err = pool.Get(t.Context(), config)
	assert.ErrorContains(t, err, "has changed")
	assert.Equal(t, recorded, 1)
}

func TestACallerWhoLeavesDoesNotFailTheOthers(t *testing.T) {
	server, config := simulated(t, sshtest.Options{})
	network := sshtest.NewNetwork(t, fmt.Sprintf("127.0.0.1:%d", server.Port))
	network.Silence(true)
	config.Port = network.Port
	pool := newPool(t)
	ctx, cancel := context.WithCancel(t.Context())
	left, stayed := make(chan error), make(chan error)
	go func() { _, err := pool.Get(ctx, config); left <- err }()
	network.Dialled(t)
	go func() { _, err := pool.Get(t.Context(), config); stayed <- err }()
	cancel()
	assert.Equal(t, errclass.ClassOf(<-left), errclass.Cancelled)
	network.Silence(false)
	assert.NilError(t, <-stayed)
	client, err := pool.Get(t.Context(), config)
	assert.NilError(t, err)
	works(t, client)
	assert.Equal(t, server.Logins(), 1)
}

func TestAClosedPoolDialsNoMore(t *testing.T) {
	_, config := simulated(t, sshtest.Options{})
	pool := ssh.NewPool()
	client, err := pool.Get(t.Context(), config)
	assert.NilError(t, err)
	assert.NilError(t, pool.Close())
	assert.Assert(t, !client.Alive())
	_, err = pool.Get(t.Context(), config)
	assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled, err)
}
