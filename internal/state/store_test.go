package state_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/internal/state"
)

// host is a simulated host cluster.
type host struct {
	objects *dynamicfake.FakeDynamicClient
	client  *fake.Clientset
	*state.Store
}

func newHost(objects ...runtime.Object) host {
	h := host{
		objects: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
			map[schema.GroupVersionResource]string{state.Resource: "ClusterStateList"}, objects...),
		client: fake.NewClientset(),
	}
	h.Store = state.NewStore(h.objects, h.client)
	return h
}

// withoutKind makes the host cluster one that does not know ClusterStates.
func (h host) withoutKind(err error) host {
	h.objects.PrependReactor("*", state.Resource.Resource, func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, err
	})
	return h
}

// unknown is the answer of an API server to a path that it does not serve.
var unknown = apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{}, "", "404 page not found", 0, true)

func (h host) states(t *testing.T) []state.State {
	t.Helper()
	states, err := h.List(t.Context(), "")
	assert.NilError(t, err)
	return states
}

func TestAStateIsWrittenAndListed(t *testing.T) {
	forbidden := apierrors.NewForbidden(state.Resource.GroupResource(), "team-a", nil)
	for name, h := range map[string]host{
		"as an object":                newHost(),
		"as a ConfigMap":              newHost().withoutKind(unknown),
		"where objects are forbidden": newHost().withoutKind(forbidden),
	} {
		t.Run(name, func(t *testing.T) {
			for _, cluster := range []string{"team-b", "team-a"} {
				_, err := h.Update(t.Context(), "ns", cluster, []state.Change{observed("m1", state.Ready)})
				assert.NilError(t, err)
			}
			_, err := h.Update(t.Context(), "ns", "team-a", []state.Change{observed("m2", state.NotReady)})
			assert.NilError(t, err)
			states := h.states(t)
			assert.Equal(t, len(states), 2)
			assert.Equal(t, states[0].Cluster+states[1].Cluster, "team-ateam-b")
			assert.Equal(t, states[0].Status.Summary, "1/2")
			assert.Equal(t, states[1].Status.Summary, "1/1")
		})
	}
}

// Two processes that write at once lose nothing: the one that comes second applies its changes to what the first wrote.
func TestWritersThatMeetLoseNothing(t *testing.T) {
	h := newHost()
	met := false
	h.objects.PrependReactor("update", state.Resource.Resource, func(kubetesting.Action) (bool, runtime.Object, error) {
		if met {
			return false, nil, nil
		}
		met = true
		// A reactor may not ask the client that it belongs to.
		other := object(t, []state.Change{observed("other", state.Ready)})
		other.SetNamespace("ns")
		assert.NilError(t, h.objects.Tracker().Update(state.Resource, other, "ns"))
		return true, nil, apierrors.NewConflict(state.Resource.GroupResource(), "team-a", nil)
	})
	_, err := h.Update(t.Context(), "ns", "team-a", []state.Change{observed("mine", state.Ready)})
	assert.NilError(t, err)
	assert.Equal(t, h.states(t)[0].Status.Summary, "2/2")
}

func TestAStateThatHoldsIsNotWrittenAgain(t *testing.T) {
	h := newHost()
	for range 3 {
		_, err := h.Update(t.Context(), "ns", "team-a", []state.Change{
			observed("m1", state.Ready), state.CertificateEnds("a", at),
		})
		assert.NilError(t, err)
	}
	writes := 0
	for _, action := range h.objects.Actions() {
		if action.GetVerb() == "update" {
			writes++
		}
	}
	assert.Equal(t, writes, 1)
}

func TestAForgottenStateIsDeletedIfArgosyMadeIt(t *testing.T) {
	theirs := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argosy.dev/v1alpha1", "kind": "ClusterState",
		"metadata": map[string]any{"name": "theirs", "namespace": "ns"},
	}}
	h := newHost(theirs)
	_, err := h.Update(t.Context(), "ns", "ours", nil)
	assert.NilError(t, err)
	for _, cluster := range []string{"ours", "theirs", "none"} {
		assert.NilError(t, h.Delete(t.Context(), "ns", cluster))
	}
	states := h.states(t)
	assert.Equal(t, len(states), 1)
	assert.Equal(t, states[0].Cluster, "theirs")

	h = newHost().withoutKind(unknown)
	_, err = h.Update(t.Context(), "ns", "ours", nil)
	assert.NilError(t, err)
	assert.NilError(t, h.Delete(t.Context(), "ns", "ours"))
	assert.Equal(t, len(h.states(t)), 0)
}

func manyMachines(count int, message string) []state.Change {
	changes := make([]state.Change, 0, count)
	for i := range count {
		name := fmt.Sprintf("rack-%02d-machine-%04d", i%40, i)
		changes = append(changes, state.Ended(state.End{
			Machine: name, Node: name, Version: "v1.34.14", Operation: "reconcile", State: state.Failed,
			Message: message, At: at,
		}))
	}
	return changes
}

