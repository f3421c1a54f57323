package store

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"gotest.tools/v3/assert"
)

// benchWatches are about as many as an API server has, one for each resource.
const benchWatches = 80

// BenchmarkStores measures how many updates a second of 2 kB a store takes from how many writers at once, and the time
// within which 99 of 100 are answered. Its disk is the one of the test's folder, and every write is synced.
func BenchmarkStores(b *testing.B) {
	for name, open := range map[string]func(*testing.B) *clientv3.Client{
		"sqlite": func(b *testing.B) *clientv3.Client {
			return kineProcess(b, filepath.Join(b.TempDir(), "state.db")).client
		},
		"etcd": func(b *testing.B) *clientv3.Client { return newEtcds(b, 1).start(b, 0, MemberFounds).client },
	} {
		for _, writers := range []int{1, 4, 16, 64} {
			b.Run(fmt.Sprintf("%s/%d", name, writers), func(b *testing.B) { measure(b, open(b), writers) })
		}
	}
}

// measure has writers share b.N updates, each of keys of its own.
func measure(b *testing.B, client *clientv3.Client, writers int) {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	for i := range benchWatches {
		watch := client.Watch(ctx, fmt.Sprintf("/registry/kind-%d/", i), clientv3.WithPrefix())
		go func() {
			for range watch { // events are received and dropped
			}
		}()
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	var took []time.Duration
	b.ResetTimer()
	for w := range writers {
		group.Go(func() {
			own, revision := make([]time.Duration, 0, b.N/writers+1), int64(0)
			for i := w; i < b.N; i += writers {
				begun := time.Now()
				revision = update(b, client, fmt.Sprintf("/registry/kind-%d/writer-%d", w%benchWatches, w), revision)
				own = append(own, time.Since(begun))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
		})
	}
	group.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// update writes a key as an API server does and returns its new revision.
func update(b *testing.B, client *clientv3.Client, key string, revision int64) int64 {
	write := client.Txn(b.Context()).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpPut(key, strings.Repeat("x", 2000)))
	if revision > 0 {
		write = write.Else(clientv3.OpGet(key))
	}
	answer, err := write.Commit()
	if !assert.Check(b, err) || !assert.Check(b, answer.Succeeded) {
		return revision
	}
	return answer.Header.Revision
}
