package store

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"gotest.tools/v3/assert"
)

// three starts the members of an etcd, and returns them with a client of all.
func three(t *testing.T) (*etcds, []*process, *clientv3.Client) {
	t.Helper()
	e := newEtcds(t, 3)
	var members []*process
	for i := range e.members {
		members = append(members, e.launch(t, i, MemberFounds, "--unsafe-no-fsync"))
	}
	for i, member := range members {
		member.client = e.connect(t, member, e.members[i].Client)
	}
	return e, members, e.connect(t, members[0], e.access.Endpoints...)
}

// follower returns a member that does not lead.
func follower(t *testing.T, e *etcds, client *clientv3.Client) int {
	t.Helper()
	for i, member := range e.members {
		if leads(t.Context(), client, member.Client) == 0 {
			return i
		}
	}
	t.Fatal("there is no follower")
	return 0
}

// writing creates keys one after another until its context ends, and returns how many it created. None may fail.
func writing(ctx context.Context, t *testing.T, client *clientv3.Client) <-chan int {
	t.Helper()
	done := make(chan int)
	go func() {
		written := 0
		for ; ctx.Err() == nil; written++ {
			key := fmt.Sprintf("/registry/configmaps/default/%06d", written)
			if err := createOnce(context.WithoutCancel(ctx), client, kv(key, "written")); err != nil {
				t.Errorf("writing key %q: %v", key, err)
				break
			}
			time.Sleep(10 * time.Millisecond) // the members share this computer
		}
		done <- written
	}()
	return done
}

func TestAMemberWithoutItsVolumeIsReplacedWhileOthersServe(t *testing.T) {
	e, members, client := three(t)
	lost := follower(t, e, client)
	serving := e.connect(t, members[lost], without(e.access.Endpoints, lost)...)
	ctx, stop := context.WithCancel(t.Context())
	written := writing(ctx, t, serving)

	quiet := func(string) {}
	assert.ErrorContains(t, ReplaceMember(t.Context(), e.access, e.members[lost], quiet), "its data is not lost")
	members[lost].end(t, syscall.SIGKILL)
	assert.NilError(t, os.RemoveAll(e.data(lost)))
	refused := e.launch(t, lost, MemberFounds, "--unsafe-no-fsync")
	assert.ErrorContains(t, refused.command.Wait(), "exit status")
	assert.Assert(t, strings.Contains(lastLine(refused.output(t)), LostMember), refused.output(t))

	assert.NilError(t, ReplaceMember(t.Context(), e.access, e.members[lost], quiet))
	var reports atomic.Int32
	assert.NilError(t, ReplaceMember(t.Context(), e.access, e.members[lost], func(line string) {
		assert.Check(t, strings.Contains(line, "is added already"), line)
		reports.Add(1)
	}), "it can be repeated")
	assert.Equal(t, reports.Load(), int32(1))
	replaced := e.start(t, lost, MemberJoins, "--unsafe-no-fsync")
	stop()
	count := <-written

	held, err := read(t.Context(), replaced.client)
	assert.NilError(t, err)
	assert.Assert(t, count > 0)
	assert.Equal(t, len(held), count, "the new member has every key")
	list, err := client.MemberList(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(list.Members), 3)
}

func TestAnInterruptedReplacementGoesOn(t *testing.T) {
	e, members, client := three(t)
	lost := follower(t, e, client)
	members[lost].end(t, syscall.SIGKILL)
	assert.NilError(t, os.RemoveAll(e.data(lost)))
	known, err := memberAt(t.Context(), members[(lost+1)%3].client, e.members[lost].Peer)
	assert.NilError(t, err)
	assert.NilError(t, changeMembers(t.Context(), func(ctx context.Context) error {
		_, err := members[(lost+1)%3].client.MemberRemove(ctx, known.ID)
		return err
	}))
	assert.NilError(t, ReplaceMember(t.Context(), e.access, e.members[lost], func(string) {}))
	e.start(t, lost, MemberJoins, "--unsafe-no-fsync")
}

func TestAMemberIsNotReplacedWithoutAMajority(t *testing.T) {
	e, members, client := three(t)
	lost := follower(t, e, client)
	for i := range members {
		if i != (lost+1)%3 {
			members[i].end(t, syscall.SIGKILL)
		}
	}
	err := ReplaceMember(t.Context(), e.access, e.members[lost], func(string) {})
	assert.ErrorContains(t, err, "without it there is no majority")

	one := e.access
	one.Endpoints = one.Endpoints[:1]
	err = ReplaceMember(t.Context(), one, e.members[0], func(string) {})
	assert.ErrorContains(t, err, "not one of three endpoints")
}

func TestEtcdThatIsOutOfSpaceTakesWritesAgain(t *testing.T) {
	e := newEtcds(t, 1)
	member := e.start(t, 0, MemberFounds, "--unsafe-no-fsync", "--quota-backend-bytes=16777216")
	maintained, err := Maintain(t.Context(), e.access, func(string) {})
	assert.NilError(t, err)
	assert.Equal(t, maintained.String(), "", "there is nothing to do")

	fill := func(key func(i int) string) {
		t.Helper()
		for i := range 200 {
			_, err := member.client.Put(t.Context(), key(i), strings.Repeat("x", 512<<10))
			if err != nil {
				assert.ErrorContains(t, classified(err), "the store's space is used up")
				// A write that finds no space only when it is applied raises no alarm yet.
				full, err := alarmed(t.Context(), member.client)
				assert.NilError(t, err)
				if full {
					return
				}
			}
		}
		t.Fatal("the quota does not hold")
	}
	fill(func(int) string { return "/registry/events/default/one" })
	maintained, err = Maintain(t.Context(), e.access, func(string) {})
	assert.NilError(t, err)
	assert.Assert(t, maintained.Mended)
	assert.DeepEqual(t, maintained.Defragmented, []string{e.members[0].Client})
	assert.NilError(t, createOnce(t.Context(), member.client, kv("/registry/configmaps/default/a", "a")))

	fill(func(i int) string { return fmt.Sprintf("/registry/configmaps/default/many-%d", i) })
	_, err = Maintain(t.Context(), e.access, func(string) {})
	assert.ErrorContains(t, err, "delete objects, or raise controlPlane.backingStore.etcd.deploy")
	_, err = member.client.Delete(t.Context(), "/registry/configmaps/default/many-", clientv3.WithPrefix())
	assert.NilError(t, err, "deleting is possible without space")
	maintained, err = Maintain(t.Context(), e.access, func(string) {})
	assert.NilError(t, err)
	assert.Assert(t, maintained.Mended)
}

func TestKineNeedsNoMaintenance(t *testing.T) {
	maintained, err := Maintain(t.Context(), Access{Endpoints: []string{"unix:///none"}}, func(string) {})
	assert.NilError(t, err)
	assert.DeepEqual(t, maintained, Maintained{})
}

func without(endpoints []string, i int) []string {
	var others []string
	for k, endpoint := range endpoints {
		if k != i {
			others = append(others, endpoint)
		}
	}
	return others
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
