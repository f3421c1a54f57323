package proof_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/proof"
)

// The page is made after a run on the lab; here it is held against the keys and the tests that there are.
func TestThePageHasARowForEachKeyAndNamesTestsThatExist(t *testing.T) {
	page, err := os.ReadFile("../../docs/proof.md")
	assert.NilError(t, err)
	files, err := filepath.Glob("../e2e/*_test.go")
	assert.NilError(t, err)
	var tests strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		assert.NilError(t, err)
		tests.Write(text)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) == 5 {
			rows[strings.Trim(cells[1], " `")] = strings.Trim(cells[2], " `")
		}
	}
	for _, key := range proof.Keys() {
		test, _, _ := strings.Cut(rows[key], "/")
		assert.Check(t, strings.Contains(tests.String(), "func "+test+"(t *testing.T)"), "%s is shown by %q", key, test)
	}
}

func TestWhatFailedOrWasNotShownIsCountedAsSuch(t *testing.T) {
	keys := proof.Keys()
	rows := map[string]proof.Row{keys[0]: {Test: "TestOne", Passed: true}, keys[1]: {Test: "TestTwo"}}
	assert.Equal(t, len(proof.Missing(rows)), len(keys)-2)
	assert.Assert(t, strings.Contains(proof.Totals(rows), "1 of "), proof.Totals(rows))
	assert.Assert(t, strings.Contains(proof.Totals(rows), "1 failed: "+keys[1]), proof.Totals(rows))
	page := proof.Page(rows)
	for _, row := range []string{"| `" + keys[0] + "` | `TestOne` | pass",
		"| `" + keys[1] + "` | `TestTwo` | **fails** |", "| `" + keys[2] + "` | `` | **not shown** |"} {
		assert.Assert(t, strings.Contains(page, row), page)
	}
}
