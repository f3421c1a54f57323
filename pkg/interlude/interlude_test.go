package interlude_test

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"argosy.dev/argosy/pkg/interlude"
)

func client(t *testing.T) kubernetes.Interface {
	t.Helper()
	server := httptest.NewServer(interlude.Handler())
	t.Cleanup(server.Close)
	made, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	assert.NilError(t, err)
	return made
}

func TestARevisionFromBeforeIsGoneAndEverythingElseIsNotThereYet(t *testing.T) {
	pods := client(t).CoreV1().Pods("default")
	_, err := pods.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "4711"})
	assert.Assert(t, apierrors.IsResourceExpired(err), "%v", err)
	_, err = pods.List(t.Context(), metav1.ListOptions{ResourceVersion: "4711"})
	assert.Assert(t, apierrors.IsResourceExpired(err), "%v", err)
	_, err = pods.List(t.Context(), metav1.ListOptions{})
	assert.Assert(t, apierrors.IsServiceUnavailable(err), "%v", err)
	assert.ErrorContains(t, err, "being restored from a backup")
	_, err = pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	assert.Assert(t, apierrors.IsServiceUnavailable(err), "%v", err)
}

// lists records with which revision a reflector lists.
type lists struct {
	mu        sync.Mutex
	revisions []string
	interlude kubernetes.Interface
}

func (l *lists) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revisions = append(l.revisions, options.ResourceVersion)
	if len(l.revisions) == 1 {
		return &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "4711"}}, nil
	}
	return l.interlude.CoreV1().Pods("default").List(ctx, options)
}

// This is what the package is for: client-go itself, which knew revision 4711, asks for the whole state.
func TestAReflectorThatMeetsAnInterludeListsAnewWithoutItsRevision(t *testing.T) {
	seen := &lists{interlude: client(t)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reflector := cache.NewReflector(&cache.ListWatch{
		ListWithContextFunc: seen.list,
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return seen.interlude.CoreV1().Pods("default").Watch(ctx, options)
		},
	}, &corev1.Pod{}, cache.NewStore(cache.MetaNamespaceKeyFunc), 0)
	done := make(chan struct{})
	go func() { defer close(done); reflector.RunWithContext(ctx) }()
	for ctx.Err() == nil {
		seen.mu.Lock()
		if n := len(seen.revisions); n >= 3 && seen.revisions[n-1] == "" {
			cancel()
		}
		seen.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	<-done
	assert.DeepEqual(t, seen.revisions[:3], []string{"0", "4711", ""})
}
