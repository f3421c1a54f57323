package steps

import (
	"context"
	"fmt"
	"strings"
	"time"

	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/controlplane/kubeconfig"
	"argosy.dev/argosy/internal/plugin"
)

// kubeconfigStep makes a kubeconfig for a user of a cluster.
type kubeconfigStep struct{ env *Env }

func (kubeconfigStep) Name() string      { return "kubeconfig" }
func (kubeconfigStep) Outputs() []string { return []string{"secret", "expires", "report"} }

func (s kubeconfigStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
		Groups  string `json:"groups"`
		Expires string `json:"expires"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	options := kubeconfig.Options{User: in.User, Life: kubeconfig.DefaultLife}
	if in.Groups != "" {
		for group := range strings.SplitSeq(in.Groups, ",") {
			options.Groups = append(options.Groups, strings.TrimSpace(group))
		}
	}
	if in.Expires != "" {
		var err error
		if options.Life, err = time.ParseDuration(in.Expires); err != nil {
			return plugin.Execution{}, fmt.Errorf("the parameter \"expires\" is %q: give how long the kubeconfig "+
				"holds, e.g. 24h", in.Expires)
		}
	}
	execution := provisionExecution(s.env, call, provisionInput{Cluster: in.Cluster},
		func(ctx context.Context, p *controlplane.Provisioner, report func(string)) (plugin.Result, error) {
			made, err := kubeconfig.Ensure(ctx, p.Cluster, options, report)
			if err != nil {
				return plugin.Result{}, err
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: made.String(), Outputs: map[string]string{
				"secret": made.Secret, "expires": made.Expires.UTC().Format(time.RFC3339), "report": encode(made),
			}}, nil
		})
	// A kubeconfig for another user, other groups or another time is another execution.
	execution.Key = strings.Join([]string{execution.Key, in.User, in.Groups, in.Expires}, "/")
	return execution, nil
}
