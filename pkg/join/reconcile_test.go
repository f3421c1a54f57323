package join_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// joinedFacts are those of a machine that finished its join.
func joinedFacts() spec.Facts {
	return spec.Facts{Record: &spec.Record{ClusterUID: "uid", NodeName: "m1"}, Kubelet: spec.Kubelet{NodeName: "m1"}}
}

// differing is the plan of a node whose containerd is configured otherwise than in the documents.
func differing() spec.Status {
	return spec.Status{Total: 9, Phases: []spec.Phase{
		{Name: "preflight", Outcome: spec.Held},
		{Name: "containerd", Outcome: spec.Wanted, Detail: "config has to be written", Changes: []spec.Change{
			{What: "/etc/containerd/config.toml", Diff: "-a\n+b\n", Effect: spec.RestartsContainerd},
		}},
		{Name: "kubeadm", Outcome: spec.Held},
	}}
}

// reconciles makes the machine as wanted by the operation that it starts.
func (m *fakeMachine) reconciles() *fakeMachine {
	m.result = spec.Status{
		State: spec.Succeeded, Total: 9, Changed: true,
		Phases: []spec.Phase{{Name: "containerd", Outcome: spec.Applied}},
	}
	m.onStart = func(spec.Operation) { m.plan = spec.Status{Total: 9, Phases: phases(spec.Held)} }
	return m
}

func TestAReconciliationPutsRightWhatDiffersWithoutAToken(t *testing.T) {
	client := newClient(markedNode("m1"))
	machine := (&fakeMachine{plan: differing(), facts: joinedFacts()}).reconciles()
	joiner := newJoiner(t, machine, client)

	outcome, err := joiner.Reconcile(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Assert(t, outcome.Changed)
	assert.Equal(t, len(machine.started), 1)
	assert.Equal(t, machine.started[0].Secrets.BootstrapToken, "")

	again, err := joiner.Reconcile(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Assert(t, !again.Changed)
	assert.Equal(t, len(machine.started), 1)
}

func TestAnotherPolicyOfCPUsNeedsADrainedNode(t *testing.T) {
	controller := true
	pod := func(name, kind string) *corev1.Pod {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		pod.Spec.NodeName = "m1"
		if kind != "" {
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: "x", Controller: &controller}}
		}
		return pod
	}
	elsewhere, ended, static := pod("elsewhere", ""), pod("ended", "Job"), pod("static", "")
	elsewhere.Spec.NodeName, ended.Status.Phase = "m2", corev1.PodSucceeded
	static.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	for name, tt := range map[string]struct {
		cordoned bool
		pods     []*corev1.Pod
		refused  string
	}{
		"at work": {refused: "node m1 is not cordoned; run kubectl drain m1 --ignore-daemonsets"},
		"cordoned, with a pod": {cordoned: true, pods: []*corev1.Pod{pod("web", "")}, refused: "pod " +
			"default/web is on"},
		"cordoned, with a Set's " +
			"pod": {cordoned: true, pods: []*corev1.Pod{pod("db", "StatefulSet")}, refused: "default/db"},
		"drained": {
			cordoned: true, pods: []*corev1.Pod{pod("proxy", "DaemonSet"), elsewhere, ended, static},
		},
	} {
		t.Run(name, func(t *testing.T) {
			node := markedNode("m1")
			node.Spec.Unschedulable = tt.cordoned
			client := newClient(node)
			for _, pod := range tt.pods {
				_, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
				assert.NilError(t, err)
			}
			plan := differing()
			plan.Phases[1].Changes[0].Effect = spec.NeedsDrain
			machine := (&fakeMachine{plan: plan, facts: joinedFacts()}).reconciles()
			joiner := newJoiner(t, machine, client)
			_, err := joiner.Reconcile(t.Context(), firstMachine(joiner), operation.NewLimiter(1),
				operation.NoProgress{})
			assert.Equal(t, len(machine.started) == 1, tt.refused == "")
			if tt.refused == "" {
				assert.NilError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.refused)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}

func TestAReconciliationThatDoesNotHoldFails(t *testing.T) {
	machine := (&fakeMachine{plan: differing(), facts: joinedFacts()}).reconciles()
	machine.onStart = nil
	joiner := newJoiner(t, machine, newClient(markedNode("m1")))
	_, err := joiner.Reconcile(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.ErrorContains(t, err, "there still differs /etc/containerd/config.toml")
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
}

func TestAMachineThatIsNoNodeYetIsNotReconciled(t *testing.T) {
	for name, machine := range map[string]*fakeMachine{
		"clean": {plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}},
		"of another name": {plan: differing(), facts: spec.Facts{Record: &spec.Record{
			ClusterUID: "uid",
			NodeName:   "other",
		}}},
		"its join was lost": {plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, facts: joinedFacts()},
	} {
		t.Run(name, func(t *testing.T) {
			joiner := newJoiner(t, machine, newClient())
			_, err := joiner.Reconcile(t.Context(), firstMachine(joiner), operation.NewLimiter(1),
				operation.NoProgress{})
			assert.ErrorContains(t, err, "submit workflow join first")
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			assert.Equal(t, len(machine.started), 0)
		})
	}
}

func TestAJoinLeavesAReadyNodeAloneAndReportsDifferences(t *testing.T) {
	machine := (&fakeMachine{plan: differing(), facts: joinedFacts()}).reconciles()
	joiner := newJoiner(t, machine, newClient(markedNode("m1")))
	outcome, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, len(machine.started), 0)
	assert.Assert(t, strings.Contains(outcome.String(), "workflow reconcile puts right: /etc/containerd/config.toml "+
		"(restarts containerd)"), outcome.String())
}

func TestTheDiffsNameMachineFileAndEffect(t *testing.T) {
	joiner := newJoiner(t, &fakeMachine{plan: differing(), facts: joinedFacts()},
		newClient(readyNode("m1", corev1.ConditionTrue)))
	entries, err := joiner.Plan(t.Context(), joiner.Cluster.Fleet.Machines, operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, join.Diffs(entries), `m1: /etc/containerd/config.toml (restarts containerd)
-a
+b
m1: node m1 (without a restart)
+label zone=a
+taint gpu=yes:NoSchedule
`)
	assert.Equal(t, len(join.Differing(entries)), 1)
	assert.Equal(t, len(join.Work(entries)), 1, "a join sets labels and taints")
}

func TestOnlyWhatArgosySetIsTakenAwayFromANode(t *testing.T) {
	node := markedNode("m1")
	node.Annotations["argosy.dev/labels"] = "old,zone"
	node.Annotations["argosy.dev/taints"] = "gpu:NoSchedule,old:NoExecute"
	node.Labels["old"] = "1"
	node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: "old", Effect: corev1.TaintEffectNoExecute})
	client := newClient(node)
	joiner := newJoiner(t, &fakeMachine{plan: spec.Status{Total: 9, Phases: phases(spec.Held)}, facts: joinedFacts()},
		client)

	outcome, err := joiner.Reconcile(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.DeepEqual(t, outcome.Done, []string{"label old removed", "taint old:NoExecute removed"})
	left, err := client.CoreV1().Nodes().Get(t.Context(), "m1", metav1.GetOptions{})
	assert.NilError(t, err)
	assert.DeepEqual(t, left.Labels, map[string]string{"theirs": "stays", "zone": "a"})
	assert.DeepEqual(t, left.Annotations, map[string]string{
		"argosy.dev/labels": "zone",
		"argosy.dev/taints": "gpu:NoSchedule",
	})
	assert.Equal(t, len(left.Spec.Taints), 2, "the other's and the wanted one stay")
}
