package monitoring_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"gotest.tools/v3/assert"
)

// grafanaModel is the dashboard in the types that Grafana generates from its schema.
//
//lint:ignore SA1019 its second schema is no plain JSON model, which files and Grafana's sidecar have
type grafanaModel = dashboard.Dashboard

// load decodes the dashboard strictly.
func load(t *testing.T) grafanaModel {
	t.Helper()
	grafana := cog.NewRuntime()
	grafana.RegisterPanelcfgVariant(stat.VariantConfig())
	grafana.RegisterPanelcfgVariant(table.VariantConfig())
	grafana.RegisterPanelcfgVariant(timeseries.VariantConfig())
	grafana.RegisterDataqueryVariant(prometheus.VariantConfig())
	text, err := os.ReadFile("dashboard.json")
	assert.NilError(t, err)
	var board, strict grafanaModel
	if err := strict.UnmarshalJSONStrict(text); err != nil {
		assert.Equal(t, err.Error(), "", "without a problem it is an empty list of them")
	}
	// The strict way leaves the panels out, which it has checked.
	assert.NilError(t, json.Unmarshal(text, &board))
	assert.NilError(t, board.Validate())
	return board
}

// panels are all panels of the dashboard.
func panels(t *testing.T) []dashboard.Panel {
	t.Helper()
	var found []dashboard.Panel
	for _, one := range load(t).Panels {
		assert.Assert(t, one.Panel != nil, "a row has no panel")
		found = append(found, *one.Panel)
	}
	assert.Assert(t, len(found) > 10)
	return found
}

func TestTheDashboardFitsGrafanasSchema(t *testing.T) {
	known := []string{"stat", "table", "timeseries"}
	for _, panel := range panels(t) {
		assert.Check(t, slices.Contains(known, panel.Type), "no type of Grafana was checked for %q", panel.Type)
		assert.Assert(t, panel.Title != nil && *panel.Title != "", panel.Type)
		assert.Assert(t, panel.Datasource != nil && *panel.Datasource.Uid == "${datasource}", *panel.Title)
	}
}

func TestPanelsOfTheDashboardDoNotOverlap(t *testing.T) {
	type cell struct{ x, y uint32 }
	taken, ids := map[cell]string{}, map[uint32]bool{}
	for _, panel := range panels(t) {
		assert.Check(t, !ids[*panel.Id], "two panels have the id %d", *panel.Id)
		ids[*panel.Id] = true
		assert.Check(t, panel.GridPos.X+panel.GridPos.W <= 24, "%q is beside Grafana's 24 columns", *panel.Title)
		for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
			for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
				assert.Check(t, taken[cell{x, y}] == "", "%q is above %q", *panel.Title, taken[cell{x, y}])
				taken[cell{x, y}] = *panel.Title
			}
		}
	}
}

func TestTheDashboardAsksOnlyForMetricsThatExist(t *testing.T) {
	known, queries := metrics(t), 0
	used := regexp.MustCompile(`\{\{\s*(\w+)\s*}}`)
	for _, panel := range panels(t) {
		for _, target := range panel.Targets {
			query, is := target.(*prometheus.Dataquery)
			if !is {
				value, isValue := target.(prometheus.Dataquery)
				assert.Assert(t, isValue, "%T", target)
				query = &value
			}
			queries++
			// Grafana puts values in the place of its variables.
			result := checkQuery(t, strings.NewReplacer("$__rate_interval", "5m").Replace(query.Expr), known)
			if query.LegendFormat == nil {
				continue
			}
			for _, match := range used.FindAllStringSubmatch(*query.LegendFormat, -1) {
				assert.Check(t, slices.Contains(result, match[1]), "%q has no label %q", *panel.Title, match[1])
			}
		}
	}
	assert.Assert(t, queries > 10)
}

func TestVariablesOfTheDashboardAreFilledByMetricsThatExist(t *testing.T) {
	known, checked := metrics(t), 0
	form := regexp.MustCompile(`^label_values\((\w+)(\{[^}]*})?, (\w+)\)$`)
	for _, variable := range load(t).Templating.List {
		if variable.Type != dashboard.VariableTypeQuery {
			continue
		}
		text, err := json.Marshal(variable.Query)
		assert.NilError(t, err)
		var query struct {
			Query string `json:"query"`
		}
		assert.NilError(t, json.Unmarshal(text, &query))
		match := form.FindStringSubmatch(query.Query)
		assert.Assert(t, match != nil, query.Query)
		assert.Check(t, slices.Contains(checkQuery(t, match[1]+match[2], known), match[3]), query.Query)
		checked++
	}
	assert.Equal(t, checked, 2)
}
