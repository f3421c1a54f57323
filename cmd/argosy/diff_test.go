package main

import (
	"bytes"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/join"
)

func TestADiffShowsOnlyMachinesThatDiffer(t *testing.T) {
	same := join.Entry{Machine: "same-1", Action: join.ActionNothing, Reasons: []string{"as wanted"}}
	var out bytes.Buffer
	assert.NilError(t, printDiff(&out, []join.Entry{same}))
	assert.Equal(t, out.String(), "no differences: 1 of 1 machines are as the documents have them\n")
	out.Reset()
	err := printDiff(&out, []join.Entry{
		same,
		{Machine: "m2", Action: join.ActionReconcile, Reasons: []string{"kernel: a sysctl differs"}},
		{Machine: "m3", Action: join.ActionRefuse, Reasons: []string{"no route to host"}},
	})
	assert.ErrorContains(t, err, "2 of 3 machines differ from the documents")
	assert.Assert(t, strings.Contains(out.String(), "kernel: a sysctl differs"), out.String())
	assert.Assert(t, strings.Contains(out.String(), "no route to host"), out.String())
	assert.Assert(t, !strings.Contains(out.String(), "same-1"), out.String())
}
