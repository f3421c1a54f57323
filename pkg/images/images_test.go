package images

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// fakeMachine answers as argosy-node would: its operation asks for every archive that is sent, and ends.
type fakeMachine struct {
	mu            sync.Mutex
	arch          string
	plan          spec.Status
	working       string
	inspectErrors []error // returned first, one a call
	result        spec.Status

	questions []spec.Question
	started   []spec.Operation
	received  map[string]int // bytes by key
	cancelled int
	done      chan struct{}
}

func (m *fakeMachine) Inspect(_ context.Context, question spec.Question) (spec.Facts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.inspectErrors) > 0 {
		err := m.inspectErrors[0]
		m.inspectErrors = m.inspectErrors[1:]
		return spec.Facts{}, err
	}
	m.questions = append(m.questions, question)
	facts := spec.Facts{Arch: m.arch, Working: m.working}
	if op, asked := question.Operations[m.arch]; asked {
		plan := m.plan
		plan.ID = op.ID
		facts.Plan = &plan
	}
	return facts, nil
}

func (m *fakeMachine) Start(_ context.Context, op spec.Operation) (spec.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started = append(m.started, op)
	m.done = make(chan struct{})
	if !sends(op.Images.Sources) {
		close(m.done)
	}
	return spec.Status{ID: op.ID, State: spec.Running, Total: 2}, nil
}

func (m *fakeMachine) Watch(ctx context.Context, _ string, each func(spec.Status)) (spec.Status, error) {
	if m.cancelled > 0 {
		return spec.Status{State: spec.Cancelled}, nil
	}
	each(spec.Status{
		State: spec.Running, Phase: "images", Index: 2, Total: 2,
		Progress: &spec.Progress{Done: 214e6, Total: 398e6, Rate: 96e6, What: "app.tar (2 of 5)"},
	})
	select {
	case <-m.done:
	case <-ctx.Done():
		return spec.Status{State: spec.Running}, context.Cause(ctx)
	}
	each(m.result)
	return m.result, nil
}

func (m *fakeMachine) Cancel(context.Context, string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancelled++
	return nil
}

func (m *fakeMachine) Feed(ctx context.Context, _ string, open feed.Open) error {
	for _, source := range m.started[len(m.started)-1].Images.Sources {
		if source.Sent == nil {
			continue
		}
		archive, err := open(ctx, source.Sent.Key)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, archive)
		if err := errors.Join(err, archive.Close()); err != nil {
			return err
		}
		m.mu.Lock()
		m.received[source.Sent.Key] = int(n)
		m.mu.Unlock()
	}
	close(m.done)
	return nil
}

func planOf(outcome spec.Outcome, detail string) spec.Status {
	return spec.Status{Total: 2, Phases: []spec.Phase{
		{Name: "preflight", Outcome: spec.Held},
		{Name: "images", Outcome: outcome, Detail: detail},
	}}
}

func lacking() *fakeMachine {
	done := planOf(spec.Applied, "2 of 2 archives imported: /srv/images/a.tar (x.org/a:v1)")
	done.State, done.Changed = spec.Succeeded, true
	return &fakeMachine{
		arch: "amd64", plan: planOf(spec.Wanted, "2 of 2 archives to import"), result: done,
		received: map[string]int{},
	}
}

func newImporter(t *testing.T, supply *Supply, machine *fakeMachine, importImages string) *Importer {
	t.Helper()
	cluster, err := config.Parse("team-a",
		[]byte("privateNodes: {enabled: true, joinNode: {containerd: {importImages: ["+importImages+"]}}}\n"), []byte(`
apiVersion: argosy.dev/v1alpha1
kind: Fleet
cluster: {kubeconfigSecret: kubeconfig}
machines: [{name: m1, address: 192.0.2.1}]
limits: {retryBudget: 3s}
`))
	assert.NilError(t, err)
	return &Importer{
		Cluster: cluster, Supply: supply,
		UID:     func(context.Context) (string, error) { return "uid-a", nil },
		Machine: func(config.Machine) Machine { return machine },
	}
}

