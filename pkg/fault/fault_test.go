package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/fault"
)

func TestTheOutermostClassWins(t *testing.T) {
	root := errors.New("connection reset")
	transient := fmt.Errorf("reading status: %w", fault.As(fault.Transient, root))

	assert.Equal(t, fault.ClassOf(root), fault.Permanent)
	assert.Equal(t, fault.ClassOf(transient), fault.Transient)
	assert.Equal(t, fault.ClassOf(fault.As(fault.Configuration, transient)), fault.Configuration)
	assert.ErrorIs(t, transient, root)
	assert.NilError(t, fault.As(fault.Transient, nil))
	assert.Assert(t, !fault.IsTransient(nil))
}
