package store

import (
	"encoding/json"
	"time"
)

// format is the version of the archive's layout, counted up with every change that an older program can't read.
const format = 1

// Names in an archive. Values of the store are in files "store/00000001" and on.
const (
	manifestName = "manifest.json"
	storePrefix  = "store/"
	// PKIPrefix and documentsPrefix are folders with the cluster's keys and its documents.
	PKIPrefix       = "pki/"
	documentsPrefix = "documents/"
)

// Manifest is the last file of an archive and describes the others. An archive without one was cut off.
type Manifest struct {
	// Format is the version of the layout.
	Format int `json:"format"`
	About
	// Revision of the store at which it was read.
	Revision int64 `json:"revision"`
	// Keys is their number.
	Keys int `json:"keys"`
	// Taken is when the reading began.
	Taken time.Time `json:"taken"`
	// Parts are all files before the manifest, in the archive's order.
	Parts []Part `json:"parts,omitempty"`
}

// About describes the cluster of a backup.
type About struct {
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace"`
	// Kubernetes is the version that the control plane runs.
	Kubernetes string `json:"kubernetes"`
	// Store is the kind that the state was read from.
	Store string `json:"store"`
	// Endpoint is host:port of the API server, as the cluster's machines know it.
	Endpoint string `json:"endpoint"`
	// Identity holds the settings that may never change, as Secret <cluster>-pki has them.
	Identity json.RawMessage `json:"identity"`
}

// Part is one file of an archive.
type Part struct {
	Name string `json:"name"`
	// Size in bytes.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}
