package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// oneFails is a package with a test that passes, one that fails in a subtest, and one that is skipped.
const oneFails = `{"Action":"start","Package":"x/e2e"}
{"Action":"output","Package":"x/e2e","Test":"TestJoin","Output":"joining\n"}
{"Action":"pass","Package":"x/e2e","Test":"TestJoin","Elapsed":2.5}
{"Action":"output","Package":"x/e2e","Test":"TestReset/twice","Output":"resetting\n"}
{"Action":"fail","Package":"x/e2e","Test":"TestReset/twice","Elapsed":40}
{"Action":"fail","Package":"x/e2e","Test":"TestReset","Elapsed":41}
{"Action":"skip","Package":"x/e2e","Test":"TestNone","Elapsed":0}
{"Action":"output","Package":"x/e2e","Output":"FAIL\tx/e2e\t44s\n"}
{"Action":"fail","Package":"x/e2e","Elapsed":44}
`

func TestSlowestTestsAreListedInOrder(t *testing.T) {
	var out bytes.Buffer
	passed, err := report(strings.NewReader(oneFails), &out, false)
	assert.NilError(t, err)
	assert.Assert(t, !passed)
	assert.Equal(t, out.String(), `joining
resetting
FAIL	x/e2e	44s
the slowest of 4 tests:
     41.0 s  TestReset
     40.0 s  TestReset/twice
      2.5 s  TestJoin
      0.0 s  TestNone
skipped: x/e2e TestNone
`)
}

func TestQuietLeavesOutWhatPassed(t *testing.T) {
	var out bytes.Buffer
	_, err := report(strings.NewReader(oneFails), &out, true)
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(out.String(), "joining"))
	assert.Assert(t, strings.Contains(out.String(), "resetting"))
}

func TestQuietShowsUnfinishedTests(t *testing.T) {
	for name, words := range map[string]string{
		"one that hung":                "panic: test timed out after 10m0s",
		"one whose goroutine panicked": "panic: boom",
		"one that ended the process":   "before exit",
	} {
		t.Run(name, func(t *testing.T) {
			events := fmt.Sprintf(`{"Action":"run","Package":"x","Test":"TestHang"}
{"Action":"output","Package":"x","Test":"TestHang","Output":"%s\n"}
{"Action":"output","Package":"y","Test":"TestOther","Output":"of another package\n"}
{"Action":"output","Package":"x","Output":"FAIL\tx\t600s\n"}
{"Action":"fail","Package":"x","Elapsed":600}
{"Action":"pass","Package":"y","Elapsed":600}
`, words)
			var out bytes.Buffer
			passed, err := report(strings.NewReader(events), &out, true)
			assert.NilError(t, err)
			assert.Assert(t, !passed)
			assert.Assert(t, strings.Contains(out.String(), words+"\n"), out.String())
			assert.Assert(t, !strings.Contains(out.String(), "another package"), out.String())
		})
	}
}

func TestOfSeveralQuietPackagesThePackagesAreNamed(t *testing.T) {
	var out bytes.Buffer
	var in strings.Builder
	for _, name := range strings.Split("abcdefghijkl", "") {
		seconds := map[bool]int{true: 9, false: 1}[name == "k"]
		fmt.Fprintf(&in, `{"Action":"pass","Package":%q,"Test":"TestX","Elapsed":1}`+"\n", name)
		fmt.Fprintf(&in, `{"Action":"pass","Package":%q,"Elapsed":%d}`+"\n", name, seconds)
	}
	passed, err := report(strings.NewReader(in.String()), &out, true)
	assert.NilError(t, err)
	assert.Assert(t, passed)
	assert.Assert(t, strings.HasPrefix(out.String(), "the slowest of 12 packages:\n      9.0 s  k\n"), out.String())
	assert.Equal(t, strings.Count(out.String(), "\n"), 1+listed)

	out.Reset()
	_, err = report(strings.NewReader(in.String()), &out, false)
	assert.NilError(t, err)
	assert.Assert(t, strings.HasPrefix(out.String(), "the slowest of 12 tests:\n      1.0 s  TestX\n"), out.String())
}

func TestCompilerErrorIsShown(t *testing.T) {
	var out bytes.Buffer
	const broken = `{"ImportPath":"x","Action":"build-output","Output":"x.go:1: syntax error\n"}
{"ImportPath":"x","Action":"build-fail"}
{"Action":"fail","Package":"x","Elapsed":0}
`
	passed, err := report(strings.NewReader(broken), &out, true)
	assert.NilError(t, err)
	assert.Assert(t, !passed)
	assert.Assert(t, strings.HasPrefix(out.String(), "x.go:1: syntax error\n"), out.String())
}
