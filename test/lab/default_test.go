package lab_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/test/lab"
)

// The default of a release is the newest version that its end-to-end tests run with.
func TestTheDefaultVersionIsTheNewestOfTheLab(t *testing.T) {
	assert.Equal(t, components.DefaultKubernetes, lab.Version)
}
