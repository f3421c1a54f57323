package upgrade_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/drain/draintest"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

const (
	before = "v1.33.13"
	after  = "v1.34.4"
)

// errStopped ends a context in the way that only ends this process.
var errStopped = errors.New("the process stops")

// site is a cluster with machines m1, m2, …, whose nodes run the older version, and all that happened there in order.
type site struct {
	*fake.Clientset
	*upgrade.Upgrader
	machines map[string]*fakeMachine
	// forbidden are the pods that a budget holds.
	forbidden []string
	reported  string
	then      func()
	// progress is all that an upgrade reported.
	progress []string

	mu  sync.Mutex
	log []string
}

func (s *site) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

// happened returns the changes of nodes and machines, in order.
func (s *site) happened() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.log, ", ")
}

// newSite makes machines of these names. policy is the fleet's, in YAML.
func newSite(t *testing.T, policy string, names ...string) *site {
	t.Helper()
	fleet := "apiVersion: argosy.dev/v1alpha1\nkind: Fleet\nlimits: {readyTimeout: 5s}\n" +
		"ssh: {trustOnFirstUse: true}\nmachines:\n"
	s := &site{Clientset: fake.NewClientset(), machines: map[string]*fakeMachine{}}
	for i, name := range names {
		fleet += fmt.Sprintf("  - {name: %s, address: 192.0.2.%d}\n", name, i+1)
		s.machines[name] = &fakeMachine{site: s, name: name, version: before}
		assert.NilError(t, s.Tracker().Add(node(name)))
	}
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\ncontrolPlane: {distro: {k8s: "+
		"{version: "+after+"}}}\n"), []byte(fleet+"upgrade: {minReady: 0s, nodeGrace: 0s}\n"+policy))
	assert.NilError(t, err)
	cluster.Name = "team-a"
	cluster.Fleet.Limits.RetryBudget.Duration = time.Millisecond
	s.Upgrader = &upgrade.Upgrader{Rollout: "rollout-1", Run: "1", Joiner: &join.Joiner{
		Cluster: cluster, Version: after, Repository: repository(t),
		Target: &join.Target{
			Client: s.Clientset, Server: "https://192.0.2.100:6443", CACert: "ca", UID: "uid",
			Version: after, CgroupDriver: "systemd",
		},
		Machine: func(m config.Machine) join.Machine { return s.machines[m.Name] },
		Runner:  operation.Runner{Detached: func(cause error) bool { return errors.Is(cause, errStopped) }},
	}}
	s.react()
	return s
}

// react evicts pods as an API server would, and records changes of nodes.
func (s *site) react() {
	draintest.Evict(s.Clientset, func(eviction *policyv1.Eviction) error {
		switch {
		case slices.Contains(s.forbidden, eviction.Name):
			return draintest.Held()
		case !draintest.OnlyTried(eviction):
			s.note("evict %s", eviction.Name)
		}
		return nil
	})
	for _, kind := range []string{"selfsubjectaccessreviews", "subjectaccessreviews"} {
		s.PrependReactor("create", kind, func(action ktesting.Action) (bool, runtime.Object, error) {
			return true, action.(ktesting.CreateAction).GetObject(), nil
		})
	}
	s.PrependReactor("delete", "pods", func(action ktesting.Action) (bool, runtime.Object, error) {
		s.note("delete %s", action.(ktesting.DeleteAction).GetName())
		return false, nil, nil
	})
	s.PrependReactor("patch", "nodes", func(action ktesting.Action) (bool, runtime.Object, error) {
		patch := action.(ktesting.PatchAction)
		switch text := string(patch.GetPatch()); {
		case strings.Contains(text, `"unschedulable":true`):
			s.note("cordon %s", patch.GetName())
		case strings.Contains(text, `"unschedulable":null`), strings.Contains(text, `"unschedulable":false`):
			s.note("uncordon %s", patch.GetName())
		}
		return false, nil, nil
	})
}

// node of a machine, Ready at the older version.
func node(name string, changes ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			NodeInfo:   corev1.NodeSystemInfo{KubeletVersion: before},
		},
	}
	for _, change := range changes {
		change(n)
	}
	return n
}

