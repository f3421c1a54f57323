package operation_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/operation"
)

func quiet(int) {}

func TestALimiterHoldsItsLimitAndAdmitsAll(t *testing.T) {
	const limit, machines = 3, 40
	limiter := operation.NewLimiter(limit)
	var inside, most, entered atomic.Int64
	var wait sync.WaitGroup
	for range machines {
		wait.Go(func() {
			leave, err := limiter.Enter(t.Context(), quiet)
			assert.Check(t, err)
			now := inside.Add(1)
			for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
			}
			entered.Add(1)
			inside.Add(-1)
			leave()
			leave() // leaving twice must not make two of it
		})
	}
	wait.Wait()
	assert.Equal(t, entered.Load(), int64(machines))
	assert.Assert(t, most.Load() <= limit, "%d were inside", most.Load())
}

func TestMachinesEnterInTheOrderOfAsking(t *testing.T) {
	limiter := operation.NewLimiter(1)
	leave, err := limiter.Enter(t.Context(), quiet)
	assert.NilError(t, err)

	order := make(chan int, 3)
	for i := range 3 {
		queued := make(chan struct{})
		go func() {
			leave, err := limiter.Enter(t.Context(), func(int) { close(queued) })
			if err == nil {
				order <- i
				leave()
			}
		}()
		<-queued
	}
	leave()
	for i := range 3 {
		assert.Equal(t, <-order, i)
	}
}

func TestACancelledWaitTakesNoPlace(t *testing.T) {
	limiter := operation.NewLimiter(1)
	leave, err := limiter.Enter(t.Context(), quiet)
	assert.NilError(t, err)

	reason := errors.New("cancelled by the user")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err = limiter.Enter(ctx, func(int) { cancel(reason) })
	assert.ErrorIs(t, err, reason)

	leave()
	again, err := limiter.Enter(t.Context(), func(int) { t.Error("the place is lost") })
	assert.NilError(t, err)
	again()
}

func TestARunningMachineEntersOverTheLimit(t *testing.T) {
	limiter := operation.NewLimiter(1)
	first, second := limiter.EnterRunning(), limiter.EnterRunning()
	admitted := make(chan func(), 1)
	queued := make(chan struct{})
	go func() {
		leave, err := limiter.Enter(t.Context(), func(inside int) {
			assert.Check(t, inside == 2)
			close(queued)
		})
		assert.Check(t, err)
		admitted <- leave
	}()
	<-queued
	first()
	select {
	case <-admitted:
		t.Fatal("admitted while the limiter was full")
	default:
	}
	second()
	(<-admitted)()
}
