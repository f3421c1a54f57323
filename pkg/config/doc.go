// Package config holds the two documents that describe a cluster: vcluster.yaml, in the schema that users of vCluster
// know, and argosy.yaml, the Fleet, which holds what that schema has no word for. It reads them strictly, fills in the
// defaults, and refuses what cannot work, with every problem listed at once and each with its line, column and a way
// out. It never talks to a machine, and it never changes what it read: whoever loads the same documents gets the same
// Cluster.
//
// Documents are read with go.yaml.in/yaml/v3, for its nodes: they carry the line and column of every key and value,
// keep duplicate keys, and leave anchors unexpanded, so that the expansion is ours to bound. Field names come from the
// json tags. Where that parser refuses a document it knows at best a line, often that of the enclosing block; for such
// documents alone, github.com/goccy/go-yaml is asked for the place.
package config