// change changes a node. What it sets is noted as Argosy's.
func (s *site) change(t *testing.T, name string, change func(*corev1.Node)) {
	t.Helper()
	n := s.node(t, name)
	change(n)
	assert.NilError(t, s.Tracker().Update(corev1.SchemeGroupVersion.WithResource("nodes"), n, "",
		metav1.UpdateOptions{FieldManager: "argosy"}))
}

func (s *site) node(t *testing.T, name string) *corev1.Node {
	t.Helper()
	n, err := s.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	assert.NilError(t, err)
	return n
}

// stands returns the state that is noted at a node, and whether it takes pods.
func (s *site) stands(t *testing.T, name string) string {
	t.Helper()
	n := s.node(t, name)
	text := n.Status.NodeInfo.KubeletVersion
	if n.Spec.Unschedulable {
		text += " cordoned by " + n.Annotations[drain.CordonedBy]
	}
	for _, state := range []string{"working", "succeeded", "failed", "skipped", "left"} {
		if strings.Contains(n.Annotations[upgrade.Annotation], `"state":"`+state+`"`) {
			text += " " + state
		}
	}
	return text
}

// pod puts one on a node.
func (s *site) pod(t *testing.T, node, name string) {
	t.Helper()
	yes := true
	assert.NilError(t, s.Tracker().Add(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default", UID: "uid",
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "StatefulSet", Name: "web",
				Controller: &yes,
			}},
		},
		Spec:   corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}))
}

// inWaves is a plan of waves of one machine each, of which one may be unavailable and none may fail.
func inWaves(names ...string) rollout.Plan {
	plan := rollout.Plan{MaxUnavailable: 1}
	for i, name := range names {
		plan.Waves = append(plan.Waves, rollout.Wave{Name: strconv.Itoa(i + 1), Machines: []string{name}})
	}
	return plan
}

// upgrade has one machine upgraded.
func (s *site) upgrade(ctx context.Context, t *testing.T, name string,
	plan rollout.Plan,
) (upgrade.Outcome, error) {
	t.Helper()
	machine, known := s.Cluster.Machine(name)
	assert.Assert(t, known)
	return s.Upgrader.Upgrade(ctx, machine, plan, s.reports())
}

// rollBack has one machine rolled back.
func (s *site) rollBack(t *testing.T, name string) (upgrade.Outcome, error) {
	t.Helper()
	machine, known := s.Cluster.Machine(name)
	assert.Assert(t, known)
	return s.Upgrader.Rollback(t.Context(), machine, operation.NewLimiter(1), s.reports())
}

// reports keeps the progress as text.
func (s *site) reports() operation.Progress {
	return operation.AsText(func(text string) {
		s.progress = append(s.progress, text)
		if s.then != nil && strings.Contains(text, s.reported) {
			s.then()
		}
	})
}

// when has something done as soon as an upgrade or a rollback reports something.
func (s *site) when(reported string, then func()) { s.reported, s.then = reported, then }

// fakeMachine answers as argosy-node would. Its node follows it.
type fakeMachine struct {
	*site
	name, version string
	staged        bool
	// asked is how often it was inspected.
	asked int
	// kept is the version before its last upgrade.
	kept string
	// refuses is why it can't be upgraded; inspectErr why it can't be asked.
	refuses    string
	inspectErr error
	// fails is the phase in which an upgrade fails: "keep" before anything is touched, "kubelet" after.
	fails string
	// inspectFails is how many inspections fail first, and watchFails how often the connection to an operation at work
	// is lost: both are transient.
	inspectFails, watchFails int
	working                  string
	// stuck: a rollback does not help.
	stuck bool
	// during is called while an upgrade is at work, duringRollback while a rollback is.
	during, duringRollback func()
	last                   spec.Operation
}

