package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/remove"
)

// removeBoth runs the request on machines m1 and m2, which have no nodes, and returns how many operations started.
func removeBoth(t *testing.T, refused string, request removeRequest) (out string, started int, err error) {
	t.Helper()
	var text bytes.Buffer
	request.machines, request.concurrency = "all", 1
	err = request.run(t.Context(), &remove.Remover{Resetter: resetterOfBoth(t, refused, &started)}, &text)
	return text.String(), started, err
}

func TestRemoveWithoutYesOnlyShowsThePlan(t *testing.T) {
	out, started, err := removeBoth(t, "", removeRequest{})
	assert.Assert(t, program.IsUsage(err), "%v", err)
	assert.ErrorContains(t, err, "add --yes")
	assert.Equal(t, strings.Count(out, "binaries from /usr/local/bin/.argosy"), 2, out)
	assert.Equal(t, started, 0)
}

func TestRemoveWithYesRemovesMachinesAndNamesTheNextStep(t *testing.T) {
	out, started, err := removeBoth(t, "", removeRequest{confirmed: true})
	assert.NilError(t, err)
	assert.Equal(t, started, 2)
	assert.Assert(t, strings.HasSuffix(out, "The machines are removed; take them out of machines in argosy.yaml, or "+
		"the next join brings them back.\n"), out)
}

func TestRemoveChangesNothingWhenOneMachineIsRefused(t *testing.T) {
	_, started, err := removeBoth(t, "m2", removeRequest{confirmed: true})
	assert.ErrorContains(t, err, "machine \"m2\" can't be removed as it is")
	assert.Equal(t, started, 0)
}

func TestTheCommandLineAddsToTheFleetsPolicy(t *testing.T) {
	fleet := config.Defaults().Fleet.Drain
	assert.DeepEqual(t, removeRequest{}.over(fleet).Policy, fleet)
	policy := removeRequest{force: true, timeout: time.Second}.over(fleet).Policy
	assert.Assert(t, policy.Force && policy.Timeout.Duration == time.Second && policy.DeleteEmptyDirData)
}
