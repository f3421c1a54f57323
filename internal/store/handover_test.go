package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"gotest.tools/v3/assert"
)

// A control plane of one replica is replaced by way of two, and with SQLite both have a kine on one file for that time.
// kine promises that of one kine only (its README), so this test holds the kine that is shipped to it.

// loadPrefix is that of the keys that the load writes.
const loadPrefix = "/registry/load/"

// unanswered is how long a writer waits for a store that may have ended.
const unanswered = 5 * time.Second

// ownKeys is how many keys a writer has.
const ownKeys = 20

// history is every write that a store acknowledged, by its revision.
type history struct {
	mu     sync.Mutex
	writes map[int64]string
	// unknown are keys with a write whose answer got lost, as the store ended. They are not written to again.
	unknown map[string]bool
	// restated are creations that were answered with another revision than their key's; see writer.revisionOf.
	restated int
}

func (h *history) note(revision int64, write string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if was, twice := h.writes[revision]; twice {
		write = was + " and " + write // two writes at one revision: no watcher sees that
	}
	h.writes[revision] = write
}

func (h *history) doubt(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unknown[key] = true
}

func (h *history) restate() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.restated++
}

func (h *history) doubted(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unknown[key]
}

func newHistory() *history { return &history{writes: map[int64]string{}, unknown: map[string]bool{}} }

// until returns the history up to a revision.
func (h *history) until(revision int64) *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	cut := newHistory()
	cut.unknown = maps.Clone(h.unknown)
	for at, write := range h.writes {
		if at <= revision {
			cut.writes[at] = write
		}
	}
	return cut
}

func (h *history) restatements() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.restated
}

// last returns the revision of the last write.
func (h *history) last() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := int64(0)
	for revision := range h.writes {
		last = max(last, revision)
	}
	return last
}

// writer does as API servers do with its keys, one after another: creates each, updates it twice and deletes it, and
// later creates it again.
type writer struct {
	history   *history
	client    *clientv3.Client
	name      string
	revisions map[string]int64 // of keys that exist
	made      map[string]bool  // keys that existed before
}

func (w *writer) run(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		key := fmt.Sprintf("%s%s/%d", loadPrefix, w.name, i/4%ownKeys)
		if w.history.doubted(key) {
			time.Sleep(time.Millisecond)
			continue
		}
		w.write(ctx, key, i%4 == 3)
	}
}

// write creates or updates a key, or deletes it, if it still has the revision that the writer knows.
func (w *writer) write(ctx context.Context, key string, remove bool) {
	known := w.revisions[key]
	operation, kind := clientv3.OpPut(key, fmt.Sprintf("%d%s", known, strings.Repeat("x", 1000))), "put "
	if remove {
		operation, kind = clientv3.OpDelete(key), "delete "
	}
	// A write that began is not given up when the writer is to end: its answer tells which event watchers have to see.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unanswered)
	defer cancel()
	write := w.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", known)).Then(operation)
	if known > 0 { // kine knows a creation by its having no other branch
		write = write.Else(clientv3.OpGet(key))
	}
	answer, err := write.Commit()
	if err != nil {
		w.history.doubt(key)
		return
	}
	revision := answer.Header.Revision
	if answer.Succeeded && known == 0 && w.made[key] {
		if revision, err = w.revisionOf(ctx, key); err != nil {
			w.history.doubt(key)
			return
		}
		if revision != answer.Header.Revision {
			w.history.restate()
		}
	}
	w.made[key] = true
	switch {
	case !answer.Succeeded:
		w.history.note(-revision, "another writer changed "+key)
	case remove:
		w.history.note(revision, kind+key)
		delete(w.revisions, key)
	default:
		w.history.note(revision, kind+key)
		w.revisions[key] = revision
	}
}

// revisionOf asks for a key's revision. One kine alone answers the creation of a key that was deleted before with the
// store's revision at that moment in place of the key's (logstructured.go, Create), which is not the replacement's.
func (w *writer) revisionOf(ctx context.Context, key string) (int64, error) {
	answer, err := w.client.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	if len(answer.Kvs) != 1 {
		return -answer.Header.Revision, nil // a creation that is lost
	}
	return answer.Kvs[0].ModRevision, nil
}

// watcher follows the keys of the load, from one kine to the next, as a client of API servers does.
type watcher struct {
	start    int64 // the first revision that it wants
	failed   error // of the one that follows, read when it has ended
	progress int64 // the last revision up to which a kine told that all events were sent
	mu       sync.Mutex
	events   []*clientv3.Event
}

