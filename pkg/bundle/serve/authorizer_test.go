package serve

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
)

// apiServer answers with the status it is set to, and counts.
type apiServer struct {
	*httptest.Server
	status atomic.Int32
	asked  atomic.Int32
	header atomic.Value
	path   atomic.Value
}

func startAPIServer(t *testing.T, status int) *apiServer {
	t.Helper()
	api := &apiServer{}
	api.status.Store(int32(status))
	api.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.asked.Add(1)
		api.header.Store(r.Header.Get("Authorization"))
		api.path.Store(r.URL.Path)
		if int(api.status.Load()) == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(int(api.status.Load()))
	}))
	t.Cleanup(api.Close)
	return api
}

func (a *apiServer) authority() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
}

func (a *apiServer) authorizer(t *testing.T) *APIServer {
	t.Helper()
	authorizer, err := NewAPIServer(a.URL, a.authority())
	assert.NilError(t, err)
	return authorizer
}

func TestAPIServerGetsTheCallersToken(t *testing.T) {
	api := startAPIServer(t, http.StatusOK)
	assert.NilError(t, api.authorizer(t).Authorize(t.Context(), secret.New("abc")))
	assert.Equal(t, api.header.Load(), "Bearer abc")
	assert.Equal(t, api.path.Load(), "/api/v1/namespaces/kube-system/configmaps/kubeadm-config")
}

func TestDecisionsAreRememberedForTheirTime(t *testing.T) {
	for status, remembered := range map[int]time.Duration{
		http.StatusOK:           60 * time.Second,
		http.StatusForbidden:    5 * time.Second,
		http.StatusUnauthorized: 5 * time.Second,
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			api := startAPIServer(t, status)
			authorizer := api.authorizer(t)
			now := time.Unix(1000, 0)
			authorizer.now = func() time.Time { return now }
			for _, step := range []struct {
				token string
				after time.Duration
				asked int32
			}{
				{"abc", 0, 1},
				{"abc", 0, 1},
				{"xyz", 0, 2}, // another token is another question
				{"abc", remembered, 2},
				{"abc", time.Second, 3},
			} {
				now = now.Add(step.after)
				err := authorizer.Authorize(t.Context(), secret.New(step.token))
				if status == http.StatusOK {
					assert.NilError(t, err)
				} else {
					assert.ErrorIs(t, err, errRefused)
				}
				assert.Equal(t, api.asked.Load(), step.asked)
			}
		})
	}
}

func TestOtherAnswersAreNotRemembered(t *testing.T) {
	for _, status := range []int{
		http.StatusInternalServerError, http.StatusNotFound, http.StatusTooManyRequests,
		http.StatusFound,
	} {
		api := startAPIServer(t, status)
		authorizer := api.authorizer(t)
		err := authorizer.Authorize(t.Context(), secret.New("abc"))
		assert.ErrorContains(t, err, fmt.Sprintf("it answers %d", status))
		assert.Assert(t, errclass.IsTransient(err))
		api.status.Store(http.StatusOK)
		assert.NilError(t, authorizer.Authorize(t.Context(), secret.New("abc")))
		assert.Equal(t, api.asked.Load(), int32(2))
	}
}

func TestWrongOrMissingAPIServerGetsNoToken(t *testing.T) {
	api, other := startAPIServer(t, http.StatusOK), startAPIServer(t, http.StatusOK)
	authorizer := api.authorizer(t)
	api.Close()
	assert.Assert(t, errclass.IsTransient(authorizer.Authorize(t.Context(), secret.New("abc"))))

	// All test servers of Go have one certificate, so another authority is made of another kind of server.
	imposter, err := NewAPIServer(other.URL, selfSigned(t, "127.0.0.1").pem)
	assert.NilError(t, err)
	assert.ErrorContains(t, imposter.Authorize(t.Context(), secret.New("abc")), "certificate")
	assert.Equal(t, other.asked.Load(), int32(0))
}

func TestInvalidAddressOrAuthorityIsAConfigurationError(t *testing.T) {
	authority := startAPIServer(t, http.StatusOK).authority()
	for _, address := range []string{"", "127.0.0.1:6443", "http://127.0.0.1:6443"} {
		_, err := NewAPIServer(address, authority)
		assert.ErrorContains(t, err, "it is not like https://127.0.0.1:6443")
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
	_, err := NewAPIServer("https://127.0.0.1:6443", []byte("nothing"))
	assert.ErrorContains(t, err, "no PEM certificate")
}

func TestCancelledRequestIsNotRemembered(t *testing.T) {
	api := startAPIServer(t, http.StatusOK)
	authorizer := api.authorizer(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, authorizer.Authorize(ctx, secret.New("abc")), context.Canceled)
	assert.NilError(t, authorizer.Authorize(t.Context(), secret.New("abc")))
}

func TestManyCallersDoNotFillTheMemory(t *testing.T) {
	api := startAPIServer(t, http.StatusOK)
	authorizer := api.authorizer(t)
	now := time.Unix(1000, 0)
	authorizer.now = func() time.Time { return now }
	for i := range maxDecisions {
		authorizer.remember([32]byte{byte(i), byte(i >> 8)}, false)
	}
	authorizer.remember([32]byte{1: 0xff}, true)
	assert.Equal(t, len(authorizer.decisions), 1) // all still counted, so all were dropped
	for i := range maxDecisions - 1 {
		authorizer.remember([32]byte{byte(i), byte(i >> 8), 1}, false)
	}
	now = now.Add(refusedFor + time.Second)
	authorizer.remember([32]byte{2: 2}, true)
	assert.Equal(t, len(authorizer.decisions), 2) // the allowed ones
}
