package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/internal/offload"
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

func namesUpTo(number int) []string {
	var names []string
	for i := range number {
		names = append(names, fmt.Sprintf("m%d", i+1))
	}
	return names
}

func TestMachinesAreDividedIntoGroupsOfOneSize(t *testing.T) {
	for _, test := range []struct{ machines, groups, smallest, largest int }{
		{0, 0, 0, 0},
		{1, 1, 1, 1},
		{100, 100, 1, 1},
		{101, 3, 33, 34},
		{1000, 20, 50, 50},
		{5000, 100, 50, 50},
		{5001, 99, 50, 51},
		{20000, 100, 200, 200},
	} {
		names := namesUpTo(test.machines)
		groups := groupsOf(names, len(names))
		assert.Equal(t, len(groups), test.groups, "%d machines", test.machines)
		var all []string
		seen := map[string]bool{}
		for _, g := range groups {
			assert.Assert(t, len(g) >= test.smallest && len(g) <= test.largest, "%d machines: a group of %d",
				test.machines, len(g))
			assert.Equal(t, groupLength(g.name()), len(g))
			assert.Equal(t, isGroup(g.name()), len(g) > 1)
			assert.Assert(t, !seen[g.name()])
			seen[g.name()] = true
			all = append(all, g...)
		}
		assert.DeepEqual(t, all, names)
	}
	assert.Equal(t, group(namesUpTo(50)).name(), "m1+49")
}

// groupEnv is an Env with a cluster of that many machines.
func groupEnv(t *testing.T, number int) (*Env, *config.Cluster) {
	t.Helper()
	var machines strings.Builder
	for i, name := range namesUpTo(number) {
		_, _ = fmt.Fprintf(&machines, "  - {name: %s, address: 10.0.%d.%d}\n", name, i/200, i%200+1)
	}
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), []byte("apiVersion: "+
		"argosy.dev/v1alpha1\nkind: Fleet\ncluster: {kubeconfigSecret: kubeconfig}\nmachines:\n"+machines.String()))
	assert.NilError(t, err)
	env := NewEnv(Openers{}, slog.New(slog.DiscardHandler))
	env.records = offload.Store{Client: fake.NewClientset()}
	return env, cluster
}

var groupCall = plugin.Call{Workflow: plugin.Workflow{Name: "w", Namespace: "team-a", UID: "u"}, Step: "join"}

func TestAGroupNamesFailedMachinesAndKeepsAllReports(t *testing.T) {
	env, cluster := groupEnv(t, 50)
	result, err := env.runGroup(t.Context(), namesUpTo(50), &groupWork{
		call: groupCall, step: joinStep{}, cluster: cluster, each: inLimiter(operation.NewLimiter(8)),
		report: func(string) {},
		do: func(_ context.Context, machine config.Machine, _ func(string)) (plugin.Result, error) {
			switch machine.Name {
			case "m7", "m8", "m9", "m17", "m18", "m19":
				return plugin.Result{}, errors.New("machine " + machine.Name + ": phase containerd: no space\n  | tail")
			case "m20":
				panic("a bug")
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: "is Ready", Outputs: map[string]string{
				"node": machine.Name, "version": "v1.34.4", "changed": "true",
				"report": `{"machine":"` + machine.Name + `"}`,
			}}, nil
		},
	})
	assert.NilError(t, err)
	assert.Equal(t, result.Phase, plugin.Failed)
	assert.Equal(t, result.Message, "43 of 50 machines joined\n"+
		"m17 (Failed): machine m17: phase containerd: no space\n"+
		"m18 (Failed): machine m18: phase containerd: no space\n"+
		"m19 (Failed): machine m19: phase containerd: no space\n"+
		"m20 (Failed): the argosy plugin has a bug and panicked: a bug\nand 3 others: m7, m8, m9")
	assert.Equal(t, result.Outputs["changed"], "true")
	assert.Equal(t, result.Outputs["version"], "", "those that failed have none")
	assert.Equal(t, strings.Count(result.Outputs["table"], "\n"), 51)
	assert.Assert(t, len(result.Outputs["table"]) <= maxGroupTable)

	var kept keptReports
	assert.NilError(t, json.Unmarshal([]byte(result.Outputs["report"]), &kept))
	var reports []groupResult
	assert.NilError(t, env.records.Read(t.Context(), offload.Owner(groupCall.Workflow), kept.ConfigMap, &reports))
	assert.Equal(t, len(reports), 50)
	assert.Equal(t, string(reports[0].Report), `{"machine":"m1"}`)
	assert.Assert(t, strings.HasSuffix(reports[6].Message, "| tail"))
}

