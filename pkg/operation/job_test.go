package operation_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

const (
	version = "v1.34.4"
	digest  = "0000000000000000000000000000000000000000000000000000000000000000"
)

// refusing is a machine whose plans have an error: the first one of class, all later ones a permanent one.
type refusing struct {
	operation.Machine
	class     errclass.Class
	inspected int
}

func (m *refusing) Inspect(_ context.Context, question spec.Question) (spec.Facts, error) {
	m.inspected++
	class := m.class
	if m.inspected > 1 {
		class = errclass.Permanent
	}
	return spec.Facts{Arch: "amd64", Plan: &spec.Status{
		ID: question.Operations["amd64"].ID, State: spec.Failed,
		Phase: "preflight", Error: &spec.Error{Class: class, Phase: "preflight", Message: "no answer"},
	}}, nil
}

func (m *refusing) Admit(context.Context, string) error { return nil }

func (m *refusing) Feed(context.Context, string, feed.Open) error { return nil }

func (m *refusing) PushBundle(context.Context, spec.Bundle, func(int64) (io.ReadCloser, error),
	func(int64, int64),
) error {
	return nil
}

// joiner joins machine m1, whose node is in the cluster.
func joiner(t *testing.T, machine *refusing) *join.Joiner {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "bundle")
	}))
	t.Cleanup(server.Close)
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), []byte(`
apiVersion: argosy.dev/v1alpha1
kind: Fleet
cluster: {kubeconfigSecret: kubeconfig}
machines: [{name: m1, address: 192.0.2.1}]
`))
	assert.NilError(t, err)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "m1"}}
	return &join.Joiner{
		Cluster: cluster, Version: version,
		Target: &join.Target{Client: fake.NewClientset(node), UID: "uid", Version: version, CgroupDriver: "systemd"},
		Repository: &bundle.Repository{URL: server.URL, SHA256: map[string]string{
			"kubernetes-v1.34.4-amd64.tar.gz": digest, "kubernetes-v1.34.4-arm64.tar.gz": digest,
		}},
		Machine: func(config.Machine) join.Machine { return machine },
	}
}

// operations runs each kind of operation on m1.
func operations(t *testing.T, machine *refusing) map[string]func(config.Machine) error {
	t.Helper()
	j := joiner(t, machine)
	limiter := operation.NewLimiter(1)
	importer := &images.Importer{
		Cluster: j.Cluster, Supply: images.NewSupply(images.Settings{}),
		UID:     func(context.Context) (string, error) { return "uid", nil },
		Machine: func(config.Machine) images.Machine { return machine },
	}
	resetter := &reset.Resetter{
		Cluster: j.Cluster,
		Connect: func(context.Context) (*join.Target, error) { return j.Target, nil },
		Machine: func(config.Machine) operation.Machine { return machine },
	}
	upgrader := &upgrade.Upgrader{Joiner: j, Rollout: "rollout"}
	plan := rollout.Plan{Waves: []rollout.Wave{{Name: "1", Machines: []string{"m1"}}}, MaxUnavailable: 1}
	return map[string]func(config.Machine) error{
		"join": func(m config.Machine) error {
			_, err := j.Join(t.Context(), m, limiter, operation.NoProgress{})
			return err
		},
		"reconcile": func(m config.Machine) error {
			_, err := j.Reconcile(t.Context(), m, limiter, operation.NoProgress{})
			return err
		},
		"import": func(m config.Machine) error {
			_, err := importer.Import(t.Context(), m, nil, limiter, operation.NoProgress{})
			return err
		},
		"reset": func(m config.Machine) error {
			_, err := resetter.Reset(t.Context(), m, reset.Options{}, limiter, operation.NoProgress{})
			return err
		},
		"upgrade stage": func(m config.Machine) error {
			_, err := upgrader.Stage(t.Context(), m, plan, limiter, operation.NoProgress{})
			return err
		},
		"upgrade": func(m config.Machine) error {
			_, err := upgrader.Upgrade(t.Context(), m, plan, operation.NoProgress{})
			return err
		},
		"rollback": func(m config.Machine) error {
			_, err := upgrader.Rollback(t.Context(), m, operation.NewLimiter(1), operation.NoProgress{})
			return err
		},
	}
}

func TestEveryOperationRetriesOnlyTransientErrorsOfItsPlan(t *testing.T) {
	for class, want := range map[errclass.Class]struct {
		inspected int
		class     errclass.Class
	}{
		errclass.Transient:     {2, errclass.Permanent},
		errclass.Permanent:     {1, errclass.Permanent},
		errclass.Configuration: {1, errclass.Configuration},
	} {
		for _, kind := range []string{"join", "reconcile", "import", "reset", "upgrade stage", "upgrade", "rollback"} {
			t.Run(kind+" "+string(class), func(t *testing.T) {
				t.Parallel()
				machine := &refusing{class: class}
				err := operations(t, machine)[kind](config.Machine{Name: "m1", Address: "192.0.2.1", NodeName: "m1"})
				assert.ErrorContains(t, err, "machine m1: phase preflight: no answer")
				assert.Equal(t, machine.inspected, want.inspected)
				assert.Equal(t, errclass.ClassOf(err), want.class)
			})
		}
	}
}

// Argo calls the steps of all machines at once. At most 64 are inspected at a time, and each of them once.
func TestInspectionsOfAFanOutAreBounded(t *testing.T) {
	for name, limiter := range map[string]*operation.Limiter{
		"with a limiter": operation.NewLimiter(1000),
		"without":        nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var inspections operation.Inspections
				var group sync.WaitGroup
				var now, most, inspected atomic.Int64
				for range 300 {
					job := operation.Job[operation.Inspection]{
						Limiter: limiter, Progress: operation.NoProgress{},
						Inspect: func(context.Context) (operation.Inspection, error) {
							inspected.Add(1)
							for m := now.Add(1); ; {
								if seen := most.Load(); m <= seen || most.CompareAndSwap(seen, m) {
									break
								}
							}
							time.Sleep(time.Second)
							now.Add(-1)
							return operation.Inspection{}, operation.ErrNothingToDo
						},
					}
					if limiter == nil {
						job.Inspections = &inspections
					}
					group.Go(func() { assert.Check(t, job.Run(t.Context())) })
				}
				group.Wait()
				assert.Equal(t, most.Load(), int64(64))
				assert.Equal(t, inspected.Load(), int64(300))
			})
		})
	}
}
