package config_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

func TestTheEnabledStoreIsChosen(t *testing.T) {
	for store, want := range map[string]config.Store{
		"{}": {Kind: config.StoreSQLite, Replicas: 1},
		"{database: {embedded: {enabled: true}}}": {
			Kind:     config.StoreSQLite,
			Replicas: 1,
		},
		"{database: {external: {enabled: true, connector: db}}}": {Kind: config.StoreExternal, Replicas: 1},
		"{etcd: {deploy: {enabled: true}}}": {
			Kind:     config.StoreEtcd,
			Replicas: 1,
		},
		"{etcd: {deploy: {enabled: true, statefulSet: {highAvailability: {replicas: 3}}}}}": {
			Kind:     config.StoreEtcd,
			Replicas: 3,
		},
	} {
		assert.Equal(t, parse(t, hostedVCluster+"  backingStore: "+store+"\n", hostedFleet).Store(), want, store)
	}
}

func TestDataSourcesAreCheckedAsKineReadsThem(t *testing.T) {
	for text, want := range map[string]string{
		"postgres://argosy:hunter2@db.example.com:5432/team-a?sslmode=require": "",
		"postgres://argosy@[fd00::1]/team-a":                                   "",
		"mysql://argosy:hunter2@tcp(db.example.com:3306)/team_a":               "",
		"":                                         "is empty",
		"postgres://u:hunter2@db/x\n":              "a line break",
		"postgres://u:hunter 2@db/x":               "a space",
		"postgres://u:hunter2/x@db/x":              "no URL with a host",
		"postgres:///x":                            "no URL with a host",
		"mysql://u:hunter2@db:3306/x":              "names no host as tcp(host:port)",
		"mysql://u:hunter2@tcp(db:3306)":           "names no host as tcp(host:port)",
		"sqlite:///hunter2":                        "does not begin with postgres:// or mysql://",
		"postgresql://u:hunter2@db/x":              "does not begin with postgres:// or mysql://",
		"u:hunter2@tcp(db:3306)/x":                 "does not begin with postgres:// or mysql://",
		"postgres://u:hunter2%zz@db.example.com/x": "write special letters of a password as %XX",
	} {
		err := config.CheckDataSource(text)
		if want == "" {
			assert.NilError(t, err)
			continue
		}
		assert.ErrorContains(t, err, want)
		assert.Assert(t, !strings.Contains(err.Error(), "hunter"), err)
	}
}