func TestAGroupInspectsABoundedNumberOfMachinesAtOnce(t *testing.T) {
	env, cluster := groupEnv(t, 200)
	var inside, most atomic.Int32
	release := make(chan struct{})
	full := sync.OnceFunc(func() { close(release) })
	_, err := env.runGroup(t.Context(), namesUpTo(200), &groupWork{
		call: groupCall, step: joinStep{}, cluster: cluster, each: inLimiter(operation.NewLimiter(8)),
		report: func(string) {},
		do: func(context.Context, config.Machine, func(string)) (plugin.Result, error) {
			now := inside.Add(1)
			defer inside.Add(-1)
			if now > most.Load() {
				most.Store(now)
			}
			if now == 8 {
				full()
			}
			<-release
			return plugin.Result{Phase: plugin.Succeeded}, nil
		},
	})
	assert.NilError(t, err)
	assert.Equal(t, most.Load(), int32(8))
}

func TestACancelledGroupHasNoAnswer(t *testing.T) {
	env, cluster := groupEnv(t, 50)
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := env.runGroup(ctx, namesUpTo(50), &groupWork{
		call: groupCall, step: joinStep{}, cluster: cluster, each: inLimiter(operation.NewLimiter(4)),
		report: func(string) {},
		do: func(ctx context.Context, _ config.Machine, _ func(string)) (plugin.Result, error) {
			cancel(plugin.ErrDetach)
			<-ctx.Done()
			return plugin.Result{}, context.Cause(ctx)
		},
	})
	assert.ErrorIs(t, err, plugin.ErrDetach)
}

func TestAGroupOutsideThePlanIsRefused(t *testing.T) {
	env, cluster := groupEnv(t, 4)
	_, err := env.members(t.Context(), groupCall, machineInput{Machine: "m1+3"}, cluster)
	assert.ErrorContains(t, err, `"groups" is empty`)
	kept, err := env.keep(t.Context(), groupCall, "groups", cluster, []group{{"m1", "m2"}})
	assert.NilError(t, err)
	_, err = env.members(t.Context(), groupCall, machineInput{Machine: "m1+3", Groups: kept}, cluster)
	assert.ErrorContains(t, err, "the plan of this workflow has no such group")
	found, err := env.members(t.Context(), groupCall, machineInput{Machine: "m1+1", Groups: kept}, cluster)
	assert.NilError(t, err)
	assert.DeepEqual(t, found, group{"m1", "m2"})
}

func TestASummaryTakesGroupsForTheirMachines(t *testing.T) {
	env, cluster := groupEnv(t, 4)
	kept, err := env.keep(t.Context(), groupCall, "reports", cluster, []groupResult{
		{machineResult: machineResult{Machine: "m1", Phase: "Succeeded", Message: "is Ready"}},
		{machineResult: machineResult{Machine: "m2", Phase: "Failed", Message: "no space"}},
	})
	assert.NilError(t, err)
	results := env.withMembers(t.Context(), groupCall, []machineResult{
		{Machine: "m1+1", Phase: "Failed", Message: "1 of 2 machines joined", reports: kept, started: 1},
		{Machine: "m3+148", Phase: "Error", Message: "the agent pod was lost", started: 1},
		{Machine: "m2", Phase: "Succeeded", Message: "is Ready", started: 2}, // a later step
	})
	assert.Equal(t, summaryMessage("join", results), "2 of 151 machines joined\n"+
		"m3+148 (Error): the agent pod was lost")
}