func run(ctx context.Context, importer *Importer, items ...string) (Outcome, []string, error) {
	var mu sync.Mutex
	var said []string
	outcome, err := importer.Import(ctx, importer.Cluster.Fleet.Machines[0], items, operation.NewLimiter(1),
		operation.AsText(func(text string) {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, text)
		}))
	return outcome, said, err
}

func TestAMachineIsSentWhatItLacks(t *testing.T) {
	h := newHub(t)
	h.push(t, "app:v1", "linux/amd64", "linux/arm64")
	machine := lacking()
	outcome, said, err := run(t.Context(), newImporter(t, h.supply(), machine, ""), "/srv/images",
		"oci://"+h.host+"/app:v1")
	assert.NilError(t, err)
	assert.Assert(t, outcome.Changed)
	assert.Assert(t, strings.Contains(outcome.String(), "2 of 2 archives imported"), outcome.String())
	assert.Assert(t, strings.Contains(strings.Join(said, "\n"),
		"[2/2 images] app.tar (2 of 5): 214 of 398 MB, 96 MB/s"), said)
	wanted := machine.started[0].Images
	assert.Equal(t, wanted.ClusterUID, "uid-a")
	assert.Equal(t, wanted.BinariesPath, "/usr/local/bin")
	assert.DeepEqual(t, wanted.Sources[0], spec.ImageSource{Name: "/srv/images", Path: "/srv/images"})
	assert.Equal(t, int64(machine.received[wanted.Sources[1].Sent.Key]), wanted.Sources[1].Sent.Size)
	assert.Assert(t, machine.started[0].Secrets.Empty())
}

func TestAMachineThatHasAllIsNotWorkedOn(t *testing.T) {
	machine := lacking()
	machine.plan = planOf(spec.Held, "the images of 1 archive are there")
	outcome, _, err := run(t.Context(), newImporter(t, NewSupply(Settings{}), machine, "/srv/images"))
	assert.NilError(t, err)
	assert.Equal(t, outcome.String(), "machine m1: the images of 1 archive are there")
	assert.Equal(t, len(machine.started), 0)
	assert.Equal(t, machine.questions[0].Operations["arm64"].Images.Sources[0].Path, "/srv/images",
		"what the documents name")
}

func TestAMissingImageIsReportedBeforeAMachineIsAsked(t *testing.T) {
	h := newHub(t)
	machine := lacking()
	importer := newImporter(t, h.supply(), machine, "")
	_, _, err := run(t.Context(), importer, "oci://"+h.host+"/none:v1", "oci://"+h.host+"/nor:v1")
	assert.ErrorContains(t, err, "/none:v1")
	assert.ErrorContains(t, err, "/nor:v1")
	assert.Equal(t, len(machine.questions), 0)
	_, err = importer.Plan(t.Context(), importer.Cluster.Fleet.Machines, []string{"oci://" + h.host + "/none:v1"},
		operation.NoProgress{})
	assert.ErrorContains(t, err, "/none:v1")
}

func TestAMachineIsRefusedWithoutAnImageForItsArchitecture(t *testing.T) {
	h := newHub(t)
	h.push(t, "app:v1", "linux/arm64")
	machine := lacking()
	_, _, err := run(t.Context(), newImporter(t, h.supply(), machine, ""), "oci://"+h.host+"/app:v1")
	assert.ErrorContains(t, err, "only for linux/arm64")
	assert.Equal(t, len(machine.started), 0)
	machine.arch = "arm64"
	_, _, err = run(t.Context(), newImporter(t, h.supply(), machine, ""), "oci://"+h.host+"/app:v1")
	assert.NilError(t, err)
	machine.arch = "riscv64"
	_, _, err = run(t.Context(), newImporter(t, h.supply(), machine, ""), "/srv/images")
	assert.ErrorContains(t, err, `architecture is "riscv64"`)
}

