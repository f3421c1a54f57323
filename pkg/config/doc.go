// Package config reads the two documents that describe a cluster: vcluster.yaml, in vCluster's schema, and argosy.yaml,
// the Fleet, for which that schema has no keys. It is strict: unknown keys and settings that cannot work are problems,
// all listed at once, each with its line, column and a way out. It never talks to a machine, and the same documents
// always give the same Cluster.
//
// Documents are read with go.yaml.in/yaml/v3, for its nodes: they carry the line and column of every key and value,
// keep duplicate keys, and leave anchors unexpanded, so that this package can bound the expansion. Where that parser
// refuses a document it knows at best a line, often that of the enclosing block; for such documents alone,
// github.com/goccy/go-yaml is asked for the position.
//
// Keys come from the json tags of the types, allowed values from their enum tags. Meaning, default, example, effect and
// refusals of a key are generated from the types into one annotated JSON Schema per document, in docs/schema. Commands,
// suggestions and the reference read them from there.
package config
