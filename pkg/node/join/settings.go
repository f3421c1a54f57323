package join

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// settingsFile has the kubelet's last settings, to tell an edit on the machine from a change in the documents. It has
// no secrets.
const settingsFile = spec.KubeletFile

// settings are those that the kubelet was last given.
type settings struct {
	// ClusterConfig is the cluster's kubelet-config of that time, and Config the file that kubeadm made of it.
	ClusterConfig string `json:"clusterConfig"`
	Config        string `json:"config"`
	// Args are the arguments beside kubeadm's own.
	Args []spec.Arg `json:"args,omitempty"`
	// Flags is kubeadm's environment file with all arguments; empty when an older version wrote the settings.
	Flags string `json:"flags,omitempty"`
	// Restart is set before files are written, until the kubelet was restarted with them.
	Restart bool `json:"restart,omitempty"`
	// Upgraded is the version for which kubeadm has upgraded the node's configuration; empty when it only joined.
	Upgraded string `json:"upgraded,omitempty"`
}

// readSettings returns the last settings; false when there are none, as after a join or with an older version, and when
// they are damaged: then kubeadm writes the configuration again, and the settings are taken from that.
func readSettings(h *host.Host) (settings, bool, error) {
	var known settings
	err := node.ReadState(h, settingsFile, &known)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, node.ErrUnreadable) {
		return settings{}, false, nil
	}
	return known, err == nil, err
}

// writeGivenSettings stores the settings that the kubelet has just been given; upgraded is the version for which
// kubeadm has upgraded the node, "" when it joined.
func writeGivenSettings(c *node.Context, upgraded string) error {
	config, err := c.Host.ReadFile(layout.KubeletConfig)
	if err != nil {
		return fmt.Errorf("reading the kubelet's configuration: %w", err)
	}
	j := c.Operation.Join
	flags, err := c.Host.ReadFile(layout.KubeletFlags)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the kubelet's arguments: %w", err)
	}
	return writeSettings(c.Host, settings{
		ClusterConfig: j.KubeletConfig, Config: string(config), Args: currentArgs(c), Flags: string(flags),
		Upgraded: upgraded,
	})
}

func writeSettings(h *host.Host, known settings) error {
	data, err := json.Marshal(known)
	if err != nil {
		return fmt.Errorf("writing %q: %w", settingsFile, err)
	}
	_, err = h.WriteFile(settingsFile, append(data, '\n'), 0o600)
	return err
}

// checkSettings holds when the kubelet has the cluster's kubelet-config, the documents' arguments, and an address at
// which the cluster answers.
func checkSettings(ctx context.Context, c *node.Context) (bool, string, error) {
	known, found, err := readSettings(c.Host)
	if err != nil {
		return false, "", err
	}
	if !found {
		detail := "the kubelet's settings have to be checked"
		if c.Host.Exists(settingsFile) {
			detail += ": " + settingsFile + " is damaged, as after a loss of power"
		}
		return false, detail, nil
	}
	var wanted []string
	server, err := serverDiffers(ctx, c)
	if err != nil {
		return false, "", err
	}
	if server.moves() {
		wanted = append(wanted, "the cluster's address")
	}
	if configDiffers(c, known) {
		wanted = append(wanted, "its configuration")
	}
	if argsDiffer(c, known) {
		wanted = append(wanted, "its arguments")
	}
	if known.Restart {
		c.AddChanges(spec.Change{What: "service kubelet", Effect: spec.RestartsKubelet})
		return false, "the kubelet has to be restarted with its settings", nil
	}
	if len(wanted) > 0 {
		return false, "the kubelet has to be given " + strings.Join(wanted, " and "), nil
	}
	return true, "the kubelet has the cluster's configuration and the documents' arguments", nil
}

// configDiffers reports whether the kubelet's configuration differs, and adds the change:
//
//	cluster's kubelet-config    file on the machine    note
//	as remembered               as remembered          none
//	changed                     any                    the change in the cluster's kubelet-config
//	as remembered               changed                the file, back to what kubeadm made
func configDiffers(c *node.Context, known settings) bool {
	wanted := c.Operation.Join.KubeletConfig
	if wanted != "" && wanted != known.ClusterConfig {
		effect := spec.RestartsKubelet
		if len(staleStates(c.Host, []byte(wanted), currentArgs(c))) > 0 {
			effect = spec.NeedsDrain
		}
		c.AddChanges(spec.Change{
			What: layout.KubeletConfig, Diff: node.Diff("kube-system/kubelet-config", known.ClusterConfig, wanted),
			Effect: effect,
		})
		return true
	}
	if !c.Host.Holds(layout.KubeletConfig, []byte(known.Config)) {
		c.AddChanges(node.FileChange(c.Host, layout.KubeletConfig, []byte(known.Config), spec.RestartsKubelet))
		return true
	}
	return false
}

func argsDiffer(c *node.Context, known settings) bool {
	wanted, same := wantedFlags(c.Host, known, currentArgs(c))
	if !same {
		effect := spec.RestartsKubelet
		config, _ := c.Host.ReadFile(layout.KubeletConfig)
		if len(staleStates(c.Host, config, currentArgs(c))) > 0 {
			effect = spec.NeedsDrain
		}
		c.AddChanges(node.FileChange(c.Host, layout.KubeletFlags, wanted, effect))
	}
	return !same
}