func (m *fakeMachine) Inspect(_ context.Context, question spec.Question) (spec.Facts, error) {
	m.asked++
	if m.inspectErr != nil {
		return spec.Facts{}, m.inspectErr
	}
	if m.inspectFails > 0 {
		m.inspectFails--
		return spec.Facts{}, errclass.With(errclass.Transient, errors.New("no route to host"))
	}
	asked := question.Operations["amd64"]
	plan := spec.Status{ID: asked.ID, Kind: asked.Kind, Total: 3}
	wants := func(name string, wanted bool) {
		outcome := spec.Held
		if wanted {
			outcome = spec.Wanted
		}
		plan.Phases = append(plan.Phases, spec.Phase{Name: name, Outcome: outcome})
	}
	switch {
	case m.refuses != "":
		plan.Error = &spec.Error{Class: errclass.Permanent, Phase: "preflight", Message: m.refuses}
	case asked.Kind == spec.KindRollback && m.kept == "":
		plan.Error = &spec.Error{Class: errclass.Permanent, Phase: "preflight", Message: "nothing was kept"}
	case asked.Kind == spec.KindRollback:
		wants("restore", m.version != m.kept)
	default:
		wants("bundle", !m.staged)
		wants("kubelet", asked.Kind == spec.KindUpgrade && m.version != after)
	}
	return spec.Facts{Arch: "amd64", Plan: &plan, Working: m.working, Record: &spec.Record{
		Version: m.version, NodeName: m.name,
		ClusterUID: "uid",
	}, Kubelet: spec.Kubelet{Active: true, NodeName: m.name}}, nil
}

func (m *fakeMachine) Start(_ context.Context, op spec.Operation) (spec.Status, error) {
	m.note("%s %s", op.Kind, m.name)
	m.last = op
	return spec.Status{ID: op.ID, State: spec.Running}, nil
}

func (m *fakeMachine) Watch(context.Context, string, func(spec.Status)) (spec.Status, error) {
	if m.watchFails > 0 {
		m.watchFails--
		m.working = m.last.ID
		return spec.Status{ID: m.last.ID, State: spec.Running},
			errclass.With(errclass.Transient, errors.New("the connection was lost"))
	}
	m.working = ""
	status := spec.Status{
		ID: m.last.ID, State: spec.Succeeded, Changed: true,
		Phases: []spec.Phase{{Name: "kubelet", Outcome: spec.Applied}},
	}
	failed := spec.Status{
		ID: m.last.ID, State: spec.Failed,
		Error: &spec.Error{Class: errclass.Permanent, Phase: m.fails, Message: "it does not start"},
	}
	switch m.last.Kind {
	case spec.KindStage:
		m.staged = true
	case spec.KindRollback:
		if m.duringRollback != nil {
			m.duringRollback()
		}
		if m.stuck {
			return failed, nil
		}
		m.runs(m.kept)
	case spec.KindUpgrade:
		if m.during != nil {
			m.during()
		}
		if m.fails == "keep" {
			return failed, nil
		}
		m.kept = m.version
		if m.fails != "" {
			return failed, nil
		}
		m.runs(after)
	}
	return status, nil
}

// runs has the machine and its node at a version.
func (m *fakeMachine) runs(version string) {
	m.version = version
	n, err := m.CoreV1().Nodes().Get(context.Background(), m.name, metav1.GetOptions{})
	if err == nil {
		n.Status.NodeInfo.KubeletVersion = version
		_ = m.Tracker().Update(corev1.SchemeGroupVersion.WithResource("nodes"), n, "")
	}
}

func (m *fakeMachine) Cancel(context.Context, string) error { m.note("cancel %s", m.name); return nil }

func (m *fakeMachine) Admit(context.Context, string) error { return nil }

func (m *fakeMachine) Feed(context.Context, string, feed.Open) error { return nil }

func (m *fakeMachine) PushBundle(context.Context, spec.Bundle, func(int64) (io.ReadCloser, error),
	func(int64, int64),
) error {
	return nil
}

// repository has the bundle of the newer version, and of some patches after it.
func repository(t *testing.T) *bundle.Repository {
	t.Helper()
	const digest = "0000000000000000000000000000000000000000000000000000000000000000"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := strings.Split(strings.Trim(r.URL.Path, "/"), "/")[0]
		name := "kubernetes-" + version + "-amd64.tar.gz"
		switch {
		case !slices.Contains([]string{after, "v1.34.5", "v1.34.8"}, version):
			http.NotFound(w, r)
		case strings.HasSuffix(r.URL.Path, "/SHA256SUMS"):
			_, _ = fmt.Fprintf(w, "%s  %s\n", digest, name)
		case strings.HasSuffix(r.URL.Path, "/"+name):
			http.ServeContent(w, r, name, time.Time{}, strings.NewReader("a bundle"))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return &bundle.Repository{URL: server.URL}
}
