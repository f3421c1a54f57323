package report_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/report"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// sampleStart is when the runs of samples begin.
var sampleStart = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// phase is a phase of a sample, and how long it takes.
type phase struct {
	name    string
	seconds float64
}

// inCluster are the phases of samples that the machine does not carry out itself.
var inCluster = map[string]bool{
	"inspect": true, "wait": true, "retry": true, "cordon": true, "drain": true, "ready": true, "serving": true,
	"labels": true, "uncordon": true,
}

// timelineOf is the timeline of work that begins at a time, made by the recorder of the events that such work reports.
func timelineOf(t *testing.T, begin time.Duration, ran []phase) operation.Timeline {
	var timeline operation.Timeline
	synctest.Test(t, func(*testing.T) {
		recorder := operation.NewRecorder(operation.NoProgress{})
		status := spec.Status{ID: "sample", State: spec.Running}
		for _, p := range ran {
			event := operation.Event{Phase: p.name}
			if !inCluster[p.name] {
				status.Phase = p.name
				event = operation.Phases{operation.MachinePhases}.OfMachine(status)
				status.Phases = append(status.Phases, spec.Phase{Name: p.name, Seconds: p.seconds})
			}
			recorder.Report(event)
			time.Sleep(time.Duration(p.seconds * float64(time.Second)))
		}
		timeline = recorder.Timeline()
	})
	timeline.Started = sampleStart.Add(begin)
	return timeline
}

// step is one step of a sample on a machine.
type step struct {
	template, machine string
	begin             time.Duration
	phases            []phase
	// outcome has further fields of output "report".
	outcome map[string]any
	failure *spec.Error
	message string
}

// workflowOf is a Workflow as Argo stores one that has run the steps.
func workflowOf(t *testing.T, name, template string, steps []step, others ...wfv1.NodeStatus) *wfv1.Workflow {
	w := &wfv1.Workflow{
		TypeMeta: metav1.TypeMeta{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "sample", UID: "u", Labels: map[string]string{"argosy.dev/workflow": template},
		},
		Spec: wfv1.WorkflowSpec{Arguments: wfv1.Arguments{
			Parameters: []wfv1.Parameter{{Name: "cluster", Value: wfv1.AnyStringPtr("sample")}},
		}},
		Status: wfv1.WorkflowStatus{
			Phase: wfv1.WorkflowSucceeded, StartedAt: metav1.NewTime(sampleStart), Nodes: wfv1.Nodes{},
		},
	}
	for _, other := range others {
		w.Status.Nodes[other.ID] = other
	}
	for i, s := range steps {
		timeline := timelineOf(t, s.begin, s.phases)
		fields := map[string]any{"machine": s.machine, "timeline": timeline}
		for key, value := range s.outcome {
			fields[key] = value
		}
		node := wfv1.NodeStatus{
			ID: fmt.Sprintf("%s-%d", name, i), Type: wfv1.NodeTypePlugin, TemplateName: s.template,
			Phase: wfv1.NodeSucceeded, Message: s.message, StartedAt: metav1.NewTime(timeline.Started),
			FinishedAt: metav1.NewTime(timeline.Ended()),
			Inputs: &wfv1.Inputs{Parameters: []wfv1.Parameter{{
				Name: "machine", Value: wfv1.AnyStringPtr(s.machine),
			}}},
		}
		if s.failure != nil {
			fields["failure"] = s.failure
			node.Phase, w.Status.Phase = wfv1.NodeFailed, wfv1.WorkflowFailed
		}
		text, err := json.Marshal(fields)
		assert.NilError(t, err)
		node.Outputs = &wfv1.Outputs{Parameters: []wfv1.Parameter{{
			Name: "report", Value: wfv1.AnyStringPtr(string(text)),
		}}}
		w.Status.Nodes[node.ID] = node
		if node.FinishedAt.After(w.Status.FinishedAt.Time) {
			w.Status.FinishedAt = metav1.NewTime(node.FinishedAt.Add(3 * time.Second))
		}
	}
	return w
}

// clusterNode is a step on the cluster as a whole.
func clusterNode(name string, begin, took time.Duration, message string) wfv1.NodeStatus {
	return wfv1.NodeStatus{
		ID: name, Type: wfv1.NodeTypePlugin, TemplateName: name, Phase: wfv1.NodeSucceeded, Message: message,
		StartedAt:  metav1.NewTime(sampleStart.Add(begin)),
		FinishedAt: metav1.NewTime(sampleStart.Add(begin + took)),
	}
}

