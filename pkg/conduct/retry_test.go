package conduct_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/conduct"
)

func TestWhatHadEndedBeforeTheFirstAttemptIsNoSuccess(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	cancel(over)
	err := conduct.Retrying(ctx, time.Second, func(string) {}, func(context.Context) error { return nil })
	assert.ErrorIs(t, err, over)
}
