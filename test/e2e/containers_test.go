//go:build !vm

package e2e_test

import (
	"context"
	"time"
)

// patience bounds a wait; it is a limit against hanging, not a claim about speed. A workflow has twice as long.
const patience = 8 * time.Minute

// bringUp brings the whole lab up, with Argosy in the namespace of team-a.
func bringUp(ctx context.Context) error {
	if err := env.Lab.Up(ctx); err != nil {
		return err
	}
	return env.Deploy(ctx)
}
