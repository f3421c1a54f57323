package state

import (
	"testing"

	"gotest.tools/v3/assert"
)

func TestManyEventsOfOneWriteAreBounded(t *testing.T) {
	assert.Equal(t, len(bound(make([]Event, maxEvents))), maxEvents)
	bounded := bound(make([]Event, 50))
	assert.Equal(t, len(bounded), maxEvents)
	last := bounded[maxEvents-1]
	assert.Equal(t, last.Reason, "EventsOmitted")
	assert.Equal(t, last.Message, "31 more events; the rows of machines have the results")
}
