package join_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/ssh"
)

const (
	version = "v1.34.4"
	digest  = "0000000000000000000000000000000000000000000000000000000000000000"
)

// fakeMachine stands in for a machine: it answers as argosy-node would and records the requests.
type fakeMachine struct {
	mu sync.Mutex
	// plan is the answer of inspect: the phases, or the problems.
	plan spec.Status
	// facts beside the plan.
	facts spec.Facts
	// inspectErrors are returned first, one a call.
	inspectErrors []error
	// result of the operation once it is started.
	result spec.Status
	// onStart runs when the operation starts, e.g. to register the node.
	onStart func(spec.Operation)
	// onJoined, when set, runs after the operation told that kubeadm is done, and before it ends.
	onJoined func()
	// inKubeadm, when set, runs after the operation told that kubeadm runs, until the machine has its credentials.
	inKubeadm func(spec.Operation)
	// arrives, when set, is closed by the bundle, and Watch ends no sooner.
	arrives chan struct{}
	// watchErrors are returned by Watch first, one a call; the operation goes on meanwhile.
	watchErrors []error
	// watching blocks Watch until its context ends.
	watching chan struct{}

	// feeds runs once the machine is fed.
	feeds func(ctx context.Context, open feed.Open) error

	// asks, when set, has the operation ask for an archive, and Watch not end before what came of it is there.
	asks chan string

	// waits, when set, has an operation that is to ask wait until it is admitted.
	waits chan struct{}
	// working is for how long the operation has run by then.
	working time.Duration

	started   []spec.Operation
	admitted  int
	fed       int
	cancelled []string
	pushed    []spec.Bundle
}

func (m *fakeMachine) Inspect(_ context.Context, question spec.Question) (spec.Facts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.inspectErrors) > 0 {
		err := m.inspectErrors[0]
		m.inspectErrors = m.inspectErrors[1:]
		return spec.Facts{}, err
	}
	facts, plan := m.facts, m.plan
	facts.Arch = "amd64"
	plan.ID = question.Operations["amd64"].ID
	facts.Plan = &plan
	return facts, nil
}

func (m *fakeMachine) Start(_ context.Context, op spec.Operation) (spec.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started = append(m.started, op)
	if m.onStart != nil {
		m.onStart(op)
	}
	return spec.Status{ID: op.ID, State: spec.Running, Total: 9, Spread: op.Spread}, nil
}

func (m *fakeMachine) Watch(ctx context.Context, _ string, each func(spec.Status)) (spec.Status, error) {
	m.mu.Lock()
	stopped := len(m.cancelled) > 0
	if len(m.watchErrors) > 0 {
		err := m.watchErrors[0]
		m.watchErrors = m.watchErrors[1:]
		m.facts.Working = m.started[0].ID
		m.mu.Unlock()
		return spec.Status{State: spec.Running}, err
	}
	m.mu.Unlock()
	if m.watching != nil && !stopped {
		close(m.watching)
		<-ctx.Done()
		return spec.Status{State: spec.Running}, context.Cause(ctx)
	}
	if m.arrives != nil {
		<-m.arrives
	}
	if m.waits != nil && m.started[len(m.started)-1].Admission {
		began := time.Now()
		each(spec.Status{
			State: spec.Running, Phase: "kubeadm", AwaitsAdmission: true, Phases: bundleThere(),
			Started: began, Updated: began.Add(m.working),
		})
		select {
		case <-m.waits:
		case <-ctx.Done():
			return spec.Status{State: spec.Running}, context.Cause(ctx)
		}
	}
	if m.inKubeadm != nil {
		each(spec.Status{State: spec.Running, Phase: "kubeadm"})
		m.inKubeadm(m.started[len(m.started)-1])
	}
	if m.onJoined != nil {
		each(spec.Status{State: spec.Running, Phase: "post-join", Phases: phases(spec.Applied)})
		m.onJoined()
	}
	if m.asks != nil {
		each(spec.Status{State: spec.Running, Phase: "images", Feed: "key"})
		each(spec.Status{State: spec.Running, Phase: "images", Feed: "key"})
		if got := <-m.asks; got != "archive" {
			return spec.Status{}, fmt.Errorf("was sent %q", got)
		}
	}
	each(m.result)
	return m.result, nil
}

