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

// The line is of a shell that gets "echo [x]", in the form of pkg/ssh.
func TestSimulatedMachineFindsCommandBetweenItsMarks(t *testing.T) {
	const line = `sh -c 'eval "$(printf %b "$@")"' argosy 'printf %s \0047\0133argosy begins E1\0135\0047 >&2; ' ` +
		`'printf %s \0047\0133argosy begins O1\0135\0047\0012echo \0133x\0135\0012c=$?\0012printf ` +
		`\0047%s %s\0135\0047 \0047\0133argosy ends O2\0047 "$c"\0012printf \0047%s %s\0135\0047 ` +
		`\0047\0133argosy ends E2\0047 "$c" >&2\0012exit $c'`
	assert.Equal(t, decodeScript(line), script{
		command: "echo [x]", beginErrors: "[argosy begins E1]", begin: "[argosy begins O1]", end: "[argosy ends O2",
		endErrors: "[argosy ends E2",
	})
	assert.Equal(t, decodeScript("scp -t /tmp"), script{command: "scp -t /tmp"})
}
