package steps

import (
	"context"

	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/controlplane/backup"
	"argosy.dev/argosy/internal/plugin"
)

// restoreStep makes a control plane anew from an archive.
type restoreStep struct{ env *Env }

func (restoreStep) Name() string      { return "restore" }
func (restoreStep) Outputs() []string { return []string{"endpoint", "archive", "version", "report"} }

func (s restoreStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		Cluster        string `json:"cluster"`
		Archive        string `json:"archive"`
		ReplaceVolumes string `json:"replaceVolumes"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	options := backup.RestoreOptions{Archive: in.Archive}
	var err error
	if options.ReplaceVolumes, err = parseBool("replaceVolumes", in.ReplaceVolumes); err != nil {
		return plugin.Execution{}, err
	}
	return provisionExecution(s.env, call, provisionInput{Cluster: in.Cluster},
		func(ctx context.Context, p *controlplane.Provisioner, report func(string)) (plugin.Result, error) {
			restored, err := backup.Restore(ctx, p, options, report)
			if err != nil {
				return plugin.Result{}, err
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: restored.String(), Outputs: map[string]string{
				"endpoint": restored.Endpoint, "archive": restored.Archive, "version": restored.Version,
				"report": encode(restored),
			}}, nil
		}), nil
}