func TestFiveThousandMachinesFitIntoAConfigMap(t *testing.T) {
	const limit = 1 << 20 // of the data of a ConfigMap
	for name, tt := range map[string]struct {
		count   int
		message string
		omitted bool
	}{
		"without messages":  {5000, "", false},
		"with long ones":    {5000, strings.Repeat("é", 500), false},
		"more than may fit": {9000, strings.Repeat("é", 500), true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost().withoutKind(unknown)
			_, err := h.Update(t.Context(), "ns", "team-a", manyMachines(tt.count, tt.message))
			assert.NilError(t, err)
			held, err := h.client.CoreV1().ConfigMaps("ns").Get(t.Context(), state.ConfigMap, metav1.GetOptions{})
			assert.NilError(t, err)
			text := held.Data["team-a.json"]
			assert.Assert(t, len(text) < limit, "%d bytes", len(text))
			var status state.Status
			assert.NilError(t, json.Unmarshal([]byte(text), &status))
			assert.Equal(t, len(status.Machines)+status.Omitted, tt.count)
			assert.Equal(t, status.Omitted > 0, tt.omitted, "%d omitted", status.Omitted)
		})
	}
}

func TestARecorderWritesManyChangesAtOnce(t *testing.T) {
	h := newHost()
	log := slog.New(slog.DiscardHandler)
	recorder := state.NewRecorder(h.Store, &state.Events{Client: h.client, Log: log}, log)
	var group sync.WaitGroup
	const machines = 200
	for i := range machines {
		group.Go(func() { recorder.Record("ns", "team-a", observed(fmt.Sprintf("m%03d", i), state.Ready)) })
	}
	group.Wait()
	recorder.Event("ns", "team-a", state.Event{Warning: true, Reason: "JoinFailed", Message: "m1: no"})
	recorder.Flush(t.Context(), "ns", "team-a")
	assert.Equal(t, h.states(t)[0].Status.Summary, "200/200")
	recorder.Record("ns", "team-a", observed("late", state.Ready))
	recorder.Close(t.Context())
	assert.Equal(t, h.states(t)[0].Status.Summary, "201/201")
	writes := 0
	for _, action := range h.objects.Actions() {
		if action.GetVerb() == "update" {
			writes++
		}
	}
	assert.Assert(t, writes < 10, "%d writes", writes)

	events, err := h.client.CoreV1().Events("ns").List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	assert.Equal(t, len(events.Items), 1)
	event := events.Items[0]
	assert.Equal(t, event.Type+" "+event.Reason, corev1.EventTypeWarning+" JoinFailed")
	assert.Equal(t, event.InvolvedObject.Kind+"/"+event.InvolvedObject.Name, "ClusterState/team-a")
}

func TestAWriteThatFailsIsRepeated(t *testing.T) {
	h := newHost()
	failed := false
	h.objects.PrependReactor("get", state.Resource.Resource, func(kubetesting.Action) (bool, runtime.Object, error) {
		if failed {
			return false, nil, nil
		}
		failed = true
		return true, nil, apierrors.NewInternalError(fmt.Errorf("down"))
	})
	recorder := state.NewRecorder(h.Store, nil, slog.New(slog.DiscardHandler))
	recorder.Record("ns", "team-a", observed("m1", state.Ready))
	recorder.Flush(t.Context(), "ns", "team-a")
	recorder.Flush(t.Context(), "ns", "team-a")
	recorder.Close(t.Context())
	assert.Assert(t, failed)
	assert.Equal(t, h.states(t)[0].Status.Summary, "1/1")
}

func TestAClosedRecorderRepeatsNoWrite(t *testing.T) {
	const maxWrites = 3
	h := newHost()
	reads := 0
	h.objects.PrependReactor("get", state.Resource.Resource, func(kubetesting.Action) (bool, runtime.Object, error) {
		reads++
		return true, nil, apierrors.NewInternalError(errors.New("down"))
	})
	recorder := state.NewRecorder(h.Store, nil, slog.New(slog.DiscardHandler))
	recorder.Record("ns", "team-a", observed("m1", state.Ready))
	recorder.Close(t.Context())
	// The recorder's own write may come before that of Close. A third one would be a repetition.
	assert.Assert(t, reads < maxWrites, "%d writes", reads)
}

func TestAnEventAboutANodeNamesIt(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	cluster := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "m1", UID: "uid"}})
	state.OnNode(t.Context(), cluster, log, "m1", state.Event{Reason: "Joined", Message: "node m1 is Ready"})
	state.OnNode(t.Context(), cluster, log, "gone", state.Event{Reason: "Joined"})
	events, err := cluster.CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	assert.Equal(t, len(events.Items), 1)
	assert.DeepEqual(t, events.Items[0].InvolvedObject,
		corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: "m1", UID: "uid"})
}
