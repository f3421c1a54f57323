package rollout_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/upgrade/rollout"
)

func is(state rollout.State) func(*rollout.Machine) {
	return func(m *rollout.Machine) { m.State = state }
}

func because(reason string) func(*rollout.Machine) {
	return func(m *rollout.Machine) { m.State, m.Reason = rollout.Failed, reason }
}

// table reads the rows of Admit's doc comment: the state of the machine, that of the others, and the answer.
func table(t *testing.T) map[string]string {
	t.Helper()
	source, err := os.ReadFile("admit.go")
	assert.NilError(t, err)
	_, after, found := strings.Cut(string(source), "// Admit decides")
	assert.Assert(t, found)
	comment, _, found := strings.Cut(after, "func (s *Situation) Admit(")
	assert.Assert(t, found)
	rows := map[string]string{}
	for _, line := range strings.Split(comment, "\n") {
		row, found := strings.CutPrefix(line, "//\t")
		if !found {
			continue
		}
		cells := regexp.MustCompile(` {2,}`).Split(row, -1)
		assert.Equal(t, len(cells), 3, row)
		rows[cells[0]+" | "+cells[1]] = strings.FieldsFunc(cells[2], func(r rune) bool { return r == ',' })[0]
	}
	delete(rows, "the machine | the others")
	return rows
}

