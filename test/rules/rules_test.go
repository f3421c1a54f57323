// Package rules_test has Prometheus evaluate the alerts of install/monitoring over time, as promtool does. The package
// install/monitoring checks that the series are those of the exporter.
package rules_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"gopkg.in/yaml.v3"
	"gotest.tools/v3/assert"
)

const monitoring = "../../install/monitoring"

// step is the time between two scrapes, and between two evaluations. The rules of install/monitoring have multiples of
// it after "for".
const step = 5 * time.Minute

// alertCase is one of testdata/alerts.yaml.
type alertCase struct {
	Alert   string            `yaml:"alert"`
	Case    string            `yaml:"case"`
	Series  []string          `yaml:"series"`
	Fires   model.Duration    `yaml:"fires"`
	Ends    model.Duration    `yaml:"ends"`
	Labels  map[string]string `yaml:"labels"`
	Summary string            `yaml:"summary"`
}

// decode decodes a file, and refuses unknown keys.
func decode(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, name))
	assert.NilError(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	assert.NilError(t, decoder.Decode(into), name)
}

func cases(t *testing.T) []alertCase {
	t.Helper()
	var all []alertCase
	decode(t, "testdata/alerts.yaml", &all)
	assert.Assert(t, len(all) > 0)
	return all
}

// rulesFile writes the groups of the PrometheusRule as Prometheus Operator hands them to Prometheus.
func rulesFile(t *testing.T) string {
	t.Helper()
	var rule struct {
		APIVersion string         `yaml:"apiVersion"`
		Kind       string         `yaml:"kind"`
		Metadata   map[string]any `yaml:"metadata"`
		Spec       yaml.Node      `yaml:"spec"`
	}
	decode(t, "rules.yaml", &rule)
	text, err := yaml.Marshal(&rule.Spec)
	assert.NilError(t, err)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	assert.NilError(t, os.WriteFile(path, text, 0o600))
	return path
}

// prometheus has the series of one case, and evaluates the rules over them.
type prometheus struct {
	t      *testing.T
	loader *promqltest.LazyLoader
	groups map[string]*rules.Group
}

func start(t *testing.T, series []string) *prometheus {
	t.Helper()
	load := "load " + model.Duration(step).String() + "\n  " + strings.Join(series, "\n  ") + "\n"
	loader, err := promqltest.NewLazyLoader(load, promqltest.LazyLoaderOpts{})
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, loader.Close()) })
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:  rules.EngineQueryFunc(loader.QueryEngine(), loader.Storage()),
		Appendable: loader.Storage(), Context: t.Context(), Logger: promslog.NewNopLogger(),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
	})
	groups, errs := manager.LoadGroups(step, labels.EmptyLabels(), "", nil, false, rulesFile(t))
	assert.Equal(t, len(errs), 0, "%v", errs)
	return &prometheus{t, loader, groups}
}

// evaluate evaluates all rules at a time since the first scrape, and returns the alerts that fire.
func (p *prometheus) evaluate(since time.Duration) []*rules.Alert {
	p.t.Helper()
	at := time.Unix(0, 0).UTC().Add(since)
	p.loader.WithSamplesTill(at, func(err error) { assert.NilError(p.t, err) })
	var firing []*rules.Alert
	for _, group := range p.groups {
		group.Eval(p.loader.Context(), at)
		for _, rule := range group.Rules() {
			assert.NilError(p.t, rule.LastError(), rule.Name())
			for _, alert := range rule.(*rules.AlertingRule).ActiveAlerts() {
				if alert.State == rules.StateFiring {
					firing = append(firing, alert)
				}
			}
		}
	}
	return firing
}

// named returns those alerts that have a name.
func named(alerts []*rules.Alert, name string) []*rules.Alert {
	var found []*rules.Alert
	for _, alert := range alerts {
		if alert.Labels.Get(labels.AlertName) == name {
			found = append(found, alert)
		}
	}
	return found
}

func TestAlertsFireAfterTheirTimeAndEnd(t *testing.T) {
	for _, one := range cases(t) {
		t.Run(one.Alert+" "+one.Case, func(t *testing.T) {
			server := start(t, one.Series)
			fires, ends := time.Duration(one.Fires), time.Duration(one.Ends)
			for at := time.Duration(0); at <= ends; at += step {
				firing := named(server.evaluate(at), one.Alert)
				if at < fires || at == ends {
					assert.Equal(t, len(firing), 0, "it fires after %s: %v", at, firing)
					continue
				}
				assert.Equal(t, len(firing), 1, "after %s: %v", at, firing)
				checkAlert(t, one, firing[0])
			}
		})
	}
}

func checkAlert(t *testing.T, want alertCase, got *rules.Alert) {
	t.Helper()
	found := got.Labels.Map()
	delete(found, labels.AlertName)
	assert.DeepEqual(t, found, want.Labels)
	assert.Equal(t, got.Annotations.Get("summary"), want.Summary)
	got.Annotations.Range(func(annotation labels.Label) {
		assert.Check(t, !strings.Contains(annotation.Value, "{{"), annotation.Value)
		assert.Check(t, !strings.Contains(annotation.Value, "error expanding"), annotation.Value)
	})
	page := filepath.Base(got.Annotations.Get("runbook_url"))
	_, err := os.Stat(filepath.Join("../../docs/runbooks", page))
	assert.NilError(t, err)
}

func TestEveryAlertHasACase(t *testing.T) {
	tested := map[string]bool{}
	for _, one := range cases(t) {
		tested[one.Alert] = true
	}
	for _, group := range start(t, []string{"up 1"}).groups {
		for _, rule := range group.Rules() {
			assert.Check(t, tested[rule.Name()], rule.Name())
			delete(tested, rule.Name())
		}
	}
	assert.Equal(t, len(tested), 0, "cases of no alert: %v", tested)
}

// A cluster of which nothing is wrong, as the exporter shows it.
var healthy = []string{
	`argosy_exporter_up{namespace="team-a",job="argosy-exporter"} 1x2100`,
	`argosy_cluster_condition{namespace="team-a",cluster="a",condition="Ready",status="true"} 1x2100`,
	`argosy_cluster_condition{namespace="team-a",cluster="a",condition="Ready",status="false"} 0x2100`,
	`argosy_cluster_condition{namespace="team-a",cluster="a",condition="UpgradeAvailable",status="true"} 0x2100`,
	`argosy_cluster_condition{namespace="team-a",cluster="a",condition="BackupFresh",status="false"} 0x2100`,
	`argosy_cluster_machines{namespace="team-a",cluster="a",state="Failed"} 0x2100`,
	`argosy_cluster_machines{namespace="team-a",cluster="a",state="Ready"} 3x2100`,
	`argosy_cluster_drifted_machines{namespace="team-a",cluster="a"} 0x2100`,
	`argosy_cluster_rollout_halted{namespace="team-a",cluster="a",version="v1.37.2"} 0x2100`,
	`argosy_cluster_certificate_expiry_timestamp_seconds{namespace="team-a",cluster="a",certificate="c"} 9e8x2100`,
	`argosy_cluster_backup_timestamp_seconds{namespace="team-a",cluster="a"} 0+300x2100`,
	`argosy_cluster_operation_timestamp_seconds{namespace="team-a",cluster="a",operation="backup"} 0+300x2100`,
}

func TestAHealthyClusterFiresNoAlert(t *testing.T) {
	server := start(t, healthy)
	for at := time.Duration(0); at <= 7*24*time.Hour+time.Hour; at += step {
		firing := server.evaluate(at)
		assert.Equal(t, len(firing), 0, "after %s: %v", at, firing)
	}
}
