package spread

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	node "argosy.dev/argosy/pkg/node/spread"
)

// source16 is a file of 16 pieces and a short one.
func source16() []byte {
	content := make([]byte, 16*minPiece+1000)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(content)
	return content
}

// run is a run of machines, each on an address of its own of this computer.
type run struct {
	t       *testing.T
	tracker *Tracker
	content []byte
	key     string
	// opened counts how often the source was opened, and read its bytes.
	opened, read atomic.Int64
	// before, when set, is called before a request of a machine is answered; an error fails it.
	before func(machine string, request node.Request) error
}

func newRun(t *testing.T, content []byte) *run {
	t.Helper()
	return &run{t: t, tracker: &Tracker{}, content: content, key: "bundle:" + digestOf(content)}
}

func (r *run) open(_ context.Context, offset int64) (io.ReadCloser, error) {
	r.opened.Add(1)
	return io.NopCloser(io.TeeReader(bytes.NewReader(r.content[offset:]), counter{&r.read})), nil
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) { c.n.Add(int64(len(p))); return len(p), nil }

// machine takes part in a run until the test ends or it leaves.
type machine struct {
	*node.Client
	session *Session
	dir     string
	ask     node.Ask
	log     *bytes.Buffer
}

func (r *run) machine(name, zone string) *machine {
	r.t.Helper()
	m := &machine{dir: r.t.TempDir(), log: &bytes.Buffer{}}
	m.Client = node.NewClient(m.dir, m.log)
	r.t.Cleanup(m.Close)
	m.session = r.enter(r.tracker, name, zone)
	m.ask = func(ctx context.Context, key string, use func(io.Reader) error) error {
		if request, is, _ := node.ParseKey(key); is && r.before != nil {
			if err := r.before(name, request); err != nil {
				return err
			}
		}
		content, err := m.session.Open(ctx, key)
		if err != nil {
			return err
		}
		defer content.Close()
		return use(content)
	}
	return m
}

func (r *run) enter(tracker *Tracker, name, zone string) *Session {
	session := tracker.Enter(nil, Machine{Name: name, Address: "127.0.0.1", Zone: zone},
		func(context.Context, string) (io.ReadCloser, error) { return nil, errors.New("not in pieces") })
	session.Offer(r.key, int64(len(r.content)), r.open)
	return session
}

// receive returns the whole file as a machine got it.
func (r *run) receive(m *machine) ([]byte, error) {
	content, err := m.Receive(r.t.Context(), m.ask, node.File{Key: r.key, Size: int64(len(r.content))})
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return io.ReadAll(content)
}

// all has machines receive at the same time, and checks that each got the file.
func (r *run) all(machines ...*machine) {
	r.t.Helper()
	var group sync.WaitGroup
	for _, m := range machines {
		group.Go(func() {
			got, err := r.receive(m)
			assert.Check(r.t, err)
			assert.Check(r.t, bytes.Equal(got, r.content), "%d bytes\n%s", len(got), m.log)
		})
	}
	group.Wait()
}

func (r *run) machines(count int) []*machine {
	all := make([]*machine, count)
	for i := range all {
		all[i] = r.machine(fmt.Sprintf("m%d", i+1), "")
	}
	return all
}

func TestFileLeavesThePluginOnceForManyMachines(t *testing.T) {
	r := newRun(t, source16())
	r.all(r.machines(8)...)
	assert.Equal(t, r.tracker.Sent(), int64(len(r.content)))
	assert.Equal(t, r.opened.Load(), int64(1), "the source is read in order")
	assert.Equal(t, r.read.Load(), int64(len(r.content)))
}

func TestOneMachineAloneGetsEverythingFromThePlugin(t *testing.T) {
	r := newRun(t, source16())
	r.all(r.machine("m1", ""))
	assert.Equal(t, r.tracker.Sent(), int64(len(r.content)))
}

func TestMachineThatComesLaterGetsNothingFromThePlugin(t *testing.T) {
	r := newRun(t, source16())
	first := r.machine("m1", "")
	r.all(first)
	r.all(r.machine("m2", ""))
	assert.Equal(t, r.tracker.Sent(), int64(len(r.content)))
}

func TestThePluginSendsAgainWhatOnlyMachinesThatLeftHave(t *testing.T) {
	r := newRun(t, source16())
	first := r.machine("m1", "")
	r.all(first)
	first.session.Leave()
	first.Close()
	r.all(r.machine("m2", ""))
	assert.Equal(t, r.tracker.Sent(), 2*int64(len(r.content)))
}

func TestMachineThatDiedIsReplacedByThePlugin(t *testing.T) {
	r := newRun(t, source16())
	first := r.machine("m1", "")
	r.all(first)
	first.Close() // and its session stays, as one over a dead line
	second := r.machine("m2", "")
	r.all(second)
	assert.Assert(t, strings.Contains(second.log.String(), "from machine m1"), second.log)
	assert.Equal(t, len(second.session.Remarks()), 0, "no machine is accused")
}

// spoil changes bytes of all pieces that a machine keeps.
func (m *machine) spoil(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(m.dir, "*.pieces"))
	assert.NilError(t, err)
	assert.Equal(t, len(files), 1)
	file, err := os.OpenFile(files[0], os.O_WRONLY, 0)
	assert.NilError(t, err)
	defer file.Close()
	for piece := range int64(17) {
		_, err := file.WriteAt([]byte("damaged"), piece*minPiece)
		assert.NilError(t, err)
	}
}