// TestEachRowOfTheTableHolds asks for m1. The plan, unless a case has its own: m1 m2 m3 in one wave, m4 m5 in the next,
// two may be out of service, and one may fail.
func TestEachRowOfTheTableHolds(t *testing.T) {
	type change = func(*rollout.Machine)
	rows := table(t)
	walked := map[string]bool{}
	closed := time.Date(2026, time.March, 1, 4, 30, 0, 0, time.UTC)
	for _, test := range []struct {
		row    string
		ask    string
		now    []change
		reason string
	}{
		{"is not in the plan or the snapshot | -", "m9", nil, "is not part of this rollout"},
		{"is not in the plan or the snapshot | -", "m6", nil, "not selected"},
		{"is not in the plan or the snapshot | -", "m7", nil, "runs the target version"},
		{
			"is not in the plan or the snapshot | -", "m1",
			[]change{with(func(m *rollout.Machine) { m.Name = "other" }, "m1")},
			"is gone",
		},
		{"is finished, or left out meanwhile | -", "m1", []change{with(is(rollout.Succeeded), "m1")}, "has succeeded"},
		{
			"is finished, or left out meanwhile | -", "m1",
			[]change{with(because("no disk"), "m1")},
			"has failed: no disk",
		},
		{"is pending, and its node is gone | -", "m1", []change{with(runs(""), "m1")}, "its node is gone"},
		{"is finished, or left out meanwhile | -", "m1", []change{with(is(rollout.Failed), "m1")}, "has failed"},
		{"is finished, or left out meanwhile | -", "m1", []change{with(is(rollout.Skipped), "m1")}, "was skipped"},
		{"is finished, or left out meanwhile | -", "m1", []change{with(is(rollout.Left), "m1")}, "was left"},
		{"is finished, or left out meanwhile | -", "m1", []change{with(skip("label"), "m1")}, "label"},
		{"is at work | -", "m1", []change{with(is(rollout.Working), "m1", "m2", "m3")}, "is at work already"},
		{"is at work | -", "m1", []change{
			with(is(rollout.Working), "m1"), with(skip("label"), "m1"),
			with(is(rollout.Failed), "m2", "m3"),
		}, "is at work already"},
		{
			"is pending | more have failed than the budget allows", "m1",
			[]change{with(is(rollout.Failed), "m2", "m3")},
			"halted after m2, m3",
		},
		{
			"is pending | more have failed than the budget allows", "m4",
			[]change{with(is(rollout.Failed), "m2", "m3")},
			"halted after m2, m3",
		},
		{
			"is pending | more have failed than the budget allows", "m4",
			[]change{with(is(rollout.Failed), "m2"), with(runs(""), "m3")},
			"halted after m2, m3",
		},
		{
			"is pending | a canary has failed, whatever the budget", "m1",
			[]change{with(is(rollout.Failed), "m3"), with(canary, "m3")},
			"halted after canary m3",
		},
		{"is pending | any, but the rollout was aborted", "m1", nil, "the rollout was aborted"},
		{
			"is pending | any, but the rollout is paused", "m4",
			[]change{with(is(rollout.Succeeded), "m1", "m2", "m3")},
			`the rollout is paused, until "argosy resume"`,
		},
		{
			"is pending | any, but the window has closed", "m1", nil,
			"the window closed at 04:30:00 UTC; the next run upgrades the rest",
		},
		{
			"is pending | any, but the window has closed", "m1",
			[]change{with(is(rollout.Working), "m2")},
			"the window closed at 04:30:00 UTC; the next run upgrades the rest",
		},
		{
			"is pending | an earlier wave is not finished", "m4",
			[]change{with(is(rollout.Working), "m2"), with(is(rollout.Succeeded), "m1")},
			"waiting for wave 1: m2 is at work",
		},
		{
			"is pending | an earlier wave is not finished", "m4",
			[]change{with(is(rollout.Succeeded), "m1")},
			"waiting for wave 1: m2, m3 are still to begin",
		},
		{"is pending | fewer than N are at work or unavailable", "m1", nil, ""},
		{"is pending | fewer than N are at work or unavailable", "m1", []change{with(is(rollout.Working), "m2")}, ""},
		{"is pending | fewer than N are at work or unavailable", "m1", []change{with(unavailable, "m6")}, ""},
		{
			"is pending | fewer than N are at work or unavailable", "m1",
			[]change{with(is(rollout.Working), "m2"), with(unavailable, "m2")},
			"",
		},
		{
			"is pending | fewer than N are at work or unavailable", "m1",
			[]change{with(is(rollout.Working), "m2"), with(unavailable, "m1")},
			"",
		},
		{"is pending | fewer than N are at work or unavailable", "m1", []change{with(is(rollout.Failed), "m2")}, ""},
		{
			"is pending | fewer than N are at work or unavailable", "m4",
			[]change{
				with(is(rollout.Succeeded), "m1"), with(is(rollout.Skipped), "m2"),
				with(is(rollout.Failed), "m3"),
			},
			"",
		},
		{
			"is pending | fewer than N are at work or unavailable", "m4",
			[]change{with(is(rollout.Succeeded), "m1", "m2"), with(skip("label"), "m3")},
			"",
		},
		{
			"is pending | fewer than N are at work or unavailable", "m4",
			[]change{
				with(is(rollout.Succeeded), "m1", "m2"),
				with(func(m *rollout.Machine) { m.Name = "other" }, "m3"),
			},
			"",
		},
		{
			"is pending, and unavailable already | fewer than N are at work", "m1",
			[]change{with(unavailable, "m1", "m6", "m7")},
			"is unavailable already",
		},
		{
			"is pending, and unavailable already | fewer than N are at work", "m1",
			[]change{with(unavailable, "m1", "m6"), with(is(rollout.Working), "m2")},
			"is unavailable already",
		},
		{
			"is pending | N or more, and some of them are at work", "m1",
			[]change{with(is(rollout.Working), "m2", "m3")},
			"m2, m3 are at work, and no more than 2 may be out of service",
		},
		{
			"is pending | N or more, and some of them are at work", "m1",
			[]change{with(is(rollout.Working), "m2"), with(unavailable, "m7")},
			"m2 is at work and m7 is unavailable, and no more than 2 may be out of service",
		},
		{
			"is pending | N or more, and some of them are at work", "m1",
			[]change{with(unavailable, "m1"), with(is(rollout.Working), "m2", "m3")},
			"m2, m3 are at work, and no more than 2 may be out of service",
		},
		{
			"is pending | N or more, and some of them are at work", "m1",
			[]change{with(runs(""), "m2"), with(is(rollout.Working), "m3")},
			"m3 is at work and m2 is unavailable, and no more than 2 may be out of service",
		},
		{
			"is pending | N or more, one of them pending in its wave", "m1",
			[]change{with(unavailable, "m3", "m6")},
			"m3 is unavailable already, and begun first",
		},
		{
			"is pending | N or more, and none of them is at work", "m1",
			[]change{with(unavailable, "m6", "m7")},
			"m6, m7 are unavailable already, and no more than 2 may be out of service",
		},
		{
			"is pending | N or more, and none of them is at work", "m1",
			[]change{with(unavailable, "m2", "m5"), with(is(rollout.Failed), "m2")},
			"m2, m5 are unavailable already, and no more than 2 may be out of service",
		},
		{
			"is pending | N or more, and none of them is at work", "m1",
			[]change{with(unavailable, "m2", "m6"), with(skip("label"), "m2")},
			"m2, m6 are unavailable already, and no more than 2 may be out of service",
		},
	} {
		t.Run(test.row+"/"+test.reason, func(t *testing.T) {
			verdict, found := rows[test.row]
			assert.Assert(t, found, "the doc comment has no such row")
			walked[test.row] = true
			policy := rollout.Policy{
				Target: "v1.34.4", MaxUnavailable: number(2), WaveSize: number(3),
				FailureBudget: number(1),
			}
			start := []change{with(skip("not selected"), "m6"), with(runs("v1.34.4"), "m7")}
			plan, err := rollout.Make(fleet(7, start...), policy)
			assert.NilError(t, err)

			now := rollout.Snapshot{Machines: fleet(7, append(start, test.now...)...)}
			now.Paused = strings.HasSuffix(test.row, "the rollout is paused")
			now.Aborted = strings.HasSuffix(test.row, "the rollout was aborted")
			if strings.HasSuffix(test.row, "the window has closed") {
				now.Closed = closed
			}
			answer := rollout.Situate(plan, now).Admit(test.ask)
			assert.Equal(t, string(answer.Verdict), strings.ToLower(verdict), answer.Reason)
			assert.Equal(t, answer.Reason, test.reason)
			assert.Equal(t, answer.MayPass, strings.HasSuffix(test.row, "none of them is at work"))
		})
	}
	assert.Equal(t, len(walked), len(rows), "each row has a case")
}

