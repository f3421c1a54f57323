package ssh

import (
	"context"
	"io"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

func TestACommandOnAClosedConnectionIsNotWaitedFor(t *testing.T) {
	key := sshtest.NewKey(t)
	server := sshtest.Start(t, sshtest.Options{Authorized: []sshtest.Key{key}})
	client, err := Dial(t.Context(), Config{
		Name: "m1", Address: server.Address, Port: server.Port, Auth: Auth{PrivateKey: secret.New(key.PEM(t, ""))},
		HostKeys: HostKeys{Pinned: []string{server.HostKey.Line()}},
	})
	assert.NilError(t, err)
	running, err := client.start(t.Context(), "sleep 60", io.Discard, io.Discard)
	assert.NilError(t, err)
	assert.NilError(t, client.Close())
	// A context that never ends: without an end of its own, the wait would last for ever.
	_, err = client.await(context.Background(), running, nil, copyFrom(nil))
	assert.ErrorIs(t, err, errLost)
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient)
}
