package join

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/kubeconfig"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

// caPath returns the path at which kubeadm writes the cluster's CA for the kubelet.
func caPath(j *spec.Join) string {
	if j.Registration.CACertPath != "" {
		return j.Registration.CACertPath
	}
	return layout.ClusterCA
}

// checkKubeadm holds when the kubelet has valid credentials of this node for this cluster, and the bootstrap kubeconfig
// is removed.
func checkKubeadm(_ context.Context, c *node.Context) (bool, string, error) {
	j := c.Operation.Join
	if why := notJoined(c.Host, j); why != "" {
		return false, why, nil
	}
	noteRejoin(c)
	if c.Host.Exists(layout.BootstrapConf) {
		return false, layout.BootstrapConf + " is left over and has to be removed", nil
	}
	if ca := missingCA(c); ca != "" {
		return false, ca + " is gone or empty and has to be written", nil
	}
	return true, fmt.Sprintf("node %s has its credentials for %s", j.NodeName, kubeletServer(c.Host)), nil
}

// kubeletServer returns the API server's address in the kubelet's kubeconfig, without a slash at its end; "" when it
// has no credentials.
func kubeletServer(h *host.Host) string {
	config, _ := kubeconfig.Read(h, inspect.KubeletConf)
	if config == nil {
		return ""
	}
	return strings.TrimSuffix(config.Server, "/")
}

// notJoined returns the reason why the machine is not yet this node of this cluster; "" when it is.
func notJoined(h *host.Host, j *spec.Join) string {
	config, err := kubeconfig.Read(h, inspect.KubeletConf)
	if errors.Is(err, fs.ErrNotExist) && config == nil {
		return "node " + j.NodeName + " has to join " + j.Server
	}
	if err != nil {
		return "node " + j.NodeName + " has to join: " + err.Error()
	}
	name, until := kubeconfig.Node(config.ClientCertificate)
	switch {
	case !kubeconfig.SameCA(config.CA, []byte(j.CACert)):
		return "the kubelet trusts another cluster"
	case name != j.NodeName:
		return fmt.Sprintf("the kubelet's certificate is for node %q, not %q", name, j.NodeName)
	case time.Now().After(until):
		return fmt.Sprintf("the kubelet's certificate expired on %s", until.Format(time.DateOnly))
	}
	return ""
}

func applyKubeadm(ctx context.Context, c *node.Context) (string, error) {
	j := c.Operation.Join
	if notJoined(c.Host, j) == "" {
		// kubeadm was killed after the kubelet had its credentials, or files were lost with the power.
		if ca := missingCA(c); ca != "" {
			if _, err := c.Host.WriteFile(ca, []byte(j.CACert), 0o644); err != nil {
				return "", err
			}
		}
		if err := syncKubeadm(c.Host, caPath(j)); err != nil {
			return "", err
		}
		err := errors.Join(noteJoined(c.Host, j), c.Host.Remove(layout.BootstrapConf), c.RemoveSecrets())
		if err != nil {
			return "", err
		}
		return "finished an earlier attempt", nil
	}
	if c.Operation.Secrets.BootstrapToken == "" {
		return "", errclass.With(errclass.Configuration, errors.New("joining the cluster: the operation carries no "+
			"bootstrap token"))
	}
	if err := c.AwaitAdmission(ctx); err != nil {
		return "", fmt.Errorf("waiting to be admitted to the API server: %w", err)
	}
	if err := checkNameFree(ctx, c); err != nil {
		return "", err
	}
	if err := errors.Join(noteJoined(c.Host, j), noteClusterCA(c), noteFlannel(c.Host)); err != nil {
		return "", err
	}
	if err := removeUnfinishedJoin(ctx, c); err != nil {
		return "", err
	}
	err := runKubeadm(ctx, c)
	// The token is not needed any more, whether it was used or not.
	if err := c.RemoveSecrets(); err != nil {
		return "", err
	}
	if err != nil {
		return "", err
	}
	if why := notJoined(c.Host, j); why != "" {
		return "", fmt.Errorf("joining the cluster: kubeadm ended well, but %s", why)
	}
	if err := errors.Join(noteJoined(c.Host, j), renewRecord(c), writeGivenSettings(c, "")); err != nil {
		return "", err
	}
	return fmt.Sprintf("node %s joined %s", j.NodeName, j.Server), nil
}