func TestAPlanThatLetsNoMachineBeUnavailableStartsNothing(t *testing.T) {
	plan, err := rollout.Make(fleet(1), rollout.Policy{Target: "v1.34.4", MaxUnavailable: number(1)})
	assert.NilError(t, err)
	plan.MaxUnavailable = 0
	answer := rollout.Situate(plan, rollout.Snapshot{Machines: fleet(1)}).Admit("m1")
	assert.Equal(t, answer.Verdict, rollout.Leave)
	assert.Equal(t, answer.Reason, "the plan lets no machine be out of service")
	answer = rollout.Situate(plan, rollout.Snapshot{Machines: fleet(1, is(rollout.Working))}).Admit("m1")
	assert.Equal(t, answer.Verdict, rollout.Start)
}

func TestAMachineAtWorkGoesOnAfterTheWindow(t *testing.T) {
	plan, err := rollout.Make(fleet(1), rollout.Policy{Target: "v1.34.4", MaxUnavailable: number(1)})
	assert.NilError(t, err)
	now := rollout.Snapshot{Machines: fleet(1, is(rollout.Working)), Closed: time.Now()}
	assert.Equal(t, rollout.Situate(plan, now).Admit("m1").Verdict, rollout.Start)
	assert.Assert(t, rollout.Situate(plan, now).Halt() != nil)
}

