package factory

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/secret"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

// rotating is a source whose one Secret has a key that a person exchanges.
type rotating struct {
	config.Source
	key   string
	reads int
}

func (s *rotating) Secret(context.Context, string) (map[string]secret.Value, error) {
	s.reads++
	return map[string]secret.Value{"ssh-privatekey": secret.New(s.key)}, nil
}

// The machine accepts the new key alone. The workflow began with the old one.
//
//	the Secret has by then   read      the login
//	the new key              long ago  succeeds at the second attempt
//	the new key              just now  is refused
//	the old key              long ago  is refused
func TestARefusedLoginReadsTheSecretAgainOnce(t *testing.T) {
	before, after := sshtest.NewKey(t), sshtest.NewKey(t)
	for name, test := range map[string]struct {
		key     sshtest.Key
		longAgo bool
		fails   bool
		reads   int
	}{
		"exchanged, read long ago": {key: after, longAgo: true, reads: 2},
		"exchanged, read just now": {key: after, fails: true, reads: 1},
		"not exchanged":            {key: before, longAgo: true, fails: true, reads: 2},
	} {
		t.Run(name, func(t *testing.T) {
			server := sshtest.Start(t, sshtest.Options{Authorized: []sshtest.Key{after}})
			cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), fmt.Appendf(nil,
				"apiVersion: argosy.dev/v1alpha1\nkind: Fleet\ncluster: {kubeconfigSecret: kubeconfig}\n"+
					"ssh: {user: root, secret: keys, port: %d, hostKeys: [%q]}\n"+
					"machines: [{name: m1, address: %s}]\n", server.Port, server.HostKey.Line(), server.Address))
			assert.NilError(t, err)
			source := &rotating{key: before.PEM(t, "")}
			connector := newConnector(source, nil, cluster)
			_, err = connector.config(t.Context(), cluster.Fleet.Machines[0])
			assert.NilError(t, err)
			source.key = test.key.PEM(t, "")
			if test.longAgo {
				connector.read["keys"] = time.Now().Add(-secretAge)
			}
			pool := ssh.NewPool()
			t.Cleanup(func() { _ = pool.Close() })
			_, err = connector.dial(cluster.Fleet.Machines[0], Tools{Pool: pool})(t.Context())
			assert.Equal(t, err != nil, test.fails, "%v", err)
			assert.Equal(t, errors.As(err, new(*ssh.AuthError)), test.fails)
			assert.Equal(t, source.reads, test.reads)
		})
	}
}