func TestMachineThatServesOtherBytesIsBannedAndNamed(t *testing.T) {
	r := newRun(t, source16())
	bad := r.machine("bad", "")
	r.all(bad)
	bad.spoil(t)
	others := []*machine{r.machine("m1", ""), r.machine("m2", "")}
	r.all(others...)
	assert.Equal(t, r.tracker.Sent(), 2*int64(len(r.content)), "once more, for both")
	found := strings.Join(append(others[0].session.Remarks(), others[1].session.Remarks()...), "\n")
	assert.Equal(t, found, `machine "bad" served bytes with another digest, and serves no more in this run`)
	assert.Assert(t, strings.Contains(strings.Join(bad.session.Remarks(), ""), "check its memory and disk"))

	// A machine that is banned stays so when it comes again.
	bad.session.Leave()
	again := r.enter(r.tracker, "bad", "")
	assert.Assert(t, again.member.banned)
}

func TestMachineThatAccusesManyIsNotBelieved(t *testing.T) {
	r := newRun(t, source16())
	liar := r.enter(r.tracker, "liar", "")
	f := r.tracker.files[r.key]
	for i := range 5 {
		other := r.enter(r.tracker, fmt.Sprintf("m%d", i), "")
		r.tracker.note(liar.member, f, node.Request{Failed: []node.Failed{{Peer: other.member.Name, Corrupt: true}}})
	}
	banned := 0
	for _, m := range r.tracker.members {
		if m.banned {
			banned++
		}
	}
	assert.Equal(t, banned, maxAccused)
}

func TestPluginThatBeganAnewKnowsTheMachinesAgain(t *testing.T) {
	r := newRun(t, source16())
	m := r.machine("m1", "")
	old := r.tracker
	var once sync.Once
	r.before = func(_ string, request node.Request) error {
		if len(request.Have) > 0 && request.Have[0] == 5 {
			once.Do(func() {
				r.tracker = &Tracker{}
				m.session = r.enter(r.tracker, "m1", "")
			})
		}
		return nil
	}
	r.all(m)
	assert.Assert(t, old.Sent() > 0 && r.tracker.Sent() > 0)
	assert.Equal(t, old.Sent()+r.tracker.Sent(), int64(len(r.content)), "what the machine has is not sent again")
	r.before = nil
	r.all(r.machine("m2", ""))
}

func TestSourceThatFailsFailsTheMachines(t *testing.T) {
	r := newRun(t, source16())
	m := r.machine("m1", "")
	r.tracker.files[r.key].source.open = func(context.Context, int64) (io.ReadCloser, error) {
		return nil, errclass.With(errclass.Transient, errors.New("the server has gone"))
	}
	_, err := r.receive(m)
	assert.ErrorContains(t, err, "the server has gone")
	assert.Assert(t, errclass.IsTransient(err))
	assert.Equal(t, r.tracker.sends, 0)
}

func TestSourceThatChangedIsNotMixedWithItsFormerBytes(t *testing.T) {
	r := newRun(t, source16())
	first := r.machine("m1", "")
	r.all(first)
	first.session.Leave()
	r.content = bytes.Clone(r.content)
	r.content[0]++
	_, err := r.receive(r.machine("m2", ""))
	assert.ErrorContains(t, err, "its source changed meanwhile")
}

func TestOnlyOfferedFilesAreSent(t *testing.T) {
	r := newRun(t, source16())
	m := r.machine("m1", "")
	_, err := m.Receive(t.Context(), m.ask, node.File{Key: "/etc/shadow", Size: 1})
	assert.ErrorContains(t, err, "did not offer it")
	_, err = m.Receive(t.Context(), m.ask, node.File{Key: r.key, Size: 1})
	assert.ErrorContains(t, err, "and 1 was asked for")
	_, err = m.session.Open(t.Context(), `pieces:{"file":"`+r.key+`","piece":99}`)
	assert.ErrorContains(t, err, "it has 17")
	_, err = m.session.Open(t.Context(), `pieces:{"file":"`+r.key+`","piece":-1}`)
	assert.ErrorContains(t, err, "it has 17")
	_, err = m.session.Open(t.Context(), "archive")
	assert.ErrorContains(t, err, "not in pieces")
}

// planned is a run whose plan is looked at, without machines that receive.
type planned struct {
	*run
	file *file
}

func newPlanned(t *testing.T) planned {
	r := newRun(t, source16())
	r.enter(r.tracker, "offers", "").Leave()
	f := r.tracker.files[r.key]
	for piece := range f.digests {
		f.digests[piece] = fmt.Sprint(piece)
	}
	return planned{r, f}
}

// holder is a machine that has all pieces.
func (p planned) holder(name, zone string) *member {
	m := p.enter(p.tracker, name, zone).member
	m.port, m.registered = 1, true
	for piece := range p.file.holders {
		p.file.holders[piece][m] = true
	}
	return m
}

// FuzzRequests answers whatever a machine may ask: it gets pieces on offer, or an error.
func FuzzRequests(f *testing.F) {
	r := &run{tracker: &Tracker{}, content: []byte("content"), key: "file"}
	f.Add(`pieces:{"file":"file","new":true,"free":4,"port":1}`)
	f.Add(`pieces:{"file":"file","piece":0}`)
	f.Add(`pieces:{"file":"file","have":[0,-1,99999999999],"failed":[{"piece":-7,"peer":"m1","corrupt":true}]}`)
	f.Add(`pieces:{"file":"file","free":-1,"port":99999999}`)
	f.Add(`pieces:{"file":"../../etc/shadow","piece":-9223372036854775808}`)
	f.Add(`pieces:`)
	f.Fuzz(func(t *testing.T, key string) {
		session := r.enter(r.tracker, "m1", "")
		defer session.Leave()
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nothing is waited for
		content, err := session.Open(ctx, key)
		if err != nil {
			return
		}
		defer content.Close()
		text, err := io.ReadAll(content)
		assert.NilError(t, err)
		assert.Assert(t, string(text) == "content" || strings.HasPrefix(string(text), "{"), "%q", text)
	})
}
