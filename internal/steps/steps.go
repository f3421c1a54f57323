// Package steps holds the plugin steps that templates ask for, one file each: decode the inputs, call the package that
// does the work, encode the outputs. Steps make no decisions of their own.
package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/state"
	"argosy.dev/argosy/internal/traces"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
	"argosy.dev/argosy/pkg/upgrade"
)

// Openers open the named cluster of a namespace of the host cluster, each for one kind of work.
type Openers struct {
	Join      func(ctx context.Context, namespace, cluster string) (*join.Joiner, error)
	Provision func(ctx context.Context, namespace, cluster string) (*controlplane.Provisioner, error)
	Reset     func(ctx context.Context, namespace, cluster string) (*reset.Resetter, error)
	Images    func(ctx context.Context, namespace, cluster string) (*images.Importer, error)
	Upgrade   func(ctx context.Context, namespace, cluster string) (*upgrade.Upgrader, error)
}

// Env is shared by the steps of one plugin process.
type Env struct {
	open Openers
	log  *slog.Logger
	// State keeps the state of clusters for other programs; nil keeps none. It is set before the steps are used.
	State *state.Recorder
	// Traces sends the times of machines as spans; nil sends none. It is set before the steps are used.
	Traces *traces.Tracer
	// workflows tells when a workflow was started or retried; nil where that does not matter.
	workflows Workflows
	// records keeps texts that are too long for a Workflow; nil where none is kept.
	records Records

	joins      clusterCache[*join.Joiner]
	provisions clusterCache[*controlplane.Provisioner]
	resets     clusterCache[*reset.Resetter]
	imports    clusterCache[*images.Importer]
	upgrades   clusterCache[*upgrade.Upgrader]

	mu       sync.Mutex
	limiters map[string]*operation.Limiter
	aheads   map[string]*operation.Limiter
}

// NewEnv makes an Env that opens clusters with open.
func NewEnv(open Openers, log *slog.Logger) *Env {
	return &Env{
		open: open, log: log, limiters: map[string]*operation.Limiter{}, aheads: map[string]*operation.Limiter{},
	}
}

// clusterCache holds the clusters as each workflow sees them: a workflow reads its configuration once, so that all its
// steps use the same, and the next workflow reads it again.
type clusterCache[T any] struct {
	mu     sync.Mutex
	opened map[string]*cachedCluster[T]
}

type cachedCluster[T any] struct {
	mu     sync.Mutex
	opened bool
	value  T
}

// get opens cluster for the workflow of call, once. An error is not kept: the next call may find its cause corrected.
func (o *clusterCache[T]) get(ctx context.Context, call plugin.Call, cluster string,
	open func(ctx context.Context, namespace, cluster string) (T, error),
) (T, error) {
	var none T
	if cluster == "" {
		return none, errors.New(`the parameter "cluster" is empty: name the ConfigMap that describes the cluster`)
	}
	one := o.of(call.Workflow.UID + "/" + cluster)
	one.mu.Lock()
	defer one.mu.Unlock()
	if !one.opened {
		value, err := open(ctx, call.Workflow.Namespace, cluster)
		if err != nil {
			return none, fmt.Errorf("opening cluster %q: %w", cluster, err)
		}
		one.value, one.opened = value, true
	}
	return one.value, nil
}

func (o *clusterCache[T]) of(key string) *cachedCluster[T] {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.opened == nil {
		o.opened = map[string]*cachedCluster[T]{}
	}
	if o.opened[key] == nil {
		o.opened[key] = &cachedCluster[T]{}
	}
	return o.opened[key]
}

// joiner opens cluster for joins.
func (e *Env) joiner(ctx context.Context, call plugin.Call, cluster string) (*join.Joiner, error) {
	return e.joins.get(ctx, call, cluster, func(ctx context.Context, namespace, cluster string) (*join.Joiner,
		error,
	) {
		j, err := e.open.Join(ctx, namespace, cluster)
		if err == nil {
			j.Runner = e.runner(call, cluster)
		}
		return j, err
	})
}

// provisioner opens cluster for provisioning.
func (e *Env) provisioner(ctx context.Context, call plugin.Call, cluster string) (*controlplane.Provisioner, error) {
	return e.provisions.get(ctx, call, cluster, func(ctx context.Context, namespace,
		cluster string,
	) (*controlplane.Provisioner, error) {
		provisioner, err := e.open.Provision(ctx, namespace, cluster)
		if err == nil {
			provisioner.Log = e.logger(call, cluster)
		}
		return provisioner, err
	})
}

