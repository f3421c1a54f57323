package store

import (
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/pki"
)

// built is a program that the lab has built; the test is skipped where it has not.
func built(t *testing.T, program string) string {
	t.Helper()
	cache := os.Getenv("ARGOSY_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		assert.NilError(t, err)
		cache = filepath.Join(user, "argosy", "lab")
	}
	found, err := filepath.Glob(filepath.Join(cache, program, "*", program))
	assert.NilError(t, err)
	if len(found) == 0 {
		t.Skipf("the lab has built no %s in %s", program, cache)
	}
	return found[len(found)-1]
}

// running starts a program for the length of the test and returns a client of it.
func running(t *testing.T, access Access, program string, args ...string) *clientv3.Client {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	assert.NilError(t, err)
	command := exec.Command(program, args...)
	command.Stdout, command.Stderr, command.Dir = log, log, t.TempDir()
	assert.NilError(t, command.Start())
	client, err := access.Connect()
	assert.NilError(t, err)
	t.Cleanup(func() {
		assert.NilError(t, client.Close())
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = log.Close()
	})
	if err := access.ready(t.Context(), client, 30*time.Second); err != nil {
		said, _ := os.ReadFile(log.Name())
		t.Fatalf("%s does not answer: %v\n%s", program, err, said)
	}
	return client
}

func kine(t *testing.T) *clientv3.Client { return kineOn(t, filepath.Join(t.TempDir(), "state.db")) }

// kineOn runs kine on the SQLite database in a file, with the settings that the control plane gives it.
func kineOn(t *testing.T, path string, args ...string) *clientv3.Client {
	socket := "unix://" + filepath.Join(t.TempDir(), "kine.sock")
	return running(t, Access{Endpoints: []string{socket}}, built(t, "kine"),
		append([]string{
			"--listen-address=" + socket, "--metrics-bind-address=0",
			"--endpoint=sqlite://" + path +
				"?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate&_kine_disable_startup_vacuum=true",
		},
			args...)...)
}

// etcd asks for a certificate, as a deployed one does.
func etcd(t *testing.T) *clientv3.Client {
	folder := t.TempDir()
	authority, err := pki.NewAuthority("etcd-ca", time.Now())
	assert.NilError(t, err)
	pair, err := authority.Issue(pki.Leaf{
		CommonName: "etcd", Hosts: []string{"127.0.0.1"},
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, time.Now())
	assert.NilError(t, err)
	at := func(file string, content []byte) string {
		path := filepath.Join(folder, file)
		assert.NilError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	access := Access{
		Endpoints: []string{"https://" + free(t)}, CACert: at("ca.crt", authority.Cert),
		Cert: at("etcd.crt", pair.Cert), Key: at("etcd.key", pair.Key),
	}
	peer := "http://" + free(t)
	return running(t, access, built(t, "etcd"), "--data-dir="+filepath.Join(folder, "data"), "--unsafe-no-fsync",
		"--listen-client-urls="+access.Endpoints[0], "--advertise-client-urls="+access.Endpoints[0],
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer,
		"--client-cert-auth=true", "--trusted-ca-file="+access.CACert, "--cert-file="+access.Cert,
		"--key-file="+access.Key)
}

// free returns an address on which no one listens.
func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// The simulated store is only as true as our reading of kine; this is kine itself, and etcd itself.
func TestAClusterMovesFromKineToEtcdAndBack(t *testing.T) {
	first := kine(t)
	for _, p := range cluster(3 * pageKeys) {
		assert.NilError(t, createOnce(t.Context(), first, p))
	}
	writeOn(t, first)
	expire(t, first)

	second, third := etcd(t), kine(t)
	archive := opened(t, dumped(t, first))
	assert.Equal(t, archive.Keys, 3*pageKeys)
	assert.NilError(t, load(t.Context(), second, archive, quietly))
	again := opened(t, dumped(t, second))
	assert.NilError(t, load(t.Context(), third, again, quietly))
	assert.NilError(t, load(t.Context(), third, archive, quietly), "a load that is done can be repeated")
	assert.ErrorContains(t, load(t.Context(), third, opened(t, dumped(t, kine(t))), quietly), "the store is not empty")

	before, err := read(t.Context(), first)
	assert.NilError(t, err)
	after, err := read(t.Context(), third)
	assert.NilError(t, err)
	assert.DeepEqual(t, before, after)
}

// writeOn overwrites a key as an API server does, so that the store has more than one revision of it.
func writeOn(t *testing.T, client *clientv3.Client) {
	t.Helper()
	key := string(cluster(1)[0].key)
	held, err := client.Get(t.Context(), key)
	assert.NilError(t, err)
	answer, err := client.Txn(t.Context()).If(clientv3.Compare(clientv3.ModRevision(key), "=",
		held.Kvs[0].ModRevision)).
		Then(clientv3.OpPut(key, "changed")).Else(clientv3.OpGet(key)).Commit()
	assert.NilError(t, err)
	assert.Assert(t, answer.Succeeded)
}

// expire writes a key with a lease, as an event.
func expire(t *testing.T, client *clientv3.Client) {
	t.Helper()
	lease, err := client.Grant(t.Context(), 3600)
	assert.NilError(t, err)
	key := "/registry/events/default/e"
	answer, err := client.Txn(t.Context()).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, "event", clientv3.WithLease(lease.ID))).Commit()
	assert.NilError(t, err)
	assert.Assert(t, answer.Succeeded)
}