// currentArgs returns the arguments that the kubelet should have, with the path of the certificate authority from the
// join, since only another join changes it.
func currentArgs(c *node.Context) []spec.Arg {
	j := *c.Operation.Join
	if hasNodeIP(c.Host) {
		j = *withNodeIP(c.Host, &j)
	}
	record, err := c.Store.Record()
	if err == nil && record != nil && record.ClusterUID == j.ClusterUID && record.NodeName == j.NodeName &&
		record.AtJoin.CACertPath != "" {
		j.Registration.CACertPath = record.AtJoin.CACertPath
	}
	return kubeletArgs(&j)
}

// applySettings has kubeadm write the kubelet's configuration again from the cluster's, sets the arguments, and
// restarts the kubelet once, only if anything changed.
func applySettings(ctx context.Context, c *node.Context) (string, error) {
	known, found, err := readSettings(c.Host)
	if err != nil {
		return "", err
	}
	rewrite := !found || configDiffers(c, known)
	wanted, same := wantedFlags(c.Host, known, currentArgs(c))
	server, err := findServerChange(ctx, c)
	if err != nil {
		return "", err
	}
	restartDue := known.Restart
	known.Restart = true
	if err := writeSettings(c.Host, known); err != nil {
		return "", err
	}
	var done []string
	if server.moves() { // first, since kubeadm uses it
		if err := moveKubelet(c.Host, server.present); err != nil {
			return "", err
		}
		done = append(done, "moved to "+server.present)
	}
	if rewrite {
		changed, err := rewriteConfig(ctx, c)
		if err != nil {
			return "", err
		}
		if changed {
			done = append(done, "configuration written")
		}
	}
	if !same {
		if _, err := c.Host.WriteFile(layout.KubeletFlags, wanted, 0o644); err != nil {
			return "", err
		}
		done = append(done, "arguments set")
	}
	if len(done) == 0 && !restartDue {
		return "the kubelet's settings are as wanted", writeGivenSettings(c, known.Upgraded)
	}
	removed, err := restartKubelet(ctx, c, "restart")
	if err != nil {
		return "", withJournal(ctx, c, "kubelet.service", err)
	}
	for _, name := range removed {
		done = append(done, name+" removed")
	}
	return strings.Join(append(done, "kubelet restarted"), ", "), writeGivenSettings(c, known.Upgraded)
}

// rewriteConfig has kubeadm fetch the cluster's kubelet-config with the node's own credentials, and reports whether the
// kubelet's configuration changed. kubeadm keeps the former file in /etc/kubernetes/tmp.
func rewriteConfig(ctx context.Context, c *node.Context) (changed bool, err error) {
	before, err := c.Host.ReadFile(layout.KubeletConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("reading the kubelet's configuration: %w", err)
	}
	c.SetMessage("taking over the cluster's kubelet configuration")
	_, err = c.Host.Runner.Run(ctx, host.Command{
		Argv: []string{c.Host.Path(program(c.Operation.Join, "kubeadm")), "upgrade", "node", "phase", "kubelet-config"},
		Env:  searchPath(c.Operation.Join), Log: c.Log,
	})
	if err != nil {
		return false, kubeadmFailed("taking over the cluster's kubelet configuration: kubeadm upgrade node",
			c.Operation.Join.Server, err)
	}
	if err := syncKubeadm(c.Host, caPath(c.Operation.Join)); err != nil {
		return false, err
	}
	return !c.Host.Holds(layout.KubeletConfig, before), nil
}

// flagsVariable begins the one line of kubeadm's environment file for the kubelet's unit.
const flagsVariable = "KUBELET_KUBEADM_ARGS="

// wantedFlags returns the wanted content of kubeadm's environment file: kubeadm's own arguments, without those that the
// documents set before, and then those of the documents in their order. It reports whether the file has these already,
// in any order.
//
// For a file that lost its content with the power, kubeadm's own arguments are taken from known.
func wantedFlags(h *host.Host, known settings, wanted []spec.Arg) (content []byte, same bool) {
	line := h.ReadLine(layout.KubeletFlags)
	lost := inspect.Lost([]byte(line)) && known.Flags != ""
	if lost {
		line = strings.TrimSpace(known.Flags)
	}
	text := strings.TrimPrefix(line, flagsVariable)
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	have := strings.Fields(text)
	flags := slices.DeleteFunc(slices.Clone(have), func(flag string) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		named := func(arg spec.Arg) bool { return arg.Name == name }
		return slices.ContainsFunc(known.Args, named) || slices.ContainsFunc(wanted, named)
	})
	for _, arg := range wanted {
		flags = append(flags, "--"+arg.Name+"="+arg.Value)
	}
	content = []byte(flagsVariable + strconv.Quote(strings.Join(flags, " ")) + "\n")
	return content, !lost && slices.Equal(sorted(have), sorted(flags))
}

func sorted(words []string) []string {
	return slices.SortedFunc(slices.Values(words), cmp.Compare)
}
