package steps

import (
	"context"
	"errors"

	"argosy.dev/argosy/internal/offload"
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// Records keeps texts that are too long for a Workflow, for the Workflow's life; offload.Store is one.
type Records interface {
	Write(ctx context.Context, owner offload.Owner, kind string, value any) (name string, err error)
	Read(ctx context.Context, owner offload.Owner, name string, into any) error
	// WriteFiles keeps files for people.
	WriteFiles(ctx context.Context, owner offload.Owner, kind string, files map[string][]byte) (name string, err error)
}

// keep keeps a value for the workflow of call, and returns the name by which kept reads it.
func (e *Env) keep(ctx context.Context, call plugin.Call, kind string, cluster *config.Cluster, value any) (string,
	error,
) {
	if e.records == nil {
		return "", errors.New("this process keeps no records")
	}
	var name string
	err := operation.Retrying(ctx, cluster.Fleet.Limits.RetryBudget.Duration, operation.NoProgress{},
		func(ctx context.Context) (err error) {
			name, err = e.records.Write(ctx, offload.Owner(call.Workflow), kind, value)
			return err
		})
	return name, err
}

// kept reads the value that keep gave name.
func (e *Env) kept(ctx context.Context, call plugin.Call, name string, cluster *config.Cluster, into any) error {
	if e.records == nil {
		return errors.New("this process keeps no records")
	}
	return operation.Retrying(ctx, cluster.Fleet.Limits.RetryBudget.Duration, operation.NoProgress{},
		func(ctx context.Context) error {
			return e.records.Read(ctx, offload.Owner(call.Workflow), name, into)
		})
}
