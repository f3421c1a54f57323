// Package proof stores which end-to-end test shows the effect or the refusal of each key of the specification on a real
// machine or control plane, and whether it passed. It prints docs/proof.md.
package proof

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Row is the result of one key in the last run.
type Row struct {
	// Test that shows the key, as `go test -run` takes it.
	Test string `json:"test"`
	// Refusal reports that the test shows how the key is refused, and not its effect.
	Refusal bool `json:"refusal,omitempty"`
	// Passed reports that the test passed.
	Passed bool `json:"passed"`
}

// shown is the word in the page's column "shown".
func (r Row) shown() string {
	if r.Refusal {
		return "refusal"
	}
	return "effect"
}

// Keys returns the keys that must be shown: the specification's, and the newer spellings.
func Keys() []string {
	keys := slices.Concat(specificationKeys(), newerKeys())
	slices.Sort(keys)
	return slices.Compact(keys)
}

// file returns the path of the rows of all runs in this checkout.
func file() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the checkout: %w", err)
	}
	return filepath.Join(filepath.Dir(strings.TrimSpace(string(out))), "bin", "proof.json"), nil
}

// Load returns the rows of earlier runs.
func Load() (map[string]Row, error) {
	name, err := file()
	if err != nil {
		return nil, err
	}
	rows := map[string]Row{}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return rows, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &rows)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the results of earlier runs: %w", err)
	}
	return rows, nil
}

// Merge stores rows over those of earlier runs, and returns all of them.
func Merge(rows map[string]Row) (map[string]Row, error) {
	all, err := Load()
	if err != nil {
		return nil, err
	}
	maps.Copy(all, rows)
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding results: %w", err)
	}
	name, err := file()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of %q: %w", name, err)
	}
	if err := os.WriteFile(name, append(data, '\n'), 0o644); err != nil {
		return nil, fmt.Errorf("storing results: %w", err)
	}
	return all, nil
}

// Missing returns the keys that have no row.
func Missing(rows map[string]Row) []string {
	return slices.DeleteFunc(Keys(), func(key string) bool { _, found := rows[key]; return found })
}

// Totals returns one line for people.
func Totals(rows map[string]Row) string {
	effects, refusals, failed := 0, 0, []string{}
	for _, key := range Keys() {
		switch row, found := rows[key]; {
		case !found:
		case !row.Passed:
			failed = append(failed, key)
		case row.Refusal:
			refusals++
		default:
			effects++
		}
	}
	text := fmt.Sprintf("settings: %d of %d keys shown on real machines and control planes (%d by their effect, %d by "+
		"their refusal), %d failed", effects+refusals, len(Keys()), effects, refusals, len(failed))
	if len(failed) > 0 {
		text += ": " + strings.Join(failed, ", ")
	}
	return text
}

// Page returns docs/proof.md.
func Page(rows map[string]Row) string {
	var page strings.Builder
	page.WriteString(`# What shows that a setting works

For those who want to know whether a setting of vcluster.yaml does what its description says: every key of the
specification's configuration reference and of the newer spellings, with the end-to-end test that shows it on a real
machine or control plane. The test shows a key's effect; or its refusal, where private nodes rule it out or Argosy does
without it. A detail of a section that is refused counts as a refusal too. The page is generated:
` + "`make e2e-full`" + ` runs the tests and prints the totals, ` + "`make proof`" + ` writes their results here.

<!-- not run: needs the lab -->
` + "```sh" + `
go test -count=1 -v -tags full -run 'NAME' ./test/e2e
` + "```" + `

`)
	totals := Totals(rows)
	fmt.Fprintf(&page, "%s.\n\n| key | shown | test | result |\n|---|---|---|---|\n",
		strings.ToUpper(totals[:1])+totals[1:])
	for _, key := range Keys() {
		row, found := rows[key]
		switch {
		case !found:
			fmt.Fprintf(&page, "| `%s` | | | **not shown** |\n", key)
		case row.Passed:
			fmt.Fprintf(&page, "| `%s` | %s | `%s` | pass |\n", key, row.shown(), row.Test)
		default:
			fmt.Fprintf(&page, "| `%s` | %s | `%s` | **fails** |\n", key, row.shown(), row.Test)
		}
	}
	return page.String()
}
