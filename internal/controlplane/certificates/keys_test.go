package certificates_test

import (
	"maps"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/pkg/errclass"
)

func TestKeysAreReadBackAndAnyMissingFileIsRefused(t *testing.T) {
	made, err := certificates.NewKeys(time.Now())
	assert.NilError(t, err)
	read, err := certificates.ParseKeys(made.Data())
	assert.NilError(t, err)
	assert.DeepEqual(t, read.Data(), made.Data())
	assert.Equal(t, len(made.Data()), 8)
	for file := range made.Data() {
		data := maps.Clone(made.Data())
		delete(data, file)
		_, err := certificates.ParseKeys(data)
		assert.ErrorContains(t, err, "reading ", file)
		assert.Equal(t, errclass.ClassOf(err), errclass.Permanent, file)
	}
}