// follow watches through a client from the last event on, until the context ends. kine ends the watch of a client that
// is slow, which then goes on from its last event.
func (w *watcher) follow(ctx context.Context, client *clientv3.Client) {
	for ctx.Err() == nil && w.failed == nil {
		w.progress = 0
		watch := client.Watch(clientv3.WithRequireLeader(ctx), loadPrefix, clientv3.WithPrefix(), clientv3.WithPrevKV(),
			clientv3.WithProgressNotify(), clientv3.WithRev(max(w.last()+1, w.start)))
		for open := true; open && w.failed == nil; {
			select {
			case <-ctx.Done(): // the client of a kine that was killed does not close the channel
				return
			case answer, more := <-watch:
				w.take(&answer)
				open = more
			}
		}
	}
}

// take notes an answer.
func (w *watcher) take(answer *clientv3.WatchResponse) {
	if err := answer.Err(); errors.Is(err, rpctypes.ErrCompacted) {
		w.failed = err
	}
	if answer.IsProgressNotify() {
		w.progress = answer.Header.Revision
	}
	for _, event := range answer.Events {
		if event.Kv.ModRevision <= w.progress {
			w.failed = fmt.Errorf("an event at %d after progress was told up to %d", event.Kv.ModRevision, w.progress)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, answer.Events...)
}

func (w *watcher) last() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) == 0 {
		return 0
	}
	return w.events[len(w.events)-1].Kv.ModRevision
}

// check compares the events with the history.
func (w *watcher) check(t *testing.T, h *history) {
	t.Helper()
	assert.NilError(t, w.failed)
	missed := maps.Clone(h.writes)
	maps.DeleteFunc(missed, func(revision int64, _ string) bool { return revision > 0 && revision < w.start })
	before := int64(0)
	for _, event := range w.events {
		revision, key := event.Kv.ModRevision, string(event.Kv.Key)
		assert.Assert(t, revision > before, "%d comes after %d", revision, before)
		before = revision
		kind := "put "
		if event.Type == clientv3.EventTypeDelete {
			kind = "delete "
		}
		write, known := h.writes[revision]
		assert.Assert(t, known || h.unknown[key], "an event at %d that no one wrote: %s%s", revision, kind, key)
		assert.Assert(t, !known || write == kind+key, "at %d: %s, and the event is %s%s", revision, write, kind, key)
		delete(missed, revision)
	}
	assert.Equal(t, len(missed), 0, "missed events: %v", first(missed))
}

// first returns the first writes of a history.
func first(writes map[int64]string) []string {
	var texts []string
	for _, revision := range slices.Sorted(maps.Keys(writes)) {
		if texts = append(texts, fmt.Sprintf("%d %s", revision, writes[revision])); len(texts) == 5 {
			break
		}
	}
	return texts
}

// workload runs writers and watchers on a kine.
type workload struct {
	history  *history
	watchers []*watcher
}

// newWorkload returns a workload whose watchers begin at a revision.
func newWorkload(h *history, start int64) *workload {
	l := &workload{history: h}
	for range 3 {
		l.watchers = append(l.watchers, &watcher{start: start})
	}
	return l
}

// on runs writers on a kine and has the watchers follow it. The returned functions end them; the name is that of the
// writers, so that those of two kines do not change the same keys.
func (l *workload) on(t *testing.T, client *clientv3.Client, name string) (endWriters, endWatchers func()) {
	t.Helper()
	run := func(count int, work func(ctx context.Context, i int)) func() {
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for i := range count {
			group.Go(func() { work(ctx, i) })
		}
		return func() {
			cancel()
			group.Wait()
		}
	}
	endWatchers = run(len(l.watchers), func(ctx context.Context, i int) { l.watchers[i].follow(ctx, client) })
	endWriters = run(4, func(ctx context.Context, i int) {
		w := &writer{
			history: l.history, client: client, name: fmt.Sprintf("%s-%d", name, i),
			revisions: map[string]int64{}, made: map[string]bool{},
		}
		w.run(ctx)
	})
	return endWriters, endWatchers
}

// settle waits until the watchers have the last write of now.
func (l *workload) settle(t *testing.T) {
	t.Helper()
	last := l.history.last()
	for _, w := range l.watchers {
		for deadline := time.Now().Add(20 * time.Second); w.last() < last && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
		assert.Assert(t, w.last() >= last, "a watcher is at %d, and the last write was at %d", w.last(), last)
	}
}