// noteClusterCA notes the original of the cluster's CA file, if its path is the user's choice. Below kubeadm's own
// folder nothing stays after a reset. On a machine with a record, an earlier join has written the file.
func noteClusterCA(c *node.Context) error {
	name := caPath(c.Operation.Join)
	if strings.HasPrefix(name, layout.KubernetesDir+"/") {
		return nil
	}
	note, err := original.Read(c.Host)
	if err != nil || note.Of(name) != nil {
		return err
	}
	record, err := c.Store.Record()
	if err != nil {
		return err
	}
	_, err = original.Take(c.Host, original.File{Name: name, Ours: func() bool { return record != nil }})
	return err
}

// noteFlannel notes a configuration of flannel that an earlier node left, or its owner wrote, before the addon of this
// cluster replaces it. On a machine that was this node before, the addon may have written it.
func noteFlannel(h *host.Host) error {
	if isNode(h) || !h.Exists(layout.FlannelConf) {
		return nil
	}
	note, err := original.Read(h)
	if err != nil || note.Of(layout.FlannelConf) != nil {
		return err
	}
	_, err = original.Take(h, original.File{Name: layout.FlannelConf, InPlace: true})
	return err
}

// removeUnfinishedJoin removes exactly the files that an interrupted kubeadm join of this cluster leaves and that make
// the next one fail. Preflight has refused machines whose files are another cluster's.
func removeUnfinishedJoin(ctx context.Context, c *node.Context) error {
	if kubeletRunning(c.Host) {
		if err := systemctl(ctx, c, "stop", "kubelet.service"); err != nil {
			return err
		}
	}
	if err := c.Host.Remove(layout.BootstrapConf, inspect.KubeletConf, caPath(c.Operation.Join),
		settingsFile); err != nil {
		return fmt.Errorf("removing the files of an unfinished join: %w", err)
	}
	return nil
}

// runKubeadm writes the configuration, runs kubeadm, and removes the configuration. A request to stop does not
// interrupt it: half a join is worse than a finished one.
func runKubeadm(ctx context.Context, c *node.Context) error {
	j := c.Operation.Join
	dir := c.Store.Dir(c.Operation.ID)
	discovery, configuration := filepath.Join(dir, "discovery.json"), filepath.Join(dir, "join.json")
	defer func() {
		if err := c.Host.Remove(discovery, configuration); err != nil {
			fmt.Fprintln(c.Log, err)
		}
	}()
	token := c.Operation.Secrets.BootstrapToken
	if err := writeJSON(c.Host, discovery, renderDiscovery(j, token)); err != nil {
		return err
	}
	wanted := renderJoin(withNodeIP(c.Host, j), c.Host.Path(discovery), token)
	if err := writeJSON(c.Host, configuration, wanted); err != nil {
		return err
	}
	c.SetMessage("running kubeadm join")
	stopped, err := whileKubeletStarts(ctx, c, func(ctx context.Context) error {
		_, err := c.Host.Runner.Run(ctx, host.Command{
			Argv: []string{c.Host.Path(program(j, "kubeadm")), "join", "--config", c.Host.Path(configuration)},
			Env:  searchPath(j),
			Log:  c.Log,
		})
		return err
	})
	if err == nil {
		return syncKubeadm(c.Host, caPath(j))
	}
	if stopped {
		err = kubeletFailed(ctx, c)
	} else {
		err = kubeadmFailed(fmt.Sprintf("joining %q: kubeadm join", j.Server), j.Server, err)
	}
	if clean := stopBootstrapKubelet(ctx, c); clean != nil {
		fmt.Fprintln(c.Log, clean)
	}
	return err
}

// stopBootstrapKubelet stops a kubelet that still tries to join with the token, and removes the token, which must not
// stay on the disk. A kubelet that has its own credentials by now goes on.
func stopBootstrapKubelet(ctx context.Context, c *node.Context) error {
	if !c.Host.Exists(layout.BootstrapConf) {
		return nil
	}
	var err error
	if notJoined(c.Host, c.Operation.Join) != "" {
		err = systemctl(context.WithoutCancel(ctx), c, "stop", "kubelet.service")
	}
	return errors.Join(err, c.Host.Remove(layout.BootstrapConf))
}

