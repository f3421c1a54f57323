package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/upgrade"
)

// upgraded is a machine that kept files of its last upgrade, or none, where it is refused.
type upgraded struct {
	join.Machine
	refused bool
	started *[]string
	name    string
	// onStart is called when an operation starts, which then succeeds; where it is nil, operations fail.
	onStart func() error
}

func (m upgraded) Inspect(_ context.Context, question spec.Question) (spec.Facts, error) {
	done := len(*m.started) > 0 && (*m.started)[len(*m.started)-1] == m.name
	plan := &spec.Status{ID: question.Operations["amd64"].ID, Phases: []spec.Phase{{
		Name: "restore", Outcome: spec.Wanted, Detail: "files to restore: kubelet",
	}}}
	if done {
		plan.Phases[0].Outcome = spec.Held
	}
	if m.refused {
		plan.Error = &spec.Error{Class: errclass.Permanent, Message: "there are no kept files"}
	}
	return spec.Facts{Arch: "amd64", Plan: plan, Record: &spec.Record{Version: "v1.33.13", NodeName: m.name}}, nil
}

func (m upgraded) Start(_ context.Context, op spec.Operation) (spec.Status, error) {
	*m.started = append(*m.started, m.name)
	if m.onStart != nil {
		return spec.Status{ID: op.ID, State: spec.Succeeded, Changed: true}, m.onStart()
	}
	return spec.Status{ID: op.ID, State: spec.Failed, Error: &spec.Error{
		Class: errclass.Permanent, Phase: "services", Message: "the kubelet does not start",
	}}, nil
}

// bundles is a repository that has each bundle that is asked for.
func bundles(t *testing.T) *bundle.Repository {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "kubernetes-v1.34.4-amd64.tar.gz"
		if strings.HasSuffix(r.URL.Path, "/SHA256SUMS") {
			_, _ = fmt.Fprintf(w, "%064d  %s\n", 0, name)
			return
		}
		http.ServeContent(w, r, name, time.Time{}, strings.NewReader("a bundle"))
	}))
	t.Cleanup(server.Close)
	return &bundle.Repository{URL: server.URL}
}

// rollBackBoth runs the request on machines m1 and m2, and returns the machines whose operations started.
func rollBackBoth(t *testing.T, refused string, confirmed bool) (out string, started []string, err error) {
	t.Helper()
	return rollBackAskedTo(t, "", refused, confirmed)
}

// rollBackAskedTo is rollBackBoth where a person asks something when the first machine is at work.
func rollBackAskedTo(t *testing.T, asked upgrade.Request, refused string, confirmed bool) (out string,
	started []string, err error,
) {
	t.Helper()
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), []byte(`
apiVersion: argosy.dev/v1alpha1
kind: Fleet
cluster: {kubeconfigSecret: kubeconfig}
machines: [{name: m1, address: 192.0.2.1}, {name: m2, address: 192.0.2.2}]
upgrade: {minReady: 0s, rules: [{machines: "m1,m2", drain: false}]}
`))
	assert.NilError(t, err)
	client := fake.NewClientset()
	for _, name := range []string{"m1", "m2"} {
		assert.NilError(t, client.Tracker().Add(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: corev1.NodeStatus{
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
				NodeInfo:   corev1.NodeSystemInfo{KubeletVersion: "v1.33.13"},
			},
		}))
	}
	var upgrader *upgrade.Upgrader
	var ask func() error
	if asked != "" {
		ask = func() error {
			_, err := upgrader.Ask(t.Context(), asked)
			return err
		}
	}
	upgrader = &upgrade.Upgrader{Rollout: "r", Joiner: &join.Joiner{
		Cluster: cluster, Version: "v1.34.4", Repository: bundles(t),
		Target: &join.Target{Client: client, UID: "uid", Version: "v1.34.4"},
		Machine: func(m config.Machine) join.Machine {
			return upgraded{refused: m.Name == refused, started: &started, name: m.Name, onStart: ask}
		},
	}}
	var text bytes.Buffer
	err = rollbackRequest{machines: "all", confirmed: confirmed}.run(t.Context(), upgrader, &text)
	return text.String(), started, err
}

func TestRollbackWithoutYesOnlyShowsThePlan(t *testing.T) {
	out, started, err := rollBackBoth(t, "", false)
	assert.Assert(t, program.IsUsage(err), "%v", err)
	assert.ErrorContains(t, err, "add --yes")
	assert.Equal(t, strings.Count(out, "files to restore: kubelet"), 2, out)
	assert.Equal(t, len(started), 0)
}

func TestRollbackChangesNothingWhenOneMachineIsRefused(t *testing.T) {
	out, started, err := rollBackBoth(t, "m2", true)
	assert.ErrorContains(t, err, `machine "m2" can't be rolled back as it is; no machine was changed`)
	assert.Assert(t, strings.Contains(out, "there are no kept files"), out)
	assert.Equal(t, len(started), 0)
}

func TestAFailedRollbackLeavesTheNextMachine(t *testing.T) {
	_, started, err := rollBackBoth(t, "", true)
	assert.ErrorContains(t, err, "1 of 2 machines failed")
	assert.ErrorContains(t, err, "1 left as they are")
	assert.Equal(t, len(started), 1)
}

func TestAnAbortedRollbackIsNoSuccess(t *testing.T) {
	out, started, err := rollBackAskedTo(t, upgrade.Abort, "", true)
	assert.Error(t, err, "the rollout was aborted; 1 left as they are")
	assert.Equal(t, len(started), 1, out)
	assert.Assert(t, strings.Contains(out, " was left at v1.33.13: the rollout was aborted"), out)
}
