//go:build full

package e2e_test

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"argosy.dev/argosy/test/proof"
)

// wholeSuite is true for the tests with tag full, which inject more faults of each kind.
const wholeSuite = true

// shown has the results of this run, by key.
var shown = struct {
	sync.Mutex
	rows map[string]proof.Row
}{rows: map[string]proof.Row{}}

// shows records that test t shows the effect of keys on a real machine or control plane. It is called before the first
// assertion, so that a failure is recorded too. A skipped test records nothing.
func shows(t *testing.T, keys ...string) {
	t.Helper()
	record(t, false, keys)
}

// showsRefusal records that test t shows how keys are refused.
func showsRefusal(t *testing.T, keys ...string) {
	t.Helper()
	record(t, true, keys)
}

func record(t *testing.T, refusal bool, keys []string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Skipped() {
			return
		}
		shown.Lock()
		defer shown.Unlock()
		for _, key := range keys {
			row, told := shown.rows[key]
			if !told || row.Passed {
				shown.rows[key] = proof.Row{Test: t.Name(), Refusal: refusal, Passed: !t.Failed()}
			}
		}
		// An interrupted run keeps the results that it has.
		if _, err := proof.Merge(shown.rows); err != nil {
			t.Error("keeping what was shown:", err)
		}
	})
}

// finishProof prints how many keys of the specification this run has shown, and returns the exit status. A run of the
// full suite that leaves out a key fails.
func finishProof(code int) int {
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == ""
	fmt.Println(proof.Totals(shown.rows))
	missing := proof.Missing(shown.rows)
	if !whole || len(missing) == 0 {
		return code
	}
	fmt.Println("no test shows", missing)
	return max(code, 1)
}

// keysOf returns the keys of a table of cases, sorted.
func keysOf[T any](cases map[string]T) []string { return slices.Sorted(maps.Keys(cases)) }
