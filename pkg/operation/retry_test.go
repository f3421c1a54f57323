package operation_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/operation"
)

func TestAContextThatHasEndedIsNoSuccess(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	cancel(over)
	err := operation.Retrying(ctx, time.Second, operation.NoProgress{}, func(context.Context) error { return nil })
	assert.ErrorIs(t, err, over)
}