func writeJSON(h *host.Host, name string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	// It has the token and is removed after kubeadm, so it is not synced.
	_, err = h.WriteProgress(name, append(data, '\n'), 0o600)
	return err
}

type object = map[string]any

// renderDiscovery returns the kubeconfig by which kubeadm finds the cluster. Being a file, it pins the whole CA and
// needs no signed cluster-info. It has the token, although kubeadm could take that from its configuration, so that the
// first request is not anonymous: clusters that refuse anonymous requests can be joined.
func renderDiscovery(j *spec.Join, token string) object {
	return object{
		"apiVersion": "v1", "kind": "Config", "current-context": "join",
		"clusters": []object{{"name": "join", "cluster": object{
			"server": j.Server, "certificate-authority-data": base64.StdEncoding.EncodeToString([]byte(j.CACert)),
		}}},
		"contexts": []object{{"name": "join", "context": object{"cluster": "join", "user": "bootstrap"}}},
		"users":    []object{{"name": "bootstrap", "user": object{"token": token}}},
	}
}

// bootstrapTimeout bounds kubeadm's wait for the kubelet's certificate, whose request the plugin approves: as long as a
// bootstrap token lasts, so that a plugin that was away finds it waiting.
const bootstrapTimeout = 15 * time.Minute

// renderJoin returns kubeadm's configuration. Every kubeadm from 1.31 to 1.37 reads v1beta4: 1.37 dropped
// v1beta3, and its v1 is an experiment.
func renderJoin(j *spec.Join, discovery, token string) object {
	r := j.Registration
	registration := object{"name": j.NodeName, "criSocket": "unix://" + criSocket(j), "taints": taints(r.Taints)}
	if names := ignoredByKubeadm(j); len(names) > 0 {
		registration["ignorePreflightErrors"] = names
	}
	if r.ImagePullPolicy != "" {
		registration["imagePullPolicy"] = r.ImagePullPolicy
	}
	if args := kubeletArgs(j); len(args) > 0 {
		registration["kubeletExtraArgs"] = args
	}
	configuration := object{
		"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "JoinConfiguration",
		"caCertPath":       caPath(j),
		"nodeRegistration": registration,
		"discovery":        object{"file": object{"kubeConfigPath": discovery}, "tlsBootstrapToken": token},
		"timeouts":         object{"tlsBootstrap": bootstrapTimeout.String()},
	}
	if len(r.SkipPhases) > 0 {
		configuration["skipPhases"] = r.SkipPhases
	}
	return configuration
}

// taints returns a list that is never nil: without the field kubeadm would use its own default.
func taints(wanted []spec.Taint) []spec.Taint {
	if wanted == nil {
		return []spec.Taint{}
	}
	return wanted
}

// clientCA is the kubelet's argument that names the authority of those who may call it.
const clientCA = "client-ca-file"

// kubeletArgs returns the kubelet's extra arguments. The cluster's kubelet-config names kubeadm's default path of the
// CA; with another path the kubelet needs client-ca-file, or it does not start.
func kubeletArgs(j *spec.Join) []spec.Arg {
	args := slices.Clone(j.Registration.KubeletExtraArgs)
	given := slices.ContainsFunc(args, func(a spec.Arg) bool { return a.Name == clientCA })
	if caPath(j) != layout.ClusterCA && !given {
		args = append(args, spec.Arg{Name: clientCA, Value: caPath(j)})
	}
	return args
}

// ownChecks are the names of checks that kubeadm does not have.
var ownChecks = []string{inUseCheck, remainsCheck, podNetworkCheck, resolverCheck, sysctlCheck, vxlanCheck, mountsCheck}

// ignoredByKubeadm returns the ignored checks that are kubeadm's own.
func ignoredByKubeadm(j *spec.Join) []string {
	return slices.DeleteFunc(slices.Clone(j.Registration.IgnorePreflightErrors), func(name string) bool {
		return slices.ContainsFunc(ownChecks, func(own string) bool { return strings.EqualFold(name, own) })
	})
}

// ignored reports whether ignorePreflightErrors has the check or "all".
func ignored(j *spec.Join, check string) bool { return named(j, check) || named(j, "all") }

// named reports whether ignorePreflightErrors has the check by name.
func named(j *spec.Join, check string) bool {
	return slices.ContainsFunc(j.Registration.IgnorePreflightErrors, func(name string) bool {
		return strings.EqualFold(name, check)
	})
}