// writes waits until kines acknowledged some more writes.
func (l *workload) writes(t *testing.T, more int) {
	t.Helper()
	acknowledged := func() int {
		l.history.mu.Lock()
		defer l.history.mu.Unlock()
		return len(l.history.writes)
	}
	until := acknowledged() + more
	for deadline := time.Now().Add(time.Minute); acknowledged() < until; time.Sleep(5 * time.Millisecond) {
		assert.Assert(t, time.Now().Before(deadline), "the store is not written to")
	}
}

// loadedKine starts a kine on a database. It compacts and tells progress in seconds as in minutes of a cluster, and
// keeps as many revisions as watchers may be behind on a busy machine.
func loadedKine(t *testing.T, path string) *process {
	t.Helper()
	return kineProcess(t, path, "--compact-interval=1s", "--compact-min-retain=20000",
		"--watch-progress-notify-interval=200ms")
}

// handover is a database under load that goes from one kine to the next.
type handover struct {
	*workload
	path                    string
	current                 *process
	endWriters, endWatchers func()
	// others are the watchers of writers that began beside those of an earlier kine.
	others []*watcher
}

// newHandover starts the first kine and its load.
func newHandover(t *testing.T) *handover {
	t.Helper()
	d := &handover{workload: newWorkload(newHistory(), 1), path: filepath.Join(t.TempDir(), "state.db")}
	d.current = loadedKine(t, d.path)
	d.endWriters, d.endWatchers = d.on(t, d.current.client, "first")
	d.writes(t, 600)
	t.Logf("one kine alone answered %d creations with the revision of another write", d.history.restatements())
	return d
}

// replace starts another kine, has both serve for a while, as a Service leads to two API servers until the first one
// ends, and ends the first one by a signal. The watchers go on at the other one.
func (d *handover) replace(t *testing.T, signal syscall.Signal, round int) {
	t.Helper()
	next := loadedKine(t, d.path)
	now, err := get(t.Context(), next.client, healthKey)
	assert.NilError(t, err)
	beside := newWorkload(d.history, now.Header.Revision+1)
	endOthers, endOtherWatchers := beside.on(t, next.client, fmt.Sprintf("beside-%d", round))
	d.writes(t, 400)
	if signal == syscall.SIGKILL {
		d.current.end(t, signal)
	}
	d.endWriters()
	d.endWatchers()
	if signal != syscall.SIGKILL { // an API server ends before its kine
		d.current.end(t, signal)
	}
	assert.Assert(t, !strings.Contains(d.current.output(t), "level=fatal"), d.current.output(t))
	d.current = next
	d.endWriters, d.endWatchers = d.on(t, next.client, fmt.Sprintf("after-%d", round))
	d.writes(t, 400)
	endOthers()
	beside.settle(t)
	endOtherWatchers()
	d.others = append(d.others, beside.watchers...)
}

// check ends the load and the last kine, and compares all watchers' events with the history.
func (d *handover) check(t *testing.T) {
	t.Helper()
	d.endWriters()
	d.settle(t)
	d.endWatchers()
	for _, w := range d.watchers {
		w.check(t, d.history)
	}
	for _, w := range d.others {
		w.check(t, d.history.until(w.last()))
	}
	d.current.end(t, syscall.SIGTERM)
	assert.Equal(t, integrity(t, d.path), "ok")
	t.Logf("%d writes, %d without an answer", len(d.history.writes), len(d.history.unknown))
}

func TestADatabaseGoesFromKineToKineUnderLoad(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"ended": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			d := newHandover(t)
			for round := range 3 {
				d.replace(t, signal, round)
			}
			d.check(t)
		})
	}
}

// integrity returns the result of SQLite's own check of a database.
func integrity(t *testing.T, path string) string {
	t.Helper()
	const check = "PRAGMA integrity_check"
	for _, command := range [][]string{
		{"sqlite3", path, check},
		{
			"python3", "-c",
			"import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])", path, check,
		},
	} {
		if _, err := exec.LookPath(command[0]); err != nil {
			continue
		}
		output, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		assert.NilError(t, err, string(output))
		return strings.TrimSpace(string(output))
	}
	t.Fatal("neither sqlite3 nor python3 is there to check a database: install one of them")
	return ""
}
