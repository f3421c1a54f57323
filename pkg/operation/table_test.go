package operation

import (
	"testing"

	"gotest.tools/v3/assert"
)

func TestATableShowsFurtherReasonsBeneath(t *testing.T) {
	table := NewTable("MACHINE", "ACTION", "WHY")
	table.Add([]string{"it has no swap", "it is small"}, "m1", "refuse")
	table.Add(nil, "m2", "nothing")
	table.Add([]string{""}, "machine-3", "join")
	assert.Equal(t, table.String(), ""+
		"MACHINE    ACTION  WHY\n"+
		"m1         refuse  it has no swap\n"+
		"                   it is small\n"+
		"machine-3  join    \n")
}
