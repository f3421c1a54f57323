package join

import (
	"context"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// staleStates returns the kubelet's notes of how it gave out CPUs and memory that are of another policy than the
// configuration's, or than the arguments'. The kubelet does not start with one.
func staleStates(h *host.Host, config []byte, args []spec.Arg) []string {
	wanted := struct {
		CPU    string `yaml:"cpuManagerPolicy"`
		Memory string `yaml:"memoryManagerPolicy"`
	}{"none", "None"}
	if yaml.Unmarshal(config, &wanted) != nil {
		return nil
	}
	for _, arg := range args {
		switch arg.Name {
		case "cpu-manager-policy":
			wanted.CPU = arg.Value
		case "memory-manager-policy":
			wanted.Memory = arg.Value
		}
	}
	var stale []string
	for i, policy := range []string{wanted.CPU, wanted.Memory} {
		var state struct {
			Policy string `json:"policyName"`
		}
		data, err := h.ReadFile(inspect.KubeletState[i])
		if err == nil && json.Unmarshal(data, &state) == nil && state.Policy != "" && state.Policy != policy {
			stale = append(stale, inspect.KubeletState[i])
		}
	}
	return stale
}

// restartKubelet restarts the kubelet, by restart or, for one that need not run, try-restart. Where its notes are of
// another policy than the configuration, it is stopped first, since it writes them, and they are removed.
func restartKubelet(ctx context.Context, c *node.Context, verb string) (removed []string, err error) {
	config, err := c.Host.ReadFile(layout.KubeletConfig)
	if err != nil {
		return nil, fmt.Errorf("reading the kubelet's configuration: %w", err)
	}
	stale := staleStates(c.Host, config, currentArgs(c))
	if len(stale) > 0 {
		if verb == "restart" || kubeletRunning(c.Host) {
			verb = "restart"
			if err := systemctl(ctx, c, "stop", "kubelet.service"); err != nil {
				return nil, err
			}
		}
		if err := c.Host.Remove(stale...); err != nil {
			return nil, fmt.Errorf("removing the kubelet's notes of another policy: %w", err)
		}
	}
	return stale, systemctl(ctx, c, verb, "kubelet.service")
}
