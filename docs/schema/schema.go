// Package schema holds the JSON Schemas of vcluster.yaml and argosy.yaml. Editors complete and check with them, and
// package config, from whose types they are generated, reads there what it tells about a key.
package schema

import _ "embed"

//go:embed vcluster.schema.json
var vcluster string

//go:embed fleet.schema.json
var fleet string

// VCluster returns the schema of vcluster.yaml.
func VCluster() string { return vcluster }

// Fleet returns the schema of argosy.yaml.
func Fleet() string { return fleet }
