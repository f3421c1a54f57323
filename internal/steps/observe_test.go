package steps

import (
	"fmt"
	"log/slog"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/state"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

const observedFleet = `
apiVersion: argosy.dev/v1alpha1
kind: Fleet
cluster: {kubeconfigSecret: kubeconfig}
machines:
  - {name: m1, address: 192.0.2.1}
  - {name: m2, address: 192.0.2.2}
  - {name: m3, address: 192.0.2.3}
  - {name: m4, address: 192.0.2.4}
`

// observing is an Env that keeps states, and a cluster whose nodes m3 and m4 exist.
func observing(t *testing.T) (*Env, *state.Store, *fake.Clientset, *join.Joiner) {
	t.Helper()
	log, host := slog.New(slog.DiscardHandler), fake.NewClientset()
	store := state.NewStore(dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{state.Resource: "ClusterStateList"}), host)
	env := NewEnv(Openers{}, log)
	env.State = state.NewRecorder(store, &state.Events{Client: host, Log: log}, log)
	cluster, err := config.Parse("a", []byte("privateNodes: {enabled: true}\n"), []byte(observedFleet))
	assert.NilError(t, err)
	node := func(name string) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.34.3"}},
		}
	}
	target := &join.Target{Client: fake.NewClientset(node("m3"), node("m4")), Version: "v1.34.4"}
	return env, store, host, &join.Joiner{Cluster: cluster, Version: "v1.34.4", Target: target}
}

var observedCall = plugin.Call{Workflow: plugin.Workflow{Namespace: "team-a", Name: "w"}}

// rows returns a line for each row of the one cluster.
func rows(t *testing.T, env *Env, store *state.Store) []string {
	t.Helper()
	env.State.Flush(t.Context(), "team-a", "a")
	states, err := store.List(t.Context(), "team-a")
	assert.NilError(t, err)
	assert.Equal(t, len(states), 1)
	var lines []string
	for _, row := range states[0].Status.Machines {
		lines = append(lines, fmt.Sprintf("%s %s %s drifted=%t %s", row.Name, row.State, row.Version, row.Drifted,
			row.Message))
	}
	return lines
}

func reasonsOf(t *testing.T, client *fake.Clientset) []string {
	t.Helper()
	events, err := client.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	var found []string
	for _, event := range events.Items {
		found = append(found, event.Reason+" "+event.InvolvedObject.Name+": "+event.Message)
	}
	return found
}

func TestAPlanRecordsEveryMachineAndItsRefusals(t *testing.T) {
	env, store, host, joiner := observing(t)
	env.observePlan(t.Context(), observedCall, joiner, []join.Entry{
		{Machine: "m1", Node: "m1", Action: join.ActionJoin, Version: "v1.34.4", Reasons: []string{"will do: kubeadm"}},
		{Machine: "m2", Node: "m2", Action: join.ActionReconcile, Version: "v1.34.4", Reasons: []string{"a file"}},
		{
			Machine: "m3", Node: "m3", Action: join.ActionRefuse, Version: "v1.34.4",
			Reasons: []string{"no route to host"},
		},
		{Machine: "m4", Node: "m4", Action: join.ActionUpgrade, Version: "v1.34.4", Reasons: []string{"is at v1.34.3"}},
	})
	assert.DeepEqual(t, rows(t, env, store), []string{
		"m1 Pending  drifted=false will do: kubeadm", "m2 Ready v1.34.4 drifted=true a file",
		"m3 Refused v1.34.3 drifted=false no route to host", "m4 Ready v1.34.3 drifted=false ",
	})
	assert.DeepEqual(t, reasonsOf(t, host), []string{"Refused a: 1 of 4 machines refused: m3: no route to host"})
	assert.DeepEqual(t, reasonsOf(t, joiner.Target.Client.(*fake.Clientset)),
		[]string{"Refused m3: 1 of 1 machine refused: m3: no route to host"})
}

func TestAnUpgradePlanBeginsARolloutUnlessItIsADryRun(t *testing.T) {
	for _, dryRun := range []bool{false, true} {
		env, store, _, joiner := observing(t)
		preview := upgrade.Preview{
			Version: "v1.34.4",
			Plan:    rollout.Plan{Waves: []rollout.Wave{{Name: "canary", Machines: []string{"m3"}}}},
			Entries: []upgrade.Entry{{Machine: "m3", Node: "m3", From: "v1.34.3"}},
		}
		env.observeUpgradePlan(observedCall, &upgrade.Upgrader{Joiner: joiner}, preview, dryRun)
		assert.DeepEqual(t, rows(t, env, store), []string{"m3 Ready v1.34.3 drifted=false "})
		states, err := store.List(t.Context(), "team-a")
		assert.NilError(t, err)
		assert.Equal(t, states[0].Status.Rollout == nil, dryRun)
	}
}