func (m *fakeMachine) Cancel(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancelled = append(m.cancelled, id)
	return nil
}

func (m *fakeMachine) Admit(context.Context, string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.admitted++
	close(m.waits)
	return nil
}

func (m *fakeMachine) Feed(ctx context.Context, _ string, open feed.Open) error {
	m.mu.Lock()
	m.fed++
	m.mu.Unlock()
	if m.feeds == nil {
		return nil
	}
	return m.feeds(ctx, open)
}

func (m *fakeMachine) PushBundle(_ context.Context, bundle spec.Bundle, open func(int64) (io.ReadCloser, error),
	_ func(int64, int64),
) error {
	content, err := open(0)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pushed = append(m.pushed, bundle)
	if m.arrives != nil {
		close(m.arrives)
	}
	return nil
}

// bundleThere are the phases of a machine that has received its bundle.
func bundleThere() []spec.Phase { return []spec.Phase{{Name: "bundle", Outcome: spec.Applied}} }

func phases(outcome spec.Outcome) []spec.Phase {
	return []spec.Phase{
		{Name: "preflight", Outcome: spec.Held},
		{Name: "bundle", Outcome: outcome},
		{Name: "kubeadm", Outcome: outcome},
	}
}

func succeeded() spec.Status {
	return spec.Status{State: spec.Succeeded, Total: 9, Changed: true, Phases: phases(spec.Applied)}
}

// readyNode is a node as the API server shows it once all is well.
func readyNode(name string, ready corev1.ConditionStatus) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"theirs": "stays"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "theirs", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{
			NodeInfo: corev1.NodeSystemInfo{KubeletVersion: version, ContainerRuntimeVersion: "containerd://2.2.9"},
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: ready,
				Message: "container runtime is down\nand more",
			}},
		},
	}
}

// markedNode is a Ready node with the labels and taints of the documents.
func markedNode(name string) *corev1.Node {
	node := readyNode(name, corev1.ConditionTrue)
	node.Labels["zone"] = "a"
	node.Annotations = map[string]string{"argosy.dev/labels": "zone", "argosy.dev/taints": "gpu:NoSchedule"}
	node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{
		Key: "gpu", Value: "yes",
		Effect: corev1.TaintEffectNoSchedule,
	})
	return node
}

// newJoiner makes a Joiner for machine m1 with a repository that serves one bundle, and the given machine behind it.
func newJoiner(t *testing.T, machine *fakeMachine, client kubernetes.Interface) *join.Joiner {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "-amd64.tar.gz") {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "bundle")
	}))
	t.Cleanup(server.Close)
	fleet := fmt.Sprintf(`
apiVersion: argosy.dev/v1alpha1
kind: Fleet
cluster: {kubeconfigSecret: kubeconfig}
machines:
  - {name: m1, address: 192.0.2.1, labels: {zone: a}, taints: [{key: gpu, value: "yes", effect: NoSchedule}]}
bundles: {repository: %q, sha256: {kubernetes-v1.34.4-amd64.tar.gz: %q}, delivery: push}
`, server.URL, digest)
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), []byte(fleet))
	assert.NilError(t, err)
	return &join.Joiner{
		Cluster: cluster,
		Target: &join.Target{
			Client: client, Server: "https://192.0.2.9:6443", CACert: "PEM", UID: "uid",
			Version: version, CgroupDriver: "systemd",
		},
		Repository: &bundle.Repository{URL: server.URL, Format: "tar.gz", SHA256: cluster.Fleet.Bundles.SHA256},
		Version:    version,
		Machine:    func(config.Machine) join.Machine { return machine },
		Runner:     operation.Runner{Detached: func(cause error) bool { return errors.Is(cause, errDetach) }},
	}
}

// newManyJoiner makes a Joiner for as many machines, m1 to mN.
func newManyJoiner(t *testing.T, client kubernetes.Interface, machines []*fakeMachine) *join.Joiner {
	t.Helper()
	joiner := newJoiner(t, nil, client)
	one := joiner.Cluster.Fleet.Machines[0]
	joiner.Cluster.Fleet.Machines = nil
	byName := map[string]*fakeMachine{}
	for i, machine := range machines {
		one.Name = fmt.Sprintf("m%d", i+1)
		one.NodeName, one.Address = one.Name, fmt.Sprintf("192.0.2.%d", i+1)
		joiner.Cluster.Fleet.Machines = append(joiner.Cluster.Fleet.Machines, one)
		byName[one.Name] = machine
	}
	joiner.Machine = func(m config.Machine) join.Machine { return byName[m.Name] }
	return joiner
}

