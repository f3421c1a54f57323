package steps

import (
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/join"
)

// reconcileStep changes one machine to what the documents describe.
type reconcileStep struct{ env *Env }

func (reconcileStep) Name() string { return "reconcile" }
func (reconcileStep) Outputs() []string {
	return []string{"node", "version", "changed", "table", "report"}
}

func (s reconcileStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	return s.env.joinerExecution(call, s, (*join.Joiner).Reconcile)
}