// resetter opens cluster for resets.
func (e *Env) resetter(ctx context.Context, call plugin.Call, cluster string) (*reset.Resetter, error) {
	return e.resets.get(ctx, call, cluster, func(ctx context.Context, namespace, cluster string) (*reset.Resetter,
		error,
	) {
		r, err := e.open.Reset(ctx, namespace, cluster)
		if err == nil {
			r.Runner = e.runner(call, cluster)
		}
		return r, err
	})
}

// importer opens cluster for importing images.
func (e *Env) importer(ctx context.Context, call plugin.Call, cluster string) (*images.Importer, error) {
	return e.imports.get(ctx, call, cluster, func(ctx context.Context, namespace, cluster string) (*images.Importer,
		error,
	) {
		i, err := e.open.Images(ctx, namespace, cluster)
		if err == nil {
			i.Runner = e.runner(call, cluster)
		}
		return i, err
	})
}

// runner returns a runner for the operations of a call; when the plugin itself ends, they go on.
func (e *Env) runner(call plugin.Call, cluster string) operation.Runner {
	return operation.Runner{
		Log:      e.logger(call, cluster),
		Detached: func(cause error) bool { return errors.Is(cause, plugin.ErrDetach) },
	}
}

func (e *Env) logger(call plugin.Call, cluster string) *slog.Logger {
	return e.log.With("workflow", call.Workflow.Name, "namespace", call.Workflow.Namespace, "cluster", cluster)
}

// limiterFor returns the limiter that all machines of one workflow share.
func (e *Env) limiterFor(call plugin.Call, cluster string, limit int) *operation.Limiter {
	return e.shared(e.limiters, call, cluster, limit)
}

// aheadFor returns the limiter of the machines that groups of one workflow inspect, beside those in limiterFor.
func (e *Env) aheadFor(call plugin.Call, cluster string, limit int) *operation.Limiter {
	return e.shared(e.aheads, call, cluster, limit+inspectAhead)
}

func (e *Env) shared(limiters map[string]*operation.Limiter, call plugin.Call, cluster string,
	limit int,
) *operation.Limiter {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := call.Workflow.UID + "/" + cluster
	if limiters[key] == nil {
		limiters[key] = operation.NewLimiter(limit)
	}
	return limiters[key]
}

// concurrency parses the parameter; empty and 0 are the limit of argosy.yaml.
func concurrency(text string, cluster *config.Cluster) (int, error) {
	if text == "" {
		text = "0"
	}
	number, err := strconv.Atoi(text)
	if err != nil || number < 0 {
		return 0, fmt.Errorf("the parameter \"concurrency\" is %q: give the number of machines that may be worked on "+
			"at once, or 0 for the limit in argosy.yaml", text)
	}
	if number == 0 {
		return cluster.Fleet.Limits.Concurrency, nil
	}
	return number, nil
}

// encode encodes an output parameter.
func encode(value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%q", "encoding: "+err.Error())
	}
	return string(encoded)
}

// All returns the steps of this plugin.
func All(env *Env, workflows Workflows, records Records) []plugin.Step {
	env.workflows, env.records = workflows, records
	all := []plugin.Step{
		planStep{env},
		joinStep{env},
		verifyStep{env},
		summaryStep{env},
		reconcilePlanStep{env},
		reconcileStep{env},
		provisionValidateStep{env},
		provisionControlPlaneStep{env},
		provisionAddonsStep{env},
		provisionVerifyStep{env},
		backupStep{env},
		restoreStep{env},
		kubeconfigStep{env},
		deprovisionCheckStep{env},
		resetStep{env},
		deprovisionRemoveStep{env},
		imagesPlanStep{env},
		importImagesStep{env},
		resetPlanStep{env},
		resetVerifyStep{env},
		removePlanStep{env},
		removeStep{env},
		removeVerifyStep{env},
		upgradePlanStep{env},
		upgradeStageStep{env},
		upgradeStep{env},
		upgradeGateStep{env},
		upgradeVerifyStep{env},
		upgradeCleanStep{env},
		rollbackPlanStep{env},
		rollbackStep{env},
	}
	for i, step := range all {
		all[i] = recordedStep{step, env}
	}
	return all
}