// newClient is a cluster of which the account of the kubeconfig is the administrator.
func newClient(objects ...runtime.Object) *fake.Clientset {
	return mayApprove(fake.NewClientset(objects...))
}

var errDetach = errors.New("detach")

func tokens(t *testing.T, client kubernetes.Interface) []corev1.Secret {
	t.Helper()
	list, err := client.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	return list.Items
}

func firstMachine(joiner *join.Joiner) config.Machine { return joiner.Cluster.Fleet.Machines[0] }

func TestPlanWaitsForAMachineThatBoots(t *testing.T) {
	booting := func() *fakeMachine {
		return &fakeMachine{inspectErrors: []error{errclass.Errorf(errclass.Transient, "connection refused")}}
	}
	plan := func(machine *fakeMachine, client kubernetes.Interface, timeout string) (join.Entry, string) {
		joiner := newJoiner(t, machine, client)
		duration, err := time.ParseDuration(timeout)
		assert.NilError(t, err)
		joiner.Cluster.Fleet.Machines[0].SSH.StartupTimeout = &metav1.Duration{Duration: duration}
		var lines []string
		entries, err := joiner.Plan(t.Context(), joiner.Cluster.Fleet.Machines,
			operation.AsText(func(line string) { lines = append(lines, line) }))
		assert.NilError(t, err)
		return entries[0], strings.Join(lines, "\n")
	}
	entry, lines := plan(booting(), newClient(), "1m")
	assert.Assert(t, entry.Action != join.ActionRefuse, entry.Reasons)
	assert.Assert(t, strings.Contains(lines, "waiting for the sshd of m1, 0s of 1m0s used: connection refused"), lines)

	entry, _ = plan(booting(), newClient(), "0s")
	assert.Equal(t, entry.Action, join.ActionRefuse)
	entry, _ = plan(booting(), newClient(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "m1"}}), "1m")
	assert.Equal(t, entry.Action, join.ActionRefuse, "its node shows that it has answered before")
}

func TestJoinWaitsForAMachineThatBoots(t *testing.T) {
	refused := errclass.With(errclass.Configuration, &ssh.AuthError{Host: "m1", User: "ops"})
	for wait, want := range map[time.Duration]string{time.Minute: "not done", 0: "login as"} {
		machine := &fakeMachine{inspectErrors: []error{refused}}
		machine.plan = spec.Status{Error: &spec.Error{Class: errclass.Permanent, Message: "not done"}}
		joiner := newJoiner(t, machine, newClient())
		joiner.Cluster.Fleet.SSH.StartupTimeout = &metav1.Duration{Duration: wait}
		_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
		assert.ErrorContains(t, err, want)
	}
}

func TestAJoinLeavesAMarkedReadyNodeAndNoToken(t *testing.T) {
	client := newClient()
	machine := &fakeMachine{
		plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, result: succeeded(),
		arrives: make(chan struct{}),
	}
	machine.onStart = func(op spec.Operation) {
		held := tokens(t, client)
		assert.Check(t, len(held) == 1 && held[0].Labels[join.MachineLabel] == "m1")
		assert.Check(t, op.Secrets.BootstrapToken != "")
		_, err := client.CoreV1().Nodes().Create(t.Context(), readyNode("m1", corev1.ConditionTrue),
			metav1.CreateOptions{})
		assert.Check(t, err)
	}
	joiner := newJoiner(t, machine, client)

	outcome, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Assert(t, outcome.Changed)
	assert.Equal(t, len(machine.pushed), 1)
	assert.Equal(t, len(tokens(t, client)), 0)

	node, err := client.CoreV1().Nodes().Get(t.Context(), "m1", metav1.GetOptions{})
	assert.NilError(t, err)
	assert.DeepEqual(t, node.Labels, map[string]string{"theirs": "stays", "zone": "a"})
	assert.Equal(t, len(node.Spec.Taints), 2)
}