func TestAPlanKeepsItsWavesInJSON(t *testing.T) {
	plan, err := rollout.Make(fleet(5, with(canary, "m2"), with(skip("no"), "m4"), with(runs("v1.34.4"), "m5")),
		rollout.Policy{Target: "v1.34.4", MaxUnavailable: number(2), FailureBudget: number(1)})
	assert.NilError(t, err)
	encoded, err := json.Marshal(plan)
	assert.NilError(t, err)
	assert.Equal(t, string(encoded), `{"waves":[{"name":"canary","machines":["m2"],"canary":true},`+
		`{"name":"1","machines":["m1","m3"]}],"maxUnavailable":2,"failureBudget":1}`)
	var read rollout.Plan
	assert.NilError(t, json.Unmarshal(encoded, &read))
	plan.Skipped, plan.Held = nil, nil
	assert.DeepEqual(t, read, plan)
}

func TestManyMachinesAreNamedBriefly(t *testing.T) {
	for n, want := range map[int]string{
		6: "m1, m2, m3, m4, m5 and another one are at work, and no more than 6 may be out of service",
		9: "m1, m2, m3, m4, m5 and 4 others are at work, and no more than 9 may be out of service",
	} {
		policy := rollout.Policy{Target: "v1.34.4", MaxUnavailable: number(int32(n)), WaveSize: number(20)}
		machines := fleet(n + 1)
		plan, err := rollout.Make(machines, policy)
		assert.NilError(t, err)
		for i := range n {
			machines[i].State = rollout.Working
		}
		situation := rollout.Situate(plan, rollout.Snapshot{Machines: machines})
		assert.Equal(t, situation.Admit(machines[n].Name).Reason, want)
	}
}

// The plan: canaries m1 and m2, each in a wave of its own, then m3. The canaries
//
//	have                               are unproven
//	begun, or not yet                  no: one may still show something
//	failed                             yes, and the rollout is halted
//	been skipped, both                 yes
//	been skipped, and one upgraded     no
//	been skipped, and one upgraded by another rollout   no
func TestCanariesThatWereAllSkippedProveNothing(t *testing.T) {
	for name, test := range map[string]struct {
		now      []func(*rollout.Machine)
		unproven bool
	}{
		"not begun": {},
		"one at work": {now: []func(*rollout.Machine){
			with(is(rollout.Skipped), "m1"),
			with(is(rollout.Working), "m2"),
		}},
		"all skipped": {
			now:      []func(*rollout.Machine){with(is(rollout.Skipped), "m1", "m2")},
			unproven: true,
		},
		"one skipped, one left": {now: []func(*rollout.Machine){
			with(is(rollout.Skipped), "m1"),
			with(is(rollout.Left), "m2"),
		}, unproven: true},
		"labels keep them out": {now: []func(*rollout.Machine){with(skip("label"), "m1", "m2")}, unproven: true},
		"one upgraded": {now: []func(*rollout.Machine){
			with(is(rollout.Succeeded), "m1"),
			with(is(rollout.Skipped), "m2"),
		}},
		"upgraded by another one": {now: []func(*rollout.Machine){
			with(is(rollout.Skipped), "m1", "m2"),
			with(runs("v1.34.4"), "m2"),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := rollout.Make(fleet(3, with(canary, "m1", "m2")),
				rollout.Policy{Target: "v1.34.4", MaxUnavailable: number(1)})
			assert.NilError(t, err)
			machines := fleet(3, append([]func(*rollout.Machine){with(canary, "m1", "m2")}, test.now...)...)
			situation := rollout.Situate(plan, rollout.Snapshot{Machines: machines})
			assert.Equal(t, situation.Unproven("v1.34.4"), test.unproven)
		})
	}
	plan, err := rollout.Make(fleet(1), rollout.Policy{Target: "v1.34.4", MaxUnavailable: number(1)})
	assert.NilError(t, err)
	assert.Assert(t, !rollout.Situate(plan, rollout.Snapshot{Machines: fleet(1)}).Unproven("v1.34.4"))
}
