package state

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"argosy.dev/argosy/internal/count"
)

// Recorder collects changes and writes those of one cluster together: a workflow on five thousand machines would
// otherwise write as many times an object that holds all of them. It may be used by several goroutines. An error is
// logged, and never fails the work that is recorded. A nil Recorder records nothing.
type Recorder struct {
	store  *Store
	events *Events
	log    *slog.Logger
	// every is the least time between two writes about one cluster.
	every time.Duration

	mu     sync.Mutex
	queues map[string]*queue
	timers sync.WaitGroup
}

// writeEvery is how old the state is at most while a workflow runs.
const writeEvery = 5 * time.Second

// NewRecorder returns a Recorder that writes to store, and events about its objects to events.
func NewRecorder(store *Store, events *Events, log *slog.Logger) *Recorder {
	return &Recorder{store: store, events: events, log: log, every: writeEvery, queues: map[string]*queue{}}
}

// queue has the changes about one cluster that are not written yet.
type queue struct {
	namespace, cluster string
	// writing is held by the one that writes.
	writing sync.Mutex

	mu      sync.Mutex
	changes []Change
	events  []Event
	written time.Time
	timer   *time.Timer
	// failures in a row.
	failures int
}

func (r *Recorder) queue(namespace, cluster string) *queue {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := namespace + "/" + cluster
	if r.queues[key] == nil {
		r.queues[key] = &queue{namespace: namespace, cluster: cluster}
	}
	return r.queues[key]
}

// Record takes changes of a cluster's state. It returns at once; they are written within some seconds.
func (r *Recorder) Record(namespace, cluster string, changes ...Change) {
	if r == nil {
		return
	}
	q := r.queue(namespace, cluster)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changes = append(q.changes, changes...)
	r.schedule(q)
}

// Event takes an event about the object that holds a cluster's state. It is written with the next changes.
func (r *Recorder) Event(namespace, cluster string, event Event) {
	if r == nil {
		return
	}
	q := r.queue(namespace, cluster)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(q.events, event)
	r.schedule(q)
}

// schedule has the queue, which is locked, written when its time comes.
func (r *Recorder) schedule(q *queue) {
	if q.timer != nil {
		return
	}
	r.timers.Add(1)
	q.timer = time.AfterFunc(max(0, time.Until(q.written.Add(r.every))), func() {
		defer r.timers.Done()
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		defer cancel()
		r.write(ctx, q)
	})
}

// writeTimeout bounds one write with its retries.
const writeTimeout = 20 * time.Second

// Flush writes all changes that were recorded of a cluster, and returns when that is done.
func (r *Recorder) Flush(ctx context.Context, namespace, cluster string) {
	if r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	r.write(ctx, r.queue(namespace, cluster))
}

// Forget deletes the state of a cluster that is no more, with the changes that are not written yet.
func (r *Recorder) Forget(ctx context.Context, namespace, cluster string) {
	if r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	q := r.queue(namespace, cluster)
	q.writing.Lock()
	defer q.writing.Unlock()
	r.take(q)
	if err := r.store.Delete(ctx, namespace, cluster); err != nil {
		r.log.Warn("the state of a cluster could not be deleted", "namespace", namespace, "cluster", cluster,
			"error", err.Error())
	}
}

// Close writes everything that was recorded, as far as ctx lasts.
func (r *Recorder) Close(ctx context.Context) {
	if r == nil {
		return
	}
	r.mu.Lock()
	var queues []*queue
	for _, q := range r.queues {
		queues = append(queues, q)
	}
	r.mu.Unlock()
	for _, q := range queues {
		r.write(ctx, q)
		r.take(q) // a write that failed is not repeated any more
	}
	r.timers.Wait()
}

// maxFailures is how many writes may fail in a row before the changes are dropped.
const maxFailures = 3

func (r *Recorder) write(ctx context.Context, q *queue) {
	q.writing.Lock()
	defer q.writing.Unlock()
	changes, events := r.take(q)
	if len(changes)+len(events) == 0 {
		return
	}
	state, err := r.store.Update(ctx, q.namespace, q.cluster, changes)
	if err == nil {
		r.events.write(ctx, state.Object, bound(events))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.written = time.Now()
	if err == nil {
		q.failures = 0
		return
	}
	q.failures++
	r.log.Warn("the state of a cluster could not be written", "namespace", q.namespace, "cluster", q.cluster,
		"error", err.Error())
	if q.failures < maxFailures {
		q.changes, q.events = append(changes, q.changes...), append(events, q.events...)
		r.schedule(q)
		return
	}
	q.failures = 0
}

// maxEvents is how many events one write makes. A client of Kubernetes makes five requests a second by default, and the
// plugin's other requests wait with them.
const maxEvents = 20

// bound returns the first events, with one in place of the others.
func bound(events []Event) []Event {
	if len(events) <= maxEvents {
		return events
	}
	omitted := len(events) - maxEvents + 1
	return append(events[:maxEvents-1:maxEvents-1], Event{
		Reason: "EventsOmitted", Message: count.Of(omitted, "more event") + "; the rows of machines have the results",
	})
}

// take empties a queue.
func (r *Recorder) take(q *queue) ([]Change, []Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.timer != nil && q.timer.Stop() {
		r.timers.Done()
	}
	q.timer = nil
	changes, events := q.changes, q.events
	q.changes, q.events = nil, nil
	return changes, events
}
