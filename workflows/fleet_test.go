package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/internal/offload"
	"argosy.dev/argosy/internal/steps"
	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain/draintest"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
	"argosy.dev/argosy/pkg/upgrade"
)

var discard = slog.New(slog.DiscardHandler)

const (
	oldVersion = "v1.33.13"
	newVersion = "v1.34.4"
)

// simulatedFleet is a cluster with machines that answer as argosy-node would.
type simulatedFleet struct {
	cluster    *config.Cluster
	client     *fake.Clientset
	host       *fake.Clientset
	repository *bundle.Repository
	machines   map[string]*simulatedMachine

	mu sync.Mutex
	// working is how many operations are at work, most the highest number so far, and inspecting the same of
	// inspections.
	working, most, inspecting, mostInspecting int
	// started is how many operations of each kind were started.
	started map[spec.Kind]int
}

// newFleet makes machines, of which every thirtieth fails. With joined they are nodes at a version.
func newFleet(t *testing.T, number int, joined bool, version string) *simulatedFleet {
	t.Helper()
	f := &simulatedFleet{
		client: fake.NewClientset(), host: fake.NewClientset(), repository: simulatedRepository(t),
		machines: map[string]*simulatedMachine{}, started: map[spec.Kind]int{},
	}
	draintest.Evict(f.client, func(*policyv1.Eviction) error { return nil })
	f.client.PrependReactor("create", "selfsubjectaccessreviews", mayAll)
	f.client.PrependReactor("create", "subjectaccessreviews", mayNothing)
	var text strings.Builder
	text.WriteString("apiVersion: argosy.dev/v1alpha1\nkind: Fleet\ncluster: {kubeconfigSecret: kubeconfig}\n" +
		"ssh: {trustOnFirstUse: true}\nlimits: {concurrency: 20, readyTimeout: 5s}\n" +
		"upgrade: {minReady: 0s, nodeGrace: 0s, maxUnavailable: 20%, failureBudget: 50%}\nmachines:\n")
	for i := range number {
		name := machineName(i)
		_, _ = fmt.Fprintf(&text, "  - {name: %s, address: 10.%d.%d.%d}\n", name, i>>14, i>>7&127, i&127+1)
		m := &simulatedMachine{fleet: f, name: name, joined: joined, version: version, fails: i%30 == 7}
		f.machines[name] = m
		if joined {
			m.register()
		}
	}
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), []byte(text.String()))
	assert.NilError(t, err)
	cluster.Name = "team-a"
	f.cluster = cluster
	return f
}

// mayAll answers that the plugin's own account has every right.
func mayAll(clienttesting.Action) (bool, runtime.Object, error) {
	return true, &authorizationv1.SelfSubjectAccessReview{
		Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true},
	}, nil
}

// mayNothing answers that another account has no right: the cluster approves no certificate for a bootstrap token.
func mayNothing(clienttesting.Action) (bool, runtime.Object, error) {
	return true, &authorizationv1.SubjectAccessReview{}, nil
}

func machineName(i int) string { return fmt.Sprintf("worker-r%02d-%04d", i/40, i) }

func (f *simulatedFleet) records() steps.Records { return offload.Store{Client: f.host} }

// kept returns the size of the ConfigMaps with plans and reports, in bytes, and checks that each fits.
func (f *simulatedFleet) kept(t *testing.T) int {
	t.Helper()
	all, err := f.host.CoreV1().ConfigMaps("team-a").List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	sum := 0
	for _, one := range all.Items {
		assert.Assert(t, one.Size() < maxObject)
		sum += one.Size()
	}
	return sum
}

func (f *simulatedFleet) joiner() *join.Joiner {
	return &join.Joiner{
		Cluster: f.cluster, Version: newVersion, Repository: f.repository,
		Target: &join.Target{
			Client: f.client, Server: "https://192.0.2.100:6443", CACert: "ca", UID: "uid", Version: newVersion,
			CgroupDriver: "systemd",
		},
		Machine: func(m config.Machine) join.Machine { return f.machines[m.Name] },
	}
}

func (f *simulatedFleet) openers() steps.Openers {
	return steps.Openers{
		Join: func(context.Context, string, string) (*join.Joiner, error) { return f.joiner(), nil },
		Reset: func(context.Context, string, string) (*reset.Resetter, error) {
			return &reset.Resetter{
				Cluster: f.cluster,
				Connect: func(context.Context) (*join.Target, error) { return f.joiner().Target, nil },
				Machine: func(m config.Machine) operation.Machine { return f.machines[m.Name] },
			}, nil
		},
		Images: func(context.Context, string, string) (*images.Importer, error) {
			return &images.Importer{
				Cluster: f.cluster, Supply: images.NewSupply(images.Settings{}),
				UID:     func(context.Context) (string, error) { return "uid", nil },
				Machine: func(m config.Machine) images.Machine { return f.machines[m.Name] },
			}, nil
		},
		Upgrade: func(context.Context, string, string) (*upgrade.Upgrader, error) {
			return &upgrade.Upgrader{Joiner: f.joiner()}, nil
		},
	}
}

// simulatedMachine is one machine. Its node follows it.
type simulatedMachine struct {
	fleet   *simulatedFleet
	name    string
	fails   bool
	joined  bool
	version string
	// staged, images and differs: it has the next bundle, the images of an import, and something to reconcile.
	staged, images, differs bool
	last                    spec.Operation
}

// register adds the machine's node.
func (m *simulatedMachine) register() {
	_ = m.fleet.client.Tracker().Add(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: m.name, Annotations: map[string]string{}},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			NodeInfo:   corev1.NodeSystemInfo{KubeletVersion: m.version},
		},
	})
}

