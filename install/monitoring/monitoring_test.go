// Package monitoring_test checks rules and dashboard against the metrics that the exporter has.
package monitoring_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"gotest.tools/v3/assert"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/exporter"
)

// metrics are the names of all metrics of the exporter.
func metrics(t *testing.T) map[string]bool {
	t.Helper()
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	found := map[string]bool{}
	for _, desc := range exporter.Metrics {
		match := name.FindStringSubmatch(desc.String())
		assert.Assert(t, match != nil, desc.String())
		found[match[1]] = true
	}
	return found
}

// checkQuery fails unless a query can be parsed and asks only for metrics that there are.
func checkQuery(t *testing.T, query string, known map[string]bool) {
	t.Helper()
	parsed, err := parser.ParseExpr(query)
	assert.NilError(t, err, query)
	selectors := 0
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, is := node.(*parser.VectorSelector); is {
			selectors++
			assert.Check(t, known[selector.Name], "%s asks for %q", query, selector.Name)
		}
		return nil
	})
	assert.Check(t, selectors > 0, query)
}

// rules are those of the PrometheusRule, as Prometheus itself reads them.
func rules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	text, err := os.ReadFile("rules.yaml")
	assert.NilError(t, err)
	var object struct {
		Spec json.RawMessage `json:"spec"`
	}
	assert.NilError(t, yaml.Unmarshal(text, &object))
	groups, errs := rulefmt.Parse(object.Spec, false)
	assert.Equal(t, len(errs), 0, "%v", errs)
	var found []rulefmt.Rule
	for _, group := range groups.Groups {
		found = append(found, group.Rules...)
	}
	assert.Assert(t, len(found) > 5)
	return found
}

func TestRulesAskOnlyForMetricsThatExist(t *testing.T) {
	known := metrics(t)
	for _, rule := range rules(t) {
		checkQuery(t, rule.Expr, known)
	}
}

func TestEveryAlertHasARunbookAndEveryRunbookAnAlert(t *testing.T) {
	const base = "https://github.com/argosy-dev/argosy/blob/main/docs/runbooks/"
	alerts := map[string]bool{}
	for _, rule := range rules(t) {
		alerts[rule.Alert] = true
		assert.Equal(t, rule.Annotations["runbook_url"], base+rule.Alert+".md")
		assert.Assert(t, rule.Annotations["summary"] != "" && rule.Annotations["description"] != "", rule.Alert)
		assert.Assert(t, rule.Labels["severity"] != "", rule.Alert)
		page, err := os.ReadFile(filepath.Join("..", "..", "docs", "runbooks", rule.Alert+".md"))
		assert.NilError(t, err)
		assert.Check(t, strings.HasPrefix(string(page), "# "+rule.Alert+"\n"), rule.Alert)
	}
	pages, err := filepath.Glob("../../docs/runbooks/Argosy*.md")
	assert.NilError(t, err)
	for _, page := range pages {
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		assert.Check(t, alerts[name], "%s is the page of no alert", page)
	}
}

func TestTheDashboardAsksOnlyForMetricsThatExist(t *testing.T) {
	text, err := os.ReadFile("dashboard.json")
	assert.NilError(t, err)
	var dashboard struct {
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
		Templating struct {
			List []struct {
				Type  string          `json:"type"`
				Query json.RawMessage `json:"query"`
			} `json:"list"`
		} `json:"templating"`
	}
	assert.NilError(t, json.Unmarshal(text, &dashboard))
	known, seen, queries := metrics(t), map[int]bool{}, 0
	for _, panel := range dashboard.Panels {
		assert.Check(t, !seen[panel.ID], "two panels have the id %d", panel.ID)
		seen[panel.ID] = true
		for _, target := range panel.Targets {
			queries++
			checkQuery(t, target.Expr, known)
		}
	}
	assert.Assert(t, queries > 10)
	values := regexp.MustCompile(`label_values\((\w+)`)
	for _, variable := range dashboard.Templating.List {
		if variable.Type != "query" {
			continue
		}
		match := values.FindSubmatch(variable.Query)
		assert.Assert(t, match != nil, string(variable.Query))
		assert.Check(t, known[string(match[1])], string(variable.Query))
	}
}