func TestATokenEndsAsSoonAsTheMachineHasJoined(t *testing.T) {
	client := newClient()
	machine := &fakeMachine{plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, result: succeeded()}
	machine.onStart = func(spec.Operation) {
		held := tokens(t, client)
		assert.Check(t, len(held) == 1)
		ends, err := time.Parse(time.RFC3339, held[0].StringData["expiration"])
		assert.Check(t, err)
		assert.Check(t, ends.Before(time.Now().Add(16*time.Minute)), "it ends by itself, too")
	}
	machine.onJoined = func() {
		// The machine still runs the user's commands, and its node is not there yet.
		for len(tokens(t, client)) > 0 && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		_, err := client.CoreV1().Nodes().Create(t.Context(), readyNode("m1", corev1.ConditionTrue),
			metav1.CreateOptions{})
		assert.Check(t, err)
	}
	joiner := newJoiner(t, machine, client)
	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
}

func TestNoTokenIsMadeForTheNameOfANodeOfAnotherMachine(t *testing.T) {
	for _, ready := range []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionUnknown} {
		node := readyNode("m1", ready)
		node.Status.NodeInfo.MachineID = "another"
		client := newClient(node)
		machine := &fakeMachine{
			plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, result: succeeded(),
			facts: spec.Facts{MachineID: "this"},
		}
		joiner := newJoiner(t, machine, client)
		_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
		assert.ErrorContains(t, err, `node name "m1" is taken`)
		assert.Equal(t, len(machine.started), 0)
		for _, action := range client.Actions() {
			assert.Assert(t, action.GetVerb() != "create", "%v", action)
		}
	}
}

func TestASecondJoinChangesNothingAndStartsNothing(t *testing.T) {
	client := newClient(markedNode("m1"))
	machine := &fakeMachine{plan: spec.Status{Total: 9, Phases: phases(spec.Held)}}
	joiner := newJoiner(t, machine, client)

	outcome, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Assert(t, !outcome.Changed)
	assert.Equal(t, len(machine.started), 0)
	for _, action := range client.Actions() {
		assert.Assert(t, action.GetVerb() == "get" || action.GetVerb() == "list" || action.GetVerb() == "watch",
			action.GetVerb())
	}
}

func TestAFailedJoinNamesANextStepAndRevokesTokens(t *testing.T) {
	client := newClient()
	machine := &fakeMachine{
		plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)},
		result: spec.Status{State: spec.Failed, Phase: "containerd", Error: &spec.Error{
			Class: errclass.Permanent, Phase: "containerd", Message: "containerd did not start",
			Tail: []string{"bind: address already in use"}, Hint: "journalctl -u containerd",
		}},
	}
	joiner := newJoiner(t, machine, client)

	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	for _, part := range []string{
		"m1", "192.0.2.1", "phase containerd", "address already in use",
		"journalctl -u containerd",
	} {
		assert.ErrorContains(t, err, part)
	}
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
	assert.Equal(t, len(machine.started), 1)
	assert.Equal(t, len(tokens(t, client)), 0)
}

func TestProblemsOfPreflightStopBeforeAnythingIsTouched(t *testing.T) {
	client := newClient()
	machine := &fakeMachine{plan: spec.Status{State: spec.Failed, Phase: "preflight", Error: &spec.Error{
		Class: errclass.Permanent, Phase: "preflight", Message: "2 problems",
		Problems: []string{"disk is full", "clock is off"},
	}}}
	joiner := newJoiner(t, machine, client)

	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.ErrorContains(t, err, "disk is full")
	assert.ErrorContains(t, err, "clock is off")
	assert.Equal(t, len(machine.started), 0)
	assert.Equal(t, len(client.Actions()), 0)
}

func TestATransientErrorIsRetriedAndReported(t *testing.T) {
	client := newClient(readyNode("m1", corev1.ConditionTrue))
	machine := &fakeMachine{
		inspectErrors: []error{errclass.With(errclass.Transient, errors.New("no route to host"))},
		plan:          spec.Status{Total: 9, Phases: phases(spec.Held)},
	}
	joiner := newJoiner(t, machine, client)
	var said []string
	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1),
		operation.AsText(func(text string) { said = append(said, text) }))
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(strings.Join(said, "\n"), "no route to host; trying again (1)"), said)
}