// sampleJoin is a join of twelve machines, four at a time, of which one has no room for its bundle and another one is
// slow to receive it.
func sampleJoin(t *testing.T) *wfv1.Workflow {
	var steps []step
	free := [4]float64{4, 4, 4, 4}
	for i := range 12 {
		name, slot := fmt.Sprintf("rack-%d-worker-%d", i/4+1, i%4+1), i%4
		bundle := 9.4 + float64(i*7%5)
		if i == 6 {
			bundle = 48.2
		}
		phases := []phase{
			{"inspect", 1.1},
			{"wait", free[slot] - 4 + 0.2},
			{"preflight", 0.8},
			{"bundle", bundle},
			{"containerd", 2.6},
			{"images", 3.9},
			{"kubelet", 0.7},
			{"kubeadm", 5.2 + float64(i%3)},
			{"healthy", 1.6},
			{"ready", 6.3},
			{"labels", 0.3},
		}
		s := step{
			template: "join-machine", machine: name, begin: 4 * time.Second, phases: phases,
			outcome: map[string]any{
				"node": name, "version": "v1.34.4", "changed": true,
				"done": []string{"bundle, containerd, kubelet, kubeadm applied", "label rack set"},
			},
		}
		if i == 9 {
			s.phases, s.outcome = phases[:4], nil
			s.phases[3].seconds = 6.5
			s.failure = &spec.Error{
				Phase:   "bundle",
				Message: `unpacking "kubernetes-v1.34.4-amd64.tar.gz" to /usr/local/bin: no space left on device`,
				Hint:    "free 412 MB below /usr/local, or set binaries.path of argosy.yaml to a larger file system",
				Command: "df -h /usr/local/bin",
				Tail: []string{
					"Filesystem      Size  Used Avail Use% Mounted on",
					"/dev/vda1       9.8G  9.7G   12M 100% /",
				},
			}
			s.message = "machine " + name + ": phase bundle: no space left on device"
		}
		total := 0.0
		for _, p := range s.phases[2:] {
			total += p.seconds
		}
		free[slot] += total
		steps = append(steps, s)
	}
	return workflowOf(t, "sample-join-7kq2d", "join", steps,
		clusterNode("plan", 0, 4*time.Second, "12 of 12 machines to join"),
		clusterNode("verify", 190*time.Second, 2*time.Second, "11 of 12 machines are Ready nodes"))
}

// sampleUpgrade is an upgrade of nine machines in three waves, of which one is rolled back.
func sampleUpgrade(t *testing.T) *wfv1.Workflow {
	var steps []step
	for i := range 9 {
		begin := time.Duration(6+i/3*95) * time.Second
		s := step{
			template: "upgrade-machine", machine: fmt.Sprintf("gpu-%d", i+1), begin: begin,
			phases: []phase{
				{"inspect", 1.2},
				{"cordon", 0.6},
				{"drain", 14.5 + float64(i*11%9)*3},
				{"preflight", 0.7},
				{"bundle", 0.4},
				{"binaries", 2.2},
				{"kubeadm", 8.1},
				{"kubelet", 4.4},
				{"healthy", 6.1},
				{"ready", 5},
				{"serving", 10},
				{"uncordon", 0.2},
			},
			outcome: map[string]any{
				"node": fmt.Sprintf("gpu-%d", i+1), "from": "v1.34.4", "version": "v1.35.8", "changed": true,
				"done": []string{fmt.Sprintf("%d pods evicted", 3+i), "binaries, kubelet applied"},
			},
		}
		if i == 7 {
			s.phases = append(s.phases[:9:9], phase{"binaries", 2}, phase{"kubelet", 4.9}, phase{"ready", 7})
			s.outcome = map[string]any{"node": "gpu-8", "from": "v1.34.4", "version": "v1.34.4", "rolledBack": true}
			s.failure = &spec.Error{
				Phase: "healthy", Message: "kubelet is not healthy after 1m0s",
				Command: "journalctl -u kubelet -n 50",
				Tail:    []string{`"command failed" err="failed to load kubelet config: unknown field \"cgroupRot\""`},
			}
			s.message = "machine gpu-8: phase healthy: kubelet is not healthy; rolled back to v1.34.4"
		}
		steps = append(steps, s)
	}
	return workflowOf(t, "sample-upgrade-4xw9c", "upgrade", steps,
		clusterNode("upgrade-plan", 0, 5*time.Second, "9 machines in 3 waves to v1.35.8"),
		clusterNode("upgrade-gate", 96*time.Second, 2*time.Second, "wave canary is done"))
}

// sampleThousand is a join of a thousand machines, of which every hundredth fails.
func sampleThousand(t *testing.T) *wfv1.Workflow {
	steps := make([]step, 1000)
	names := strings.Fields("inspect wait preflight bundle modules containerd images registry kubelet kubeadm " +
		"healthy ready labels")
	for i := range steps {
		s := step{
			template: "join-machine", machine: fmt.Sprintf("worker-%04d", i+1),
			outcome: map[string]any{
				"node": fmt.Sprintf("worker-%04d", i+1), "version": "v1.34.4", "changed": true,
				"done": []string{"bundle, containerd, kubelet, kubeadm applied", "label rack set"},
			},
		}
		for j, name := range names {
			s.phases = append(s.phases, phase{name, 0.4 + float64((i*7+j*13)%40)/4})
		}
		s.phases[1].seconds = float64(i / 50 * 60)
		if i%100 == 7 {
			s.failure = &spec.Error{Phase: "kubeadm", Message: "kubeadm join: timed out", Tail: []string{"I0304 token"}}
		}
		steps[i] = s
	}
	return workflowOf(t, "sample-join-thousand", "join", steps)
}

func noMembers(string) ([]report.Member, error) { return nil, nil }
