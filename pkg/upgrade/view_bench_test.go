package upgrade

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// nodeServer lists nodes m1, m2, … as an API server does, each as large as one that has run for a while: some 18 KB.
type nodeServer struct {
	nodes         int
	before, after string
	requests      atomic.Int64
}

const nameMark = "NAME-OF-THE-NODE"

func newNodeServer(b *testing.B, nodes int) *nodeServer {
	b.Helper()
	node := corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{
			Name: nameMark, Labels: map[string]string{"topology.kubernetes.io/zone": "a", "kubernetes.io/os": "linux"},
			ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: "kubelet",
				FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:status":{` + strings.Repeat(`"f:a":{},`, 200) +
					`"f:b":{}}}`)},
			}},
		},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			NodeInfo:   corev1.NodeSystemInfo{KubeletVersion: "v1.33.13"},
		},
	}
	for i := range 50 { // as many as the kubelet reports
		name := fmt.Sprintf("registry.example.com/team-of-many/application-%d", i)
		node.Status.Images = append(node.Status.Images, corev1.ContainerImage{
			Names:     []string{name + "@sha256:" + strings.Repeat("0", 64), name + ":v1.2.3", name + ":latest"},
			SizeBytes: 100 << 20,
		})
	}
	text, err := json.Marshal(node)
	assert.NilError(b, err)
	before, after, found := strings.Cut(string(text), nameMark)
	assert.Assert(b, found)
	return &nodeServer{nodes: nodes, before: before, after: after}
}

func (s *nodeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	w.Header().Set("Content-Type", "application/json")
	if !strings.HasSuffix(r.URL.Path, "/nodes") {
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
		return
	}
	first, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	end := s.nodes
	if limit, _ := strconv.Atoi(r.URL.Query().Get("limit")); limit > 0 {
		end = min(end, first+limit)
	}
	next := ""
	if end < s.nodes {
		next = strconv.Itoa(end)
	}
	_, _ = fmt.Fprintf(w, `{"kind":"NodeList","apiVersion":"v1","metadata":{"continue":%q},"items":[`, next)
	for i := first; i < end; i++ {
		if i > first {
			_, _ = fmt.Fprint(w, ",")
		}
		_, _ = fmt.Fprint(w, s.before, "m", i+1, s.after)
	}
	_, _ = fmt.Fprint(w, "]}")
}

// upgrader returns an Upgrader of a fleet with as many machines as the server has nodes, all in one wave.
func (s *nodeServer) upgrader(b *testing.B) (*Upgrader, *rollout.Plan) {
	b.Helper()
	at := httptest.NewServer(s)
	b.Cleanup(at.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: at.URL, QPS: -1})
	assert.NilError(b, err)
	var documents strings.Builder
	documents.WriteString("apiVersion: argosy.dev/v1alpha1\nkind: Fleet\nssh: {trustOnFirstUse: true}\nmachines:\n")
	wave := rollout.Wave{Name: "1"}
	for i := range s.nodes {
		name := fmt.Sprintf("m%d", i+1)
		_, _ = fmt.Fprintf(&documents, "  - {name: %s, address: 10.0.%d.%d}\n", name, i/250, i%250+1)
		wave.Machines = append(wave.Machines, name)
	}
	cluster, err := config.Parse("team-a", []byte("networking: {podCIDR: 10.128.0.0/12}\n"+
		"privateNodes: {enabled: true}\ncontrolPlane: {distro: {k8s: {version: v1.34.4}}}\n"),
		[]byte(documents.String()+"upgrade: {nodeGrace: 0s, canaries: m1}\n"))
	assert.NilError(b, err)
	return &Upgrader{Rollout: "rollout-1", Joiner: &join.Joiner{
		Cluster: cluster, Version: "v1.34.4", Target: &join.Target{Client: client},
	}}, &rollout.Plan{MaxUnavailable: 1, Waves: []rollout.Wave{wave}}
}

// watchHeap samples the bytes of the heap's objects until the returned function is called, which returns the most.
func watchHeap() (most func() float64) {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	stop, result := make(chan struct{}), make(chan float64)
	go func() {
		peak := uint64(0)
		for {
			metrics.Read(sample)
			peak = max(peak, sample[0].Value.Uint64())
			select {
			case <-stop:
				result <- float64(peak)
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() float64 { close(stop); return <-result }
}

// BenchmarkWaitersOfAWave has machines of a wave ask for their turn in one tick after another, while m1 is at work and
// no other may begin.
func BenchmarkWaitersOfAWave(b *testing.B) {
	for _, size := range []struct{ nodes, waiters int }{{100, 25}, {500, 25}, {1000, 50}, {1000, 999}} {
		b.Run(fmt.Sprintf("nodes=%d/waiters=%d", size.nodes, size.waiters), func(b *testing.B) {
			server := newNodeServer(b, size.nodes)
			u, plan := server.upgrader(b)
			u.record.read = true
			u.record.states = map[string]state{"m1": {Rollout: "rollout-1", State: rollout.Working}}
			most := watchHeap()
			for b.Loop() {
				tick := time.Now()
				var group sync.WaitGroup
				for i := range size.waiters {
					group.Go(func() {
						decision, err := u.decide(b.Context(), u.Cluster.Fleet.Machines[i+1], plan, tick)
						assert.Check(b, err)
						assert.Check(b, decision.Verdict == rollout.Wait, decision.Reason)
					})
				}
				group.Wait()
			}
			b.ReportMetric(most()/1e6, "peak-MB")
			b.ReportMetric(float64(server.requests.Load())/float64(b.N), "requests/op")
		})
	}
}
