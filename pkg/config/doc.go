// Package config holds the two documents that describe a cluster: vcluster.yaml, in the schema that users of vCluster
// know, and argosy.yaml, the Fleet, which holds what that schema has no word for. It reads them strictly, fills in the
// defaults, and refuses what cannot work, with every problem listed at once and each with its line, column and a way
// out. It never talks to a machine, and it never changes what it read: whoever loads the same documents gets the same
// Cluster.
//
// Documents are read with go.yaml.in/yaml/v3, for its nodes: they carry the line and column of every key and value,
// keep duplicate keys, and leave anchors unexpanded, so that this package can bound the expansion. Where that parser
// refuses a document it knows at best a line, often that of the enclosing block; for such documents alone,
// github.com/goccy/go-yaml is asked for the place.
//
// Keys come from the json tags of the types, allowed values from their enum tags. The meaning, default and example of a
// key, where it takes effect, what a change of it needs and what is refused there are generated from the types into one
// annotated JSON Schema per document, in docs/schema. Commands, suggestions and the reference read them from there.
package config
