// Package monitoring_test checks rules and dashboard against the metrics that the exporter has. test/rules evaluates
// the rules over time.
package monitoring_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"gotest.tools/v3/assert"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/exporter"
	"argosy.dev/argosy/internal/state"
)

// ofTarget are the labels that Prometheus adds to the series of a ServiceMonitor.
var ofTarget = []string{"job", "instance", "pod", "namespace", "service", "endpoint", "container"}

// metrics are the names of all series of the exporter, with their labels.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	form := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
	found := map[string][]string{}
	for _, desc := range exporter.Metrics {
		match := form.FindStringSubmatch(desc.String())
		assert.Assert(t, match != nil, desc.String())
		var of []string
		if match[2] != "" {
			of = strings.Split(match[2], ",")
		}
		found[match[1]] = of
		// Those of a summary.
		found[match[1]+"_sum"], found[match[1]+"_count"] = of, of
	}
	assert.DeepEqual(t, found["argosy_cluster_machines"], []string{"namespace", "cluster", "state"})
	return found
}

// values are all values of labels that have a fixed set of them.
func values() map[string][]string {
	found := map[string][]string{
		"condition": {
			state.ConditionReady, state.ConditionDrifted, state.ConditionUpgradeAvailable,
			state.ConditionCertificatesExpiring, state.ConditionBackupFresh, state.ConditionStalled,
		},
		"status": {"true", "false", "unknown"},
	}
	for _, one := range state.MachineStates {
		found["state"] = append(found["state"], string(one))
	}
	return found
}

// checkQuery fails unless a query can be parsed and asks only for metrics, labels and values that there are. It returns
// the labels of its result.
func checkQuery(t *testing.T, query string, known map[string][]string) []string {
	t.Helper()
	parsed, err := parser.ParseExpr(query)
	assert.NilError(t, err, query)
	selectors := 0
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, is := node.(*parser.VectorSelector); is {
			selectors++
			checkSelector(t, query, selector, known)
		}
		return nil
	})
	assert.Check(t, selectors > 0, query)
	return resultLabels(t, parsed, known)
}

func checkSelector(t *testing.T, query string, selector *parser.VectorSelector, known map[string][]string) {
	t.Helper()
	of, found := known[selector.Name]
	assert.Check(t, found, "%s asks for %q", query, selector.Name)
	for _, matcher := range selector.LabelMatchers {
		if matcher.Name == labels.MetricName {
			continue
		}
		assert.Check(t, slices.Contains(of, matcher.Name), "%s: %s has no label %q", query, selector.Name, matcher.Name)
		fixed, has := values()[matcher.Name]
		for _, value := range strings.Split(matcher.Value, "|") {
			assert.Check(t, !has || slices.Contains(fixed, value), "%s: no %s is %q", query, matcher.Name, value)
		}
	}
}

// resultLabels returns the labels of an expression's result.
func resultLabels(t *testing.T, expression parser.Expr, known map[string][]string) []string {
	t.Helper()
	switch expression := expression.(type) {
	case *parser.AggregateExpr:
		inner := resultLabels(t, expression.Expr, known)
		assert.Assert(t, !expression.Without, expression.String())
		for _, label := range expression.Grouping {
			assert.Check(t, slices.Contains(inner, label), "%s: there is no label %q", expression, label)
		}
		return expression.Grouping
	case *parser.BinaryExpr:
		if expression.LHS.Type() == parser.ValueTypeVector {
			return resultLabels(t, expression.LHS, known)
		}
		return resultLabels(t, expression.RHS, known)
	case *parser.ParenExpr:
		return resultLabels(t, expression.Expr, known)
	case *parser.MatrixSelector:
		return resultLabels(t, expression.VectorSelector, known)
	case *parser.VectorSelector:
		return append(slices.Clone(known[expression.Name]), ofTarget...)
	case *parser.Call:
		if len(expression.Args) == 1 && expression.Func.Name != "absent" {
			return resultLabels(t, expression.Args[0], known)
		}
	}
	return nil
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
	used := regexp.MustCompile(`\$labels\.(\w+)`)
	for _, rule := range rules(t) {
		found := checkQuery(t, rule.Expr, known)
		for _, text := range rule.Annotations {
			for _, match := range used.FindAllStringSubmatch(text, -1) {
				assert.Check(t, slices.Contains(found, match[1]), "%s has no label %q", rule.Alert, match[1])
			}
		}
	}
}

// An alert that goes on when the exporter's pod is replaced has no labels of that pod.
func TestAlertsDoNotDependOnTheExportersPod(t *testing.T) {
	known := metrics(t)
	for _, rule := range rules(t) {
		for _, label := range checkQuery(t, rule.Expr, known) {
			assert.Check(t, label != "pod" && label != "instance" && label != "container", rule.Alert)
		}
	}
}

// test/rules evaluates the rules over these series.
func TestSeriesOfTheAlertsCasesAreThoseOfTheExporter(t *testing.T) {
	text, err := os.ReadFile("testdata/alerts.yaml")
	assert.NilError(t, err)
	var cases []struct {
		Alert  string   `json:"alert"`
		Series []string `json:"series"`
	}
	assert.NilError(t, yaml.Unmarshal(text, &cases))
	known, fixed := metrics(t), values()
	for _, one := range cases {
		for _, series := range one.Series {
			metric, _, err := parser.ParseSeriesDesc(series)
			assert.NilError(t, err, series)
			of, found := known[metric.Get(labels.MetricName)]
			assert.Check(t, found, series)
			for _, label := range of {
				assert.Check(t, metric.Has(label), "%s lacks %q", series, label)
			}
			metric.Range(func(label labels.Label) {
				all := append([]string{labels.MetricName}, append(of, ofTarget...)...)
				assert.Check(t, slices.Contains(all, label.Name), "%s: %q", series, label.Name)
				values, has := fixed[label.Name]
				assert.Check(t, !has || slices.Contains(values, label.Value), "%s: %q", series, label.Value)
			})
		}
	}
}

func TestEveryAlertHasARunbookAndEveryRunbookAnAlert(t *testing.T) {
	const base = "https://github.com/argosy-dev/argosy/blob/main/docs/runbooks/"
	alerts := map[string]bool{}
	for _, rule := range rules(t) {
		alerts[rule.Alert] = true
		assert.Assert(t, rule.For > model.Duration(0), "%s fires at the first failed scrape", rule.Alert)
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
