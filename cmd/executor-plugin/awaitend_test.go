package main

import (
	"context"
	"net"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

func TestAwaitEndWaitsForTheServerToEnd(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	go func() {
		for {
			connection, err := server.Accept()
			if err != nil {
				return
			}
			_ = connection.Close()
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		awaitEnd(t.Context(), server.Addr().String())
	}()
	select {
	case <-ended:
		t.Fatal("it did not wait")
	case <-time.After(300 * time.Millisecond):
	}
	assert.NilError(t, server.Close())
	<-ended
}

func TestAwaitEndStopsWithItsContext(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	awaitEnd(ctx, server.Addr().String())
	assert.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
}
