package restconfig_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/internal/restconfig"
)

// guarded is an API server that makes ConfigMaps for one token.
type guarded struct {
	mu      sync.Mutex
	accepts string
	// asked are the tokens that came, in order.
	asked []string
}

func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	g.asked = append(g.asked, token)
	w.Header().Set("Content-Type", "application/json")
	if token != g.accepts {
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
			Status:   "Failure", Reason: metav1.StatusReasonUnauthorized, Code: http.StatusUnauthorized,
		})
		return
	}
	sent, _ := io.ReadAll(r.Body)
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(sent)
}

// newClient returns a client that begins with token "old", and reads token when that is refused; reads counts that.
func newClient(t *testing.T, server *guarded, token *string, reads *int) kubernetes.Interface {
	t.Helper()
	at := httptest.NewServer(server)
	t.Cleanup(at.Close)
	config := &rest.Config{Host: at.URL, BearerToken: "old", QPS: -1, ContentConfig: rest.ContentConfig{
		ContentType: "application/json",
	}}
	client, err := kubernetes.NewForConfig(restconfig.Renewing(config, func(context.Context) (*rest.Config, error) {
		*reads++
		if *token == "" {
			return nil, errors.New("the Secret is gone")
		}
		return &rest.Config{Host: "https://192.0.2.99", BearerToken: *token}, nil
	}))
	assert.NilError(t, err)
	return client
}

func create(t *testing.T, client kubernetes.Interface) error {
	t.Helper()
	made, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: "c"}, Data: map[string]string{"key": "value"},
	}, metav1.CreateOptions{})
	if err == nil {
		assert.Equal(t, made.Data["key"], "value", "the body is sent again")
	}
	return err
}

// The kubeconfig has by then
//
//	a token that is accepted     the request succeeds, and the next ones use it at once
//	the same token               the request fails, and the kubeconfig is not read for the next one
//	another one that is not      the request fails, after two attempts
//	gone                         the request fails
func TestCredentialsThatAreRefusedAreReadAgainOnce(t *testing.T) {
	for name, test := range map[string]struct {
		token string
		fails bool
		asked []string
	}{
		"a new token":     {"new", false, []string{"old", "new", "new"}},
		"the same token":  {"old", true, []string{"old", "old"}},
		"a refused token": {"other", true, []string{"old", "other", "other"}},
		"no Secret":       {"", true, []string{"old", "old"}},
	} {
		t.Run(name, func(t *testing.T) {
			server, reads := &guarded{accepts: "new"}, 0
			client := newClient(t, server, &test.token, &reads)
			for range 2 {
				assert.Equal(t, create(t, client) != nil, test.fails)
			}
			assert.DeepEqual(t, server.asked, test.asked)
			assert.Equal(t, reads, 1)
		})
	}
}

func TestRequestsRefusedAtOnceReadTheKubeconfigOnce(t *testing.T) {
	server, token, reads := &guarded{accepts: "new"}, "new", 0
	client := newClient(t, server, &token, &reads)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { assert.Check(t, create(t, client)) })
	}
	group.Wait()
	assert.Equal(t, reads, 1)
	assert.Equal(t, len(slices.DeleteFunc(server.asked, func(t string) bool { return t != "new" })), 20)
}
