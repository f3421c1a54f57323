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

// shown is what the tests of this run say about settings.
var shown = struct {
	sync.Mutex
	rows map[string]proof.Row
}{rows: map[string]proof.Row{}}

// shows says that test t shows what settings do on a real machine or control plane. Called before the first assertion
// that could end the test, it also tells of one that fails. A test that is skipped shows nothing.
func shows(t *testing.T, keys ...string) {
	t.Helper()
	record(t, false, keys)
}

// showsRefusal is shows for keys of which t shows that they are refused.
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
		// At once: a run that is broken off has shown what it has shown.
		if _, err := proof.Merge(shown.rows); err != nil {
			t.Error("keeping what was shown:", err)
		}
	})
}

// finishProof prints how much of the specification this run has shown. A run of the full suite that leaves a key unshown
// fails.
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

// keysOf are the keys of a table of cases.
func keysOf[T any](cases map[string]T) []string { return slices.Sorted(maps.Keys(cases)) }
