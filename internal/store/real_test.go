package store

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/pki"
)

// built is a program that the lab has built; the test is skipped where it has not.
func built(t testing.TB, program string) string {
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

// process is a program that a test runs, with a client of it.
type process struct {
	client  *clientv3.Client
	command *exec.Cmd
	log     string
}

// launch starts a program for the length of the test at most.
func launch(t testing.TB, program string, environment []string, args ...string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	assert.NilError(t, err)
	command := exec.Command(program, args...)
	command.Stdout, command.Stderr, command.Dir = log, log, t.TempDir()
	command.Env = append(os.Environ(), environment...)
	assert.NilError(t, command.Start())
	started := &process{command: command, log: log.Name()}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = log.Close()
	})
	return started
}

// output returns all that the program printed so far.
func (p *process) output(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(p.log)
	assert.NilError(t, err)
	return string(text)
}

// end sends a signal and waits for the program's end.
func (p *process) end(t testing.TB, signal os.Signal) {
	t.Helper()
	assert.NilError(t, p.command.Process.Signal(signal))
	_ = p.command.Wait()
}

// answering starts a program and waits until it answers.
func answering(t testing.TB, access Access, program string, environment []string, args ...string) *process {
	t.Helper()
	started := launch(t, program, environment, args...)
	client, err := access.Connect()
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, client.Close()) })
	if err := access.ready(t.Context(), client, 30*time.Second); err != nil {
		t.Fatalf("%s does not answer: %v\n%s", program, err, started.output(t))
	}
	started.client = client
	return started
}

func kine(t *testing.T) *clientv3.Client { return kineOn(t, filepath.Join(t.TempDir(), "state.db")) }

// kineOn runs kine on the SQLite database in a file, with the settings that the control plane gives it.
func kineOn(t *testing.T, path string, args ...string) *clientv3.Client {
	t.Helper()
	return kineProcess(t, path, args...).client
}

func kineProcess(t testing.TB, path string, args ...string) *process {
	t.Helper()
	socket := "unix://" + filepath.Join(t.TempDir(), "kine.sock")
	return answering(t, Access{Endpoints: []string{socket}}, built(t, "kine"), nil,
		append([]string{
			"--listen-address=" + socket, "--metrics-bind-address=0",
			"--endpoint=sqlite://" + path +
				"?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate&_kine_disable_startup_vacuum=true",
		}, args...)...)
}

// etcd asks for a certificate, as a deployed one does.
func etcd(t *testing.T, args ...string) *clientv3.Client {
	t.Helper()
	return newEtcds(t, 1).start(t, 0, MemberFounds, append(args, "--unsafe-no-fsync")...).client
}

// etcds are the members of an etcd on this machine.
type etcds struct {
	folder   string
	access   Access // of all members
	members  []Member
	founders string
	more     []string // further arguments of all members
}

// newEtcds makes the addresses and certificates of an etcd; start starts its members.
func newEtcds(t testing.TB, count int) *etcds {
	t.Helper()
	authority, err := pki.NewAuthority("etcd-ca", time.Now())
	assert.NilError(t, err)
	pair, err := authority.Issue(pki.Leaf{
		CommonName: "etcd", Hosts: []string{"127.0.0.1"},
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, time.Now())
	assert.NilError(t, err)
	e := &etcds{folder: t.TempDir()}
	at := func(file string, content []byte) string {
		path := filepath.Join(e.folder, file)
		assert.NilError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	e.access = Access{
		CACert: at("ca.crt", authority.Cert), Cert: at("etcd.crt", pair.Cert), Key: at("etcd.key", pair.Key),
	}
	for i := range count {
		member := Member{Name: fmt.Sprintf("etcd-%d", i), Client: "https://" + free(t), Peer: "http://" + free(t)}
		e.members = append(e.members, member)
		e.access.Endpoints = append(e.access.Endpoints, member.Client)
	}
	e.found()
	return e
}

// found has the members be the founders of their cluster.
func (e *etcds) found() {
	var founders []string
	for _, member := range e.members {
		founders = append(founders, member.Name+"="+member.Peer)
	}
	e.founders = strings.Join(founders, ",")
}

// data is the folder of a member's data.
func (e *etcds) data(i int) string { return filepath.Join(e.folder, e.members[i].Name) }

// launch starts a member.
func (e *etcds) launch(t testing.TB, i int, state string, args ...string) *process {
	t.Helper()
	return launch(t, built(t, "etcd"), []string{InitialClusterState + "=" + state}, append(e.args(i), args...)...)
}

// args returns the arguments of a member.
func (e *etcds) args(i int) []string {
	return append([]string{
		"--name=" + e.members[i].Name, "--data-dir=" + e.data(i), "--initial-cluster=" + e.founders,
		"--listen-client-urls=" + e.members[i].Client, "--advertise-client-urls=" + e.members[i].Client,
		"--listen-peer-urls=" + e.members[i].Peer, "--initial-advertise-peer-urls=" + e.members[i].Peer,
		"--client-cert-auth=true", "--trusted-ca-file=" + e.access.CACert, "--cert-file=" + e.access.Cert,
		"--key-file=" + e.access.Key, "--feature-gates=InitialCorruptCheck=true",
	}, e.more...)
}

// start starts a member, waits until it answers, and returns it with a client that asks it alone.
func (e *etcds) start(t testing.TB, i int, state string, args ...string) *process {
	t.Helper()
	started := e.launch(t, i, state, args...)
	started.client = e.connect(t, started, e.members[i].Client)
	return started
}

// connect returns a client of members that answer.
func (e *etcds) connect(t testing.TB, started *process, endpoints ...string) *clientv3.Client {
	t.Helper()
	access := e.access
	access.Endpoints = endpoints
	client, err := access.Connect()
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, client.Close()) })
	if err := access.ready(t.Context(), client, time.Minute); err != nil {
		t.Fatalf("etcd does not answer: %v\n%s", err, started.output(t))
	}
	return client
}

// free returns an address on which no one listens.
func free(t testing.TB) string {
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
