package steps

import (
	"context"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/controlplane/backup"
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/state"
)

// backupStep writes a cluster's state and keys to an archive.
type backupStep struct{ env *Env }

func (backupStep) Name() string      { return "backup" }
func (backupStep) Outputs() []string { return []string{"archive", "report"} }

func (s backupStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		Cluster string `json:"cluster"`
		Keep    string `json:"keep"`
		Size    string `json:"size"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	options := backup.Options{Keep: backup.DefaultKeep, Size: in.Size}
	if in.Keep != "" {
		var err error
		if options.Keep, err = strconv.Atoi(in.Keep); err != nil || options.Keep < 0 {
			return plugin.Execution{}, fmt.Errorf("the parameter \"keep\" is %q: give how many archives "+
				"of the cluster stay, or 0 for all", in.Keep)
		}
	}
	return provisionExecution(s.env, call, provisionInput{Cluster: in.Cluster},
		func(ctx context.Context, p *controlplane.Provisioner, report func(string)) (plugin.Result, error) {
			made, err := backup.Create(ctx, p, options, report)
			if err != nil {
				return plugin.Result{}, err
			}
			s.env.record(call, in.Cluster, described(p.Cluster.Cluster, ""), state.BackedUp(state.Backup{
				Archive: made.Archive, When: metav1.Now(), Bytes: made.Bytes,
			}))
			return plugin.Result{Phase: plugin.Succeeded, Message: made.String(), Outputs: map[string]string{
				"archive": made.Archive, "report": encode(made),
			}}, nil
		}), nil
}
