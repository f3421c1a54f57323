// Package proof keeps which test shows what each key of the specification does, on a real machine or control plane, and
// whether it did. The end-to-end tests fill it; docs/proof.md is printed from it.
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

	"argosy.dev/argosy/pkg/config"
)

// Row is what the last run said of one key.
type Row struct {
	// Test that shows the key, as `go test -run` takes it.
	Test string `json:"test"`
	// Passed says that it did what its description says.
	Passed bool `json:"passed"`
}

// Keys are those that must be shown: the specification's, and the newer spellings.
func Keys() []string {
	keys := slices.Concat(config.SpecificationKeys(), config.NewerKeys())
	slices.Sort(keys)
	return slices.Compact(keys)
}

// file holds the rows of all runs in this checkout.
func file() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the checkout: %w", err)
	}
	return filepath.Join(filepath.Dir(strings.TrimSpace(string(out))), "bin", "proof.json"), nil
}

// Load reads what earlier runs showed.
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
		return nil, fmt.Errorf("reading what earlier runs showed: %w", err)
	}
	return rows, nil
}

// Merge keeps rows over what earlier runs showed, and returns all of it.
func Merge(rows map[string]Row) (map[string]Row, error) {
	all, err := Load()
	if err != nil {
		return nil, err
	}
	maps.Copy(all, rows)
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding what was shown: %w", err)
	}
	name, err := file()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of %q: %w", name, err)
	}
	if err := os.WriteFile(name, append(data, '\n'), 0o644); err != nil {
		return nil, fmt.Errorf("keeping what was shown: %w", err)
	}
	return all, nil
}

// Missing are the keys that rows say nothing of.
func Missing(rows map[string]Row) []string {
	return slices.DeleteFunc(Keys(), func(key string) bool { _, told := rows[key]; return told })
}

// Totals is one line for people.
func Totals(rows map[string]Row) string {
	passed, failed := 0, []string{}
	for _, key := range Keys() {
		switch row, told := rows[key]; {
		case told && row.Passed:
			passed++
		case told:
			failed = append(failed, key)
		}
	}
	text := fmt.Sprintf("settings: %d of %d keys shown on real machines and control planes, %d failed", passed,
		len(Keys()), len(failed))
	if len(failed) > 0 {
		text += ": " + strings.Join(failed, ", ")
	}
	return text
}

// Page is docs/proof.md.
func Page(rows map[string]Row) string {
	var page strings.Builder
	page.WriteString(`# What shows that a setting works

Every key of the specification's configuration reference and of the newer spellings, the end-to-end test that shows its
effect on a real machine or control plane, and how that test ended when this page was made. It is generated:
` + "`make e2e-full`" + ` runs the tests and prints the totals, ` + "`make proof`" + ` writes what they showed here.

    go test -count=1 -v -tags full -run 'NAME' ./test/e2e

`)
	fmt.Fprintf(&page, "%s.\n\n| key | test | result |\n|---|---|---|\n",
		strings.ToUpper(Totals(rows)[:1])+Totals(rows)[1:])
	for _, key := range Keys() {
		row, told := rows[key]
		result := "**fails**"
		if row.Passed {
			result = "pass"
		}
		if !told {
			row.Test, result = "", "**not shown**"
		}
		fmt.Fprintf(&page, "| `%s` | `%s` | %s |\n", key, row.Test, result)
	}
	return page.String()
}
