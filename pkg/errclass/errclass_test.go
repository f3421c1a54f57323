package errclass_test

import (
	"errors"
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
)

func TestTheOutermostClassWins(t *testing.T) {
	root := errors.New("connection reset")
	transient := fmt.Errorf("reading status: %w", errclass.With(errclass.Transient, root))

	assert.Equal(t, errclass.ClassOf(root), errclass.Permanent)
	assert.Equal(t, errclass.ClassOf(transient), errclass.Transient)
	assert.Equal(t, errclass.ClassOf(errclass.With(errclass.Configuration, transient)), errclass.Configuration)
	assert.ErrorIs(t, transient, root)
	assert.NilError(t, errclass.With(errclass.Transient, nil))
	assert.Assert(t, !errclass.IsTransient(nil))
}