func TestAPermanentErrorIsNotTriedAgain(t *testing.T) {
	machine := &fakeMachine{inspectErrors: []error{errclass.With(errclass.Configuration,
		errors.New("host key changed"))}}
	joiner := newJoiner(t, machine, newClient())
	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.ErrorContains(t, err, "host key changed")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

// A cancellation stops the machine; a detachment leaves it and its token alone:
//
//	cause      | operation cancelled on the machine | token deleted
//	cancelled  | yes                                | yes
//	detached   | no                                 | no
func TestCancellationStopsTheMachineAndDetachmentDoesNot(t *testing.T) {
	for _, tt := range []struct {
		name      string
		cause     error
		cancelled int
		tokens    int
	}{
		{"cancelled", errors.New("terminated by the user"), 1, 0},
		{"detached", errDetach, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := newClient()
			machine := &fakeMachine{
				plan:     spec.Status{Total: 9, Phases: phases(spec.Wanted)},
				watching: make(chan struct{}), result: spec.Status{State: spec.Cancelled},
			}
			joiner := newJoiner(t, machine, client)
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-machine.watching
				cancel(tt.cause)
			}()
			_, err := joiner.Join(ctx, firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
			assert.ErrorIs(t, err, tt.cause)
			assert.Equal(t, len(machine.cancelled), tt.cancelled)
			assert.Equal(t, len(tokens(t, client)), tt.tokens)
		})
	}
}

func TestARunningJoinIsAttachedToWithoutASecondToken(t *testing.T) {
	client := newClient(readyNode("m1", corev1.ConditionTrue))
	machine := &fakeMachine{
		plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, result: succeeded(), facts: credentialsOf("m1"),
	}
	joiner := newJoiner(t, machine, client)
	// The first join tells the operation's id, which depends only on the wanted state.
	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	machine.facts.Working = machine.started[0].ID
	machine.pushed, machine.arrives = nil, make(chan struct{})
	client.ClearActions()

	_, err = joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, machine.started[1].Secrets.BootstrapToken, "")
	assert.Equal(t, len(machine.pushed), 1, "the bundle of a running operation goes on where its sender was lost")
	for _, action := range client.Actions() {
		assert.Assert(t, action.GetVerb() != "create")
	}
}

func TestALostConnectionDoesNotRevokeTheOperationsToken(t *testing.T) {
	client := newClient(readyNode("m1", corev1.ConditionTrue))
	machine := &fakeMachine{
		plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, result: succeeded(), facts: credentialsOf("m1"),
		watchErrors: []error{errclass.With(errclass.Transient, errors.New("the connection was lost"))},
	}
	joiner := newJoiner(t, machine, client)
	held := -1
	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1),
		operation.AsText(func(text string) {
			if strings.Contains(text, "trying again") {
				held = len(tokens(t, client))
			}
		}))
	assert.NilError(t, err)
	assert.Equal(t, held, 1, "tokens while the operation went on without us")
	assert.Equal(t, len(tokens(t, client)), 0)
}

