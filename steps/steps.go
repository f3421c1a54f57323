// Package steps holds the plugin steps that templates ask for, one file each: decode the inputs, call the package that
// does the work, encode the outputs. Nothing is decided here.
package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/plugin"
)

// Opener opens the named cluster of a namespace of the host cluster, ready to conduct joins.
type Opener func(ctx context.Context, namespace, cluster string) (*join.Conductor, error)

// Env is what the steps of one plugin process share.
type Env struct {
	open Opener
	log  *slog.Logger

	mu     sync.Mutex
	opened map[string]*opening
	window map[string]*join.Window
}

// NewEnv makes an Env that opens clusters with open.
func NewEnv(open Opener, log *slog.Logger) *Env {
	return &Env{open: open, log: log, opened: map[string]*opening{}, window: map[string]*join.Window{}}
}

// opening is one cluster as one workflow sees it: a workflow reads its configuration once, so that all its steps mean the
// same, and the next workflow reads it again.
type opening struct {
	mu        sync.Mutex
	conductor *join.Conductor
}

// conductor opens cluster for the workflow of call, once. An error is not remembered: the next call may find it mended.
func (e *Env) conductor(ctx context.Context, call plugin.Call, cluster string) (*join.Conductor, error) {
	if cluster == "" {
		return nil, errors.New(`the parameter "cluster" is empty: name the ConfigMap that describes the cluster`)
	}
	e.mu.Lock()
	key := call.Workflow.UID + "/" + cluster
	o := e.opened[key]
	if o == nil {
		o = &opening{}
		e.opened[key] = o
	}
	e.mu.Unlock()

	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conductor == nil {
		conductor, err := e.open(ctx, call.Workflow.Namespace, cluster)
		if err != nil {
			return nil, fmt.Errorf("opening cluster %q: %w", cluster, err)
		}
		conductor.Detached = func(cause error) bool { return errors.Is(cause, plugin.ErrDetach) }
		conductor.Log = e.log.With("workflow", call.Workflow.Name, "namespace", call.Workflow.Namespace, "cluster", cluster)
		o.conductor = conductor
	}
	return o.conductor, nil
}

// windowFor is the window that all machines of one workflow work in.
func (e *Env) windowFor(call plugin.Call, cluster string, limit int) *join.Window {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := call.Workflow.UID + "/" + cluster
	if e.window[key] == nil {
		e.window[key] = join.NewWindow(limit)
	}
	return e.window[key]
}

// concurrency reads the parameter; empty and 0 mean the fleet's own limit.
func concurrency(text string, cluster *config.Cluster) (int, error) {
	if text == "" {
		text = "0"
	}
	number, err := strconv.Atoi(text)
	if err != nil || number < 0 {
		return 0, fmt.Errorf("the parameter \"concurrency\" is %q: give the number of machines that may be worked on at once, or 0 for the limit in argosy.yaml", text)
	}
	if number == 0 {
		return cluster.Fleet.Limits.Concurrency, nil
	}
	return number, nil
}

// encode writes an output parameter; what we encode are our own structs, which always can be.
func encode(value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%q", "encoding: "+err.Error())
	}
	return string(encoded)
}

// All are the steps of this plugin.
func All(env *Env, workflows Workflows) []plugin.Step {
	return []plugin.Step{planStep{env}, joinStep{env}, verifyStep{env}, summaryStep{workflows}}
}