func TestADamagedArchiveFailsTheMachineByName(t *testing.T) {
	machine := lacking()
	machine.result = spec.Status{State: spec.Failed, Phase: "images", Error: &spec.Error{
		Class: errclass.Permanent, Phase: "images", Message: "1 of 2 archives could not be imported",
		Problems: []string{"/srv/images/b.tar: it is damaged"},
	}}
	_, _, err := run(t.Context(), newImporter(t, NewSupply(Settings{}), machine, ""), "/srv/images")
	assert.ErrorContains(t, err, "/srv/images/b.tar: it is damaged")
	assert.Equal(t, len(machine.started), 1)
}

func TestAnImportIsRetriedAndAttachedToWhereItRuns(t *testing.T) {
	machine := lacking()
	machine.inspectErrors = []error{errclass.With(errclass.Transient, errors.New("no route to host"))}
	importer := newImporter(t, NewSupply(Settings{}), machine, "")
	_, said, err := run(t.Context(), importer, "/srv/images")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(strings.Join(said, "\n"), "no route to host; trying again (1)"), said)

	machine.working = machine.started[0].ID
	limiter := operation.NewLimiter(1)
	leave, err := limiter.Enter(t.Context(), func(int) {})
	assert.NilError(t, err)
	defer leave()
	_, err = importer.Import(t.Context(), importer.Cluster.Fleet.Machines[0], []string{"/srv/images"}, limiter,
		operation.NoProgress{})
	assert.NilError(t, err, "it does not wait for a place")
	assert.Equal(t, machine.started[1].ID, machine.started[0].ID)
}

func TestACancelledImportStopsTheMachine(t *testing.T) {
	machine := lacking()
	ctx, cancel := context.WithCancelCause(t.Context())
	h := newHub(t)
	h.push(t, "app:v1", "linux/amd64")
	importer := newImporter(t, h.supply(), machine, "")
	importer.Machine = func(config.Machine) Machine {
		return hanging{
			machine,
			func() { cancel(errors.New("stopped")) },
		}
	}
	_, _, err := run(ctx, importer, "oci://"+h.host+"/app:v1")
	assert.ErrorContains(t, err, "stopped")
	assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled)
	assert.Equal(t, machine.cancelled, 1)
}

// hanging is a machine whose operation asks for nothing.
type hanging struct {
	*fakeMachine
	fed func()
}

func (h hanging) Feed(ctx context.Context, _ string, _ feed.Open) error {
	h.fed()
	<-ctx.Done()
	return nil
}

func TestThePlanListsWhatMachinesLack(t *testing.T) {
	held, refused := lacking(), lacking()
	held.plan = planOf(spec.Held, "the images of 1 archive are there")
	refused.plan.Error = &spec.Error{
		Class: errclass.Permanent, Message: "x",
		Problems: []string{"The machine is no node of cluster team-a; join it first."},
	}
	busy := lacking()
	busy.inspectErrors = []error{errors.New("no route to host")}
	for name, test := range map[string]struct {
		machine *fakeMachine
		action  Action
		says    string
	}{
		"lacks":   {lacking(), ActionImport, "2 of 2 archives to import"},
		"has all": {held, ActionNothing, "are there"},
		"no node": {refused, ActionRefuse, "join it first"}, "unreachable": {busy, ActionRefuse, "no route to host"},
	} {
		t.Run(name, func(t *testing.T) {
			importer := newImporter(t, NewSupply(Settings{}), test.machine, "/srv/images")
			entries, err := importer.Plan(t.Context(), importer.Cluster.Fleet.Machines, nil, operation.NoProgress{})
			assert.NilError(t, err)
			assert.Equal(t, entries[0].Action, test.action)
			assert.Assert(t, strings.Contains(Table(entries), test.says), Table(entries))
			assert.Equal(t, len(With(test.action, entries)), 1)
			assert.Equal(t, len(test.machine.started), 0)
		})
	}
	importer := newImporter(t, NewSupply(Settings{}), lacking(), "")
	entries, err := importer.Plan(t.Context(), importer.Cluster.Fleet.Machines, nil, operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, entries[0].Action, ActionNothing)
}
