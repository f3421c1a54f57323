package main

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
)

func TestGapLastsFromOneAnswerToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("connection refused")
		var w watcher
		// the first is before anything is measured
		for _, answer := range []error{refused, nil, nil, refused, refused, nil} {
			time.Sleep(time.Second)
			w.note(answer)
		}
		time.Sleep(time.Minute)
		assert.Equal(t, w.seen.text("kept-"), `kept-gap=3.00s kept-failed=2/5 kept-first-failure="connection refused"`)
	})
}

func TestSecondRunReportsItsChanges(t *testing.T) {
	for message, changed := range map[string]bool{
		"API server https://192.0.2.9:443 runs v1.34.4 after 0.4 s: 14 unchanged":                              false,
		"API server https://192.0.2.9:443 runs v1.34.4 after 9.1 s: 1 changed (StatefulSet a/b), 13 unchanged": true,
		"flannel v0.26.7 after 0.3 s: 2 created, 40 unchanged":                                                 true,
		"flannel v0.26.7 after 0.3 s: nothing to set":                                                          true,
	} {
		assert.Equal(t, changes(message), changed, message)
	}
}

func TestCostsAreReadFromEitherVersionOfCgroups(t *testing.T) {
	used, err := parseCosts("cpu 2844238997\nmemory 10571776\ncpu 2844238000\n")
	assert.NilError(t, err)
	assert.DeepEqual(t, used, map[string]int64{"cpu": 2844238997, "memory": 10571776})
	_, err = parseCosts("")
	assert.ErrorContains(t, err, "neither version's files")
}
