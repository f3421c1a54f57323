package images

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/spec"
)

// maxRecords is the number of archives in the record.
const maxRecords = 1000

// recordEntry has the images of one archive that was imported.
type recordEntry struct {
	// Name is the archive's name in the documents.
	Name string `json:"name"`
	// Images are names and the digests that they led to.
	Images map[string]string `json:"images"`
	At     time.Time         `json:"at"`
}

// record has the images of archives that were imported, by the archives' keys. It counts only while the runtime still
// has all of them.
type record map[string]recordEntry

// readRecord reads the record. One that can't be read counts as empty: archives are then imported again.
func readRecord(c *node.Context) record {
	known := record{}
	if data, err := c.Host.ReadFile(spec.ImagesFile); err == nil {
		_ = json.Unmarshal(data, &known)
	}
	if known == nil {
		known = record{}
	}
	return known
}

// add notes the images of an archive.
func (r record) add(c *node.Context, key string, what recordEntry) error {
	r[key] = what
	if len(r) > maxRecords {
		oldest := slices.SortedFunc(maps.Keys(r), func(a, b string) int {
			return cmp.Or(r[a].At.Compare(r[b].At), cmp.Compare(a, b))
		})
		for _, key := range oldest[:len(r)-maxRecords] {
			delete(r, key)
		}
	}
	data, err := json.Marshal(r)
	if err == nil {
		_, err = c.Host.WriteFile(spec.ImagesFile, append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("noting that %q was imported: %w", what.Name, err)
	}
	return nil
}
