package proof_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/test/proof"
)

// The page is made after a run on the lab; here it is compared with the keys and the tests that there are, and with the
// form in which it is printed.
func TestThePageNamesATestThatExistsForEachKey(t *testing.T) {
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
	rows := map[string]proof.Row{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `")
		}
		rows[cells[1]] = proof.Row{Test: cells[3], Refusal: cells[2] == "refusal", Passed: cells[4] == "pass"}
	}
	for _, key := range proof.Keys() {
		test, sub, nested := strings.Cut(rows[key].Test, "/")
		assert.Check(t, strings.Contains(tests.String(), "func "+test+"(t *testing.T)"), "%s is shown by %q", key, test)
		// go test writes a space in the name of a subtest as an underscore.
		quoted := `"` + strings.ReplaceAll(sub, "_", " ") + `"`
		assert.Check(t, !nested || strings.Contains(tests.String(), quoted), "%s is shown by %q of %q", key, sub, test)
	}
	assert.Equal(t, proof.Page(rows), string(page))
}

func TestFailedAndMissingKeysAreCountedApart(t *testing.T) {
	keys := proof.Keys()
	rows := map[string]proof.Row{
		keys[0]: {Test: "TestOne", Passed: true}, keys[1]: {Test: "TestTwo"},
		keys[2]: {Test: "TestThree", Refusal: true, Passed: true},
	}
	assert.Equal(t, len(proof.Missing(rows)), len(keys)-3)
	totals := proof.Totals(rows)
	assert.Assert(t, cmp.Contains(totals, "2 of "))
	assert.Assert(t, cmp.Contains(totals, "(1 by their effect, 1 by their refusal), 1 failed: "+keys[1]))
	page := proof.Page(rows)
	for _, row := range []string{
		"| `" + keys[0] + "` | effect | `TestOne` | pass |",
		"| `" + keys[1] + "` | effect | `TestTwo` | **fails** |",
		"| `" + keys[2] + "` | refusal | `TestThree` | pass |", "| `" + keys[3] + "` | | | **not shown** |",
	} {
		assert.Assert(t, cmp.Contains(page, row))
	}
}