func TestThePlanListsTheWorkOrTheReasonsAgainstIt(t *testing.T) {
	held, wanted := spec.Status{Total: 9, Phases: phases(spec.Held)}, spec.Status{Total: 9, Phases: phases(spec.Wanted)}
	marked := markedNode("m1")
	for _, tt := range []struct {
		name    string
		machine *fakeMachine
		node    *corev1.Node
		action  join.Action
		reason  string
	}{
		{"clean machine", &fakeMachine{plan: wanted}, nil, join.ActionJoin, "will do: bundle, kubeadm"},
		{"joined machine", &fakeMachine{plan: held}, marked, join.ActionNothing, "is a Ready node at v1.34.4"},
		{
			"label missing", &fakeMachine{plan: held}, readyNode("m1", corev1.ConditionTrue), join.ActionMark,
			"will set label zone=a",
		},
		{
			"joined, differs", &fakeMachine{plan: differing(), facts: joinedFacts()}, marked, join.ActionReconcile,
			"differs from the documents: /etc/containerd/config.toml (restarts containerd)",
		},
		{
			"joined, differs, not Ready", &fakeMachine{plan: differing(), facts: joinedFacts()},
			readyNode("m1", corev1.ConditionFalse), join.ActionJoin, "will do: containerd",
		},
		{
			"joined, a command is left to run", &fakeMachine{plan: spec.Status{
				Total:  9,
				Phases: []spec.Phase{{Name: "post-join", Outcome: spec.Wanted}},
			}, facts: joinedFacts()}, marked,
			join.ActionJoin, "will do: post-join",
		},
		{
			"joined, at another version",
			&fakeMachine{
				plan:  spec.Status{Error: &spec.Error{Message: "a join does not change its version"}},
				facts: at("v1.33.13"),
			}, runs(markedNode("m1"), "v1.33.13"), join.ActionUpgrade,
			"is a Ready node at v1.33.13, and workflow upgrade takes it to v1.34.4",
		},
		{
			"joined, of another version than its node",
			&fakeMachine{
				plan:  spec.Status{Error: &spec.Error{Message: "a join does not change its version"}},
				facts: at("v1.33.13"),
			}, marked, join.ActionRefuse, "does not change its version",
		},
		{
			"a join that goes on, with a changed command",
			&fakeMachine{plan: spec.Status{Total: 9, Phases: []spec.Phase{
				{Name: "pre-install", Outcome: spec.Held, Changes: []spec.Change{
					{What: "changed preInstallCommands", Effect: spec.NeedsRejoin},
				}},
				{Name: "healthy", Outcome: spec.Wanted},
			}}},
			nil, join.ActionJoin, "will not do: changed preInstallCommands",
		},
		{"node gone", &fakeMachine{plan: held}, nil, join.ActionJoin, "its node is not in the cluster"},
		{
			"node not Ready", &fakeMachine{plan: held}, readyNode("m1", corev1.ConditionFalse), join.ActionJoin,
			"container runtime is down",
		},
		{"name taken", &fakeMachine{plan: wanted}, marked, join.ActionRefuse, `node name "m1" is taken`},
		{"problems", &fakeMachine{plan: spec.Status{Error: &spec.Error{
			Message:  "x",
			Problems: []string{"disk is full", "clock is off"},
		}}}, nil, join.ActionRefuse, "clock is off"},
		{
			"unreachable", &fakeMachine{inspectErrors: []error{errors.New("no route to host")}}, nil, join.ActionRefuse,
			"no route to host",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := newClient()
			if tt.node != nil {
				client = newClient(tt.node)
			}
			joiner := newJoiner(t, tt.machine, client)
			entries, err := joiner.Plan(t.Context(), joiner.Cluster.Fleet.Machines, operation.NoProgress{})
			assert.NilError(t, err)
			assert.Equal(t, entries[0].Action, tt.action)
			assert.Assert(t, strings.Contains(strings.Join(entries[0].Reasons, "\n"), tt.reason), entries[0].Reasons)
			assert.Assert(t, strings.Contains(join.Table(entries), tt.reason))
			assert.Equal(t, len(tt.machine.started), 0)
		})
	}
}

func TestVerifyFindsWhatIsWrongAndDeletesForgottenTokens(t *testing.T) {
	forgotten := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: "bootstrap-token-abcdef", Namespace: "kube-system",
		Labels: map[string]string{join.MachineLabel: "m1"},
	}}
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-fedcba", Namespace: "kube-system"}}
	client := newClient(readyNode("m1", corev1.ConditionFalse), forgotten, foreign)
	joiner := newJoiner(t, &fakeMachine{}, client)

	findings, err := joiner.Verify(t.Context(), joiner.Cluster.Fleet.Machines)
	assert.NilError(t, err)
	text := strings.Join(findings[0].Problems, "\n")
	assert.Assert(t, strings.Contains(text, "not Ready") && strings.Contains(text, "label zone=a"), text)
	left := tokens(t, client)
	assert.Assert(t, len(left) == 1 && left[0].Name == foreign.Name)
}

