package store

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/pkg/errclass"
)

// keeping is a member that AwaitMembership keeps.
type keeping struct {
	reports chan string
	done    chan error
}

// keep calls AwaitMembership for member i with its arguments and further ones.
func (e *etcds) keep(ctx context.Context, i int, args ...string) keeping {
	k := keeping{make(chan string, 100), make(chan error, 1)}
	go func() {
		k.done <- AwaitMembership(ctx, append(e.args(i), args...), func(line string) { k.reports <- line })
	}()
	return k
}

// reportsOf waits for a report with these words.
func (k keeping) reportsOf(t *testing.T, words string) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case line := <-k.reports:
			assert.Assert(t, strings.Contains(line, EmptyMember), line)
			if strings.Contains(line, words) {
				return
			}
		case err := <-k.done:
			t.Fatalf("the member may start before it reports %q: %v", words, err)
		case <-limit:
			t.Fatalf("the member does not report %q", words)
		}
	}
}

func TestAMemberWithoutDataIsKeptUntilItIsReplaced(t *testing.T) {
	e, members, client := three(t)
	lost := follower(t, e, client)
	members[lost].end(t, syscall.SIGKILL)
	assert.NilError(t, AwaitMembership(t.Context(), e.args(lost), func(string) {}), "it has its data")
	assert.NilError(t, os.RemoveAll(e.data(lost)))

	kept := e.keep(t.Context(), lost)
	kept.reportsOf(t, LostMember)
	assert.NilError(t, ReplaceMember(t.Context(), e.access, e.members[lost], func(string) {}))
	assert.NilError(t, <-kept.done)
	e.start(t, lost, MemberJoins, "--unsafe-no-fsync")
	assert.NilError(t, AwaitMembership(t.Context(), e.args(lost), func(string) {}), "it has data again")
}

func TestAMemberWithoutDataWaitsForAMajority(t *testing.T) {
	e, members, client := three(t)
	lost := follower(t, e, client)
	for _, member := range members {
		member.end(t, syscall.SIGKILL)
	}
	assert.NilError(t, os.RemoveAll(e.data(lost)))
	ctx, cancel := context.WithCancel(t.Context())
	kept := e.keep(ctx, lost)
	kept.reportsOf(t, "no other member answers it")
	e.launch(t, (lost+1)%3, MemberJoins, "--unsafe-no-fsync")
	kept.reportsOf(t, "the others do not answer with a majority")
	e.launch(t, (lost+2)%3, MemberJoins, "--unsafe-no-fsync")
	kept.reportsOf(t, LostMember)
	cancel()
	err := <-kept.done
	assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled)
	assert.ErrorContains(t, err, EmptyMember, "it ends with words by which it is known")
}

// A pod has a new address, which its name leads to for the others a while later. Until then they refuse its
// certificate.
func TestAMemberWithoutDataWaitsUntilOthersVerifyItsName(t *testing.T) {
	e := newEtcds(t, 3)
	verified, unverified := e.securePeers(t)
	e.more = append(e.more, verified...)
	var members []*process
	for i := range e.members {
		members = append(members, e.launch(t, i, MemberFounds, "--unsafe-no-fsync"))
	}
	client := e.connect(t, members[0], e.access.Endpoints...)
	lost := follower(t, e, client)
	members[lost].end(t, syscall.SIGKILL)
	assert.NilError(t, os.RemoveAll(e.data(lost)))

	ctx, cancel := context.WithCancel(t.Context())
	kept := e.keep(ctx, lost, unverified...)
	kept.reportsOf(t, "no other member answers it")
	// etcd alone would not be refused either, and found a cluster as the member that the others know.
	alone := e.launch(t, lost, MemberFounds, append([]string{"--unsafe-no-fsync"}, unverified...)...)
	waitForLog(t, alone, "starting local member")
	assert.Assert(t, !strings.Contains(alone.output(t), LostMember), alone.output(t))
	alone.end(t, syscall.SIGKILL)
	assert.NilError(t, os.RemoveAll(e.data(lost)))
	cancel()
	assert.Equal(t, errclass.ClassOf(<-kept.done), errclass.Cancelled)

	kept = e.keep(t.Context(), lost)
	kept.reportsOf(t, LostMember)
	assert.NilError(t, ReplaceMember(t.Context(), e.access, e.members[lost], func(string) {}))
	assert.NilError(t, <-kept.done)
	e.start(t, lost, MemberJoins, "--unsafe-no-fsync")
}

// securePeers has members verify each other. It returns the arguments of members, and those of one whose name does not
// lead to its address.
func (e *etcds) securePeers(t *testing.T) (verified, unverified []string) {
	t.Helper()
	authority, err := pki.NewAuthority("peers-ca", time.Now())
	assert.NilError(t, err)
	at := func(file string, content []byte) string {
		path := filepath.Join(e.folder, file)
		assert.NilError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	pair := func(host string) []string {
		issued, err := authority.Issue(pki.Leaf{
			CommonName: "etcd-peer", Hosts: []string{host},
			Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}, time.Now())
		assert.NilError(t, err)
		return []string{
			"--peer-cert-file=" + at(host+".crt", issued.Cert), "--peer-key-file=" + at(host+".key", issued.Key),
		}
	}
	for i := range e.members {
		e.members[i].Peer = strings.Replace(e.members[i].Peer, "http:", "https:", 1)
	}
	e.found()
	common := []string{"--peer-client-cert-auth=true", "--peer-trusted-ca-file=" + at("peers-ca.crt", authority.Cert)}
	return append(common, pair("127.0.0.1")...), pair("lost.invalid")
}

// waitForLog waits until a program has printed these words.
func waitForLog(t *testing.T, p *process, words string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(p.output(t), words); {
		assert.Assert(t, time.Now().Before(deadline), "it does not print %q:\n%s", words, p.output(t))
		time.Sleep(50 * time.Millisecond)
	}
}

func TestArgumentsOfNoMemberAreRefused(t *testing.T) {
	whole := []string{"--name=a", "--data-dir=/none", "--initial-cluster=a=https://a:2380,b=https://b:2380"}
	for i := range whole {
		args := append(append([]string{}, whole[:i]...), whole[i+1:]...)
		err := AwaitMembership(t.Context(), args, func(string) {})
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
	err := AwaitMembership(t.Context(), []string{whole[0], whole[1], "--initial-cluster=b=https://b:2380"},
		func(string) {})
	assert.ErrorContains(t, err, "reading etcd's arguments")
}
