package store

import (
	"context"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
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

	"argosy.dev/argosy/internal/pki"
)

func holdingClient(t *testing.T) kubernetes.Interface {
	t.Helper()
	server := httptest.NewServer(holdingHandler())
	t.Cleanup(server.Close)
	made, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	assert.NilError(t, err)
	return made
}

func TestHoldingServerAnswersGoneToRevisionsElseUnavailable(t *testing.T) {
	pods := holdingClient(t).CoreV1().Pods("default")
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

// lister records the revisions that a reflector lists at. After the first list it asks the holding server.
type lister struct {
	mu        sync.Mutex
	revisions []string
	holding   kubernetes.Interface
}

func (l *lister) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revisions = append(l.revisions, options.ResourceVersion)
	if len(l.revisions) == 1 {
		return &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "4711"}}, nil
	}
	return l.holding.CoreV1().Pods("default").List(ctx, options)
}

// The purpose of the server: client-go itself, which remembers revision 4711, asks for the whole state.
func TestReflectorListsWithoutItsRevisionAfterTheHoldingServer(t *testing.T) {
	seen := &lister{holding: holdingClient(t)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reflector := cache.NewReflector(&cache.ListWatch{
		ListWithContextFunc: seen.list,
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return seen.holding.CoreV1().Pods("default").Watch(ctx, options)
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

func TestHoldingServerEndsWithItsContext(t *testing.T) {
	authority, err := pki.NewAuthority("kubernetes", time.Now())
	assert.NilError(t, err)
	pair, err := authority.Issue(pki.Leaf{
		CommonName: "kube-apiserver", Hosts: []string{"127.0.0.1"},
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, time.Now())
	assert.NilError(t, err)
	cert, key := filepath.Join(t.TempDir(), "apiserver.crt"), filepath.Join(t.TempDir(), "apiserver.key")
	assert.NilError(t, os.WriteFile(cert, pair.Cert, 0o600))
	assert.NilError(t, os.WriteFile(key, pair.Key, 0o600))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	address := free.Addr().String()

	err = ServeHolding(t.Context(), address, cert, key)
	assert.ErrorContains(t, err, "address already in use")

	assert.NilError(t, free.Close())
	ctx, end := context.WithCancel(t.Context())
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- ServeHolding(ctx, address, cert, key) }()
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host:            "https://" + address,
		TLSClientConfig: rest.TLSClientConfig{CAData: authority.Cert},
	})
	assert.NilError(t, err)
	for {
		_, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{ResourceVersion: "4711"})
		if apierrors.IsResourceExpired(err) {
			break
		}
		assert.ErrorContains(t, err, "connection refused") // it does not listen yet
		time.Sleep(10 * time.Millisecond)
	}
	end()
	assert.NilError(t, <-ended)
}
