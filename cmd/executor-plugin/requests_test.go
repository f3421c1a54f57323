package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestRequestsToAPIServersAreShown(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/missing") {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(`{"kind":"ConfigMap","apiVersion":"v1"}`))
	}))
	t.Cleanup(server.Close)
	registry := prometheus.NewRegistry()
	assert.NilError(t, showRequests(registry))
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	assert.NilError(t, err)
	for _, name := range []string{"a", "b", "missing"} {
		_, _ = client.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{})
	}
	shown, err := registry.Gather()
	assert.NilError(t, err)
	counted := map[string]float64{}
	waits := uint64(0)
	for _, family := range shown {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "rest_client_requests_total" {
				code, method := metric.GetLabel()[0].GetValue(), metric.GetLabel()[2].GetValue()
				counted[code+" "+method] += metric.GetCounter().GetValue()
			} else {
				waits += metric.GetHistogram().GetSampleCount()
			}
		}
	}
	assert.DeepEqual(t, counted, map[string]float64{"200 GET": 2, "404 GET": 1})
	assert.Equal(t, waits, uint64(3))
}