func (m *simulatedMachine) Inspect(_ context.Context, question spec.Question) (spec.Facts, error) {
	m.fleet.count(&m.fleet.inspecting, &m.fleet.mostInspecting, 1)
	defer m.fleet.count(&m.fleet.inspecting, &m.fleet.mostInspecting, -1)
	asked := question.Operations["amd64"]
	plan := spec.Status{ID: asked.ID, Kind: asked.Kind, Total: 9}
	wants := func(name string, wanted bool) {
		phase := spec.Phase{Name: name, Outcome: spec.Held, Detail: "as wanted", Seconds: 0.125}
		if wanted {
			phase.Outcome, phase.Detail = spec.Wanted, "will be done"
		}
		plan.Phases = append(plan.Phases, phase)
	}
	wants("preflight", false)
	switch asked.Kind {
	case spec.KindJoin:
		for _, name := range []string{"bundle", "kernel", "binaries", "images", "kubelet", "kubeadm", "healthy"} {
			wants(name, !m.joined)
		}
		wants("containerd", !m.joined || m.differs)
	case spec.KindReset:
		for _, name := range []string{"pods", "kubelet", "containerd", "network", "files", "prove"} {
			wants(name, m.joined)
		}
	case spec.KindImages:
		wants("images", !m.images)
	case spec.KindStage:
		wants("bundle", !m.staged)
	case spec.KindUpgrade:
		wants("bundle", !m.staged)
		wants("kubelet", m.version != newVersion)
	case spec.KindRollback:
		wants("restore", false)
	}
	facts := spec.Facts{Arch: "amd64", Plan: &plan}
	if m.joined {
		facts.Record = &spec.Record{Version: m.version, NodeName: m.name, ClusterUID: "uid", Cluster: "team-a"}
		facts.Kubelet = spec.Kubelet{Active: true, NodeName: m.name}
	}
	return facts, nil
}

// count adds to a number, and keeps its highest value.
func (f *simulatedFleet) count(number, most *int, by int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*number += by
	*most = max(*most, *number)
}

func (m *simulatedMachine) Start(_ context.Context, op spec.Operation) (spec.Status, error) {
	m.fleet.count(&m.fleet.working, &m.fleet.most, 1)
	m.fleet.mu.Lock()
	m.fleet.started[op.Kind]++
	m.fleet.mu.Unlock()
	m.last = op
	return spec.Status{ID: op.ID, State: spec.Running, Total: 9}, nil
}

func (m *simulatedMachine) Watch(_ context.Context, _ string, each func(spec.Status)) (spec.Status, error) {
	defer m.fleet.count(&m.fleet.working, &m.fleet.most, -1)
	status := spec.Status{ID: m.last.ID, State: spec.Succeeded, Changed: true, Total: 9}
	for _, name := range []string{
		"preflight", "bundle", "kernel", "containerd", "images", "kubelet", "kubeadm", "healthy",
	} {
		status.Phases = append(status.Phases, spec.Phase{
			Name: name, Outcome: spec.Applied, Detail: "done on " + m.name, Seconds: 0.25,
		})
	}
	if m.fails && m.last.Kind != spec.KindStage && m.last.Kind != spec.KindRollback {
		status.State, status.Phase = spec.Failed, "containerd"
		status.Error = &spec.Error{
			Class: errclass.Permanent, Phase: "containerd", Message: "containerd did not start within 1m0s",
			Hint: "journalctl -u containerd", Tail: []string{"address already in use", "exit status 1"},
		}
		return status, nil
	}
	switch m.last.Kind {
	case spec.KindJoin:
		if !m.joined {
			m.joined, m.version = true, newVersion
			m.register()
		}
		m.differs = false
	case spec.KindReset:
		m.joined, m.version = false, ""
	case spec.KindImages:
		m.images = true
	case spec.KindStage:
		m.staged = true
	case spec.KindUpgrade:
		m.version = newVersion
		m.runs(newVersion)
	}
	each(status)
	return status, nil
}

// runs has the machine's node at a version.
func (m *simulatedMachine) runs(version string) {
	node, err := m.fleet.client.CoreV1().Nodes().Get(context.Background(), m.name, metav1.GetOptions{})
	if err == nil {
		node.Status.NodeInfo.KubeletVersion = version
		_ = m.fleet.client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("nodes"), node, "")
	}
}

func (m *simulatedMachine) Cancel(context.Context, string) error {
	return errors.New("nothing is cancelled")
}

func (m *simulatedMachine) Admit(context.Context, string) error { return nil }

func (m *simulatedMachine) Feed(context.Context, string, feed.Open) error { return nil }

func (m *simulatedMachine) PushBundle(context.Context, spec.Bundle, func(int64) (io.ReadCloser, error),
	func(int64, int64),
) error {
	return nil
}

// simulatedRepository has the bundle of the newer version.
func simulatedRepository(t *testing.T) *bundle.Repository {
	t.Helper()
	const digest = "0000000000000000000000000000000000000000000000000000000000000000"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "kubernetes-" + newVersion + "-amd64.tar.gz"
		switch {
		case strings.HasSuffix(r.URL.Path, newVersion+"/SHA256SUMS"):
			_, _ = fmt.Fprintf(w, "%s  %s\n", digest, name)
		case strings.HasSuffix(r.URL.Path, "/"+name):
			_, _ = w.Write([]byte("a bundle"))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return &bundle.Repository{URL: server.URL}
}
