package restconfig_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/internal/restconfig"
)

// The API server answers
//
//	200              no overload
//	404              no overload: it answers
//	429, 503         an overload, with the time to leave it alone
//	nothing at all   an overload
func TestAnOverloadIsSeenInAnyAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		code   int
		reason string
		after  time.Duration
	}{
		"found":    {http.StatusOK, "", 0},
		"missing":  {http.StatusNotFound, "", 0},
		"too many": {http.StatusTooManyRequests, "it answered 429 Too Many Requests", 7 * time.Second},
		"no room":  {http.StatusServiceUnavailable, "it answered 503 Service Unavailable", 7 * time.Second},
		"none":     {0, "it did not answer: ", 0},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if test.after > 0 {
					w.Header().Set("Retry-After", "7")
				}
				w.WriteHeader(test.code)
				_, _ = w.Write([]byte(`{"kind":"ConfigMap","apiVersion":"v1"}`))
			}))
			if test.code == 0 {
				server.Close()
			}
			t.Cleanup(server.Close)
			var answers restconfig.Answers
			client, err := kubernetes.NewForConfig(answers.Observed(&rest.Config{Host: server.URL, QPS: -1}))
			assert.NilError(t, err)
			var took time.Duration
			// client-go itself would wait for Retry-After and ask again.
			ctx, cancel := context.WithTimeout(restconfig.WithTook(t.Context(), &took), time.Second)
			defer cancel()
			_, _ = client.CoreV1().ConfigMaps("default").Get(ctx, "c", metav1.GetOptions{})
			last := answers.Last()
			assert.Equal(t, !last.At.IsZero(), test.reason != "")
			assert.Assert(t, strings.HasPrefix(last.Reason, test.reason), last.Reason)
			assert.Equal(t, last.RetryAfter, test.after)
			assert.Assert(t, took > 0)
		})
	}
}