func TestVerifyListsTokensOnceForAllMachines(t *testing.T) {
	client := newClient()
	joiner := newManyJoiner(t, client, make([]*fakeMachine, 30))
	for _, machine := range []string{"m3", "m7", "of-no-document"} {
		token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Name: "bootstrap-token-" + machine, Labels: map[string]string{join.MachineLabel: machine},
		}}
		_, err := client.CoreV1().Secrets("kube-system").Create(t.Context(), token, metav1.CreateOptions{})
		assert.NilError(t, err)
	}
	client.ClearActions()
	_, err := joiner.Verify(t.Context(), joiner.Cluster.Fleet.Machines)
	assert.NilError(t, err)
	listed := 0
	for _, action := range client.Actions() {
		if action.GetVerb() == "list" && action.GetResource().Resource == "secrets" {
			listed++
		}
	}
	assert.Equal(t, listed, 1)
	left := tokens(t, client)
	assert.Assert(t, len(left) == 1 && left[0].Name == "bootstrap-token-of-no-document", "%v", left)
}

func TestANodeThatComesLateIsWaitedFor(t *testing.T) {
	client := newClient()
	machine := &fakeMachine{plan: spec.Status{Total: 9, Phases: phases(spec.Held)}}
	joiner := newJoiner(t, machine, client)
	waiting := make(chan struct{}, 100)
	go func() {
		<-waiting
		_, err := client.CoreV1().Nodes().Create(context.Background(), readyNode("m1", corev1.ConditionTrue),
			metav1.CreateOptions{})
		assert.Check(t, err)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := joiner.Join(ctx, firstMachine(joiner), operation.NewLimiter(1), operation.AsText(func(text string) {
		if strings.Contains(text, "has not registered") {
			waiting <- struct{}{}
		}
	}))
	assert.NilError(t, err)
}

func TestAJoinSendsTheImagesThatTheMachineAsksFor(t *testing.T) {
	client := newClient()
	files := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "archive")
	}))
	defer files.Close()
	machine := &fakeMachine{
		plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, result: succeeded(),
		arrives: make(chan struct{}),
	}
	machine.onStart = func(spec.Operation) {
		_, err := client.CoreV1().Nodes().Create(t.Context(), readyNode("m1", corev1.ConditionTrue),
			metav1.CreateOptions{})
		assert.Check(t, err)
	}
	joiner := newJoiner(t, machine, client)
	joiner.Images = images.NewSupply(images.Settings{CACert: string(pem.EncodeToMemory(&pem.Block{
		Type:  "CERTIFICATE",
		Bytes: files.Certificate().Raw,
	}))})
	joiner.Cluster.VCluster.PrivateNodes.JoinNode.Containerd.ImportImages = []string{
		"/srv/images",
		files.URL + "/app.tar",
	}
	sent := make(chan string, 1)
	machine.feeds = func(ctx context.Context, open feed.Open) error {
		archive, err := open(ctx, machine.started[0].Join.ImportImages[1].Sent.Key)
		if err != nil {
			return err
		}
		content, err := io.ReadAll(archive)
		sent <- string(content)
		return errors.Join(err, archive.Close())
	}
	machine.asks = sent

	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, machine.fed, 1)
	assert.Equal(t, machine.started[0].Join.ImportImages[0].Path, "/srv/images")
}

func TestAJoinWhoseImagesCannotBeHadTouchesNoMachine(t *testing.T) {
	machine := &fakeMachine{plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}}
	joiner := newJoiner(t, machine, newClient())
	joiner.Images = images.NewSupply(images.Settings{})
	joiner.Cluster.VCluster.PrivateNodes.JoinNode.Containerd.ImportImages = []string{"http://files.example.com/app.tar"}
	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.ErrorContains(t, err, "its server would be asked without TLS")
	assert.Equal(t, len(machine.started), 0)
}

// credentialsOf are the facts of a machine whose kubelet has a node's credentials.
func credentialsOf(node string) spec.Facts { return spec.Facts{Kubelet: spec.Kubelet{NodeName: node}} }

// at are the facts of a machine that joined at another version.
func at(version string) spec.Facts {
	facts := joinedFacts()
	record := *facts.Record
	record.Version = version
	facts.Record = &record
	return facts
}

func runs(node *corev1.Node, version string) *corev1.Node {
	node.Status.NodeInfo.KubeletVersion = version
	return node
}
