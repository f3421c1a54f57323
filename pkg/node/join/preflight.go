package join

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/kubeconfig"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// problem is one reason why a machine cannot become a node, as a sentence with its remedy.
type problem struct {
	text string
	// transient problems may be gone at the next attempt without a change of the machine.
	transient bool
}

// findings are the problems and remarks of one check.
type findings struct {
	problems []problem
	remarks  []string
}

func (f *findings) problem(format string, args ...any) {
	f.problems = append(f.problems, problem{text: fmt.Sprintf(format, args...)})
}

func (f *findings) transient(format string, args ...any) {
	f.problems = append(f.problems, problem{text: fmt.Sprintf(format, args...), transient: true})
}

func (f *findings) remark(format string, args ...any) {
	f.remarks = append(f.remarks, fmt.Sprintf(format, args...))
}

// preflightCheck is one check of the machine.
type preflightCheck struct {
	// ignore is kubeadm's name of the check: in ignorePreflightErrors it turns problems into remarks. "" for a check
	// that cannot be ignored.
	ignore string
	// byName is set for a check that "all" does not ignore.
	byName bool
	// again is set for a check that preInstallCommands may cause to pass: it is made again when they have run.
	again bool
	run   func(ctx context.Context, h *host.Host, j *spec.Join, f *findings)
}

// ignored reports whether the user ignores the check.
func (c preflightCheck) ignored(j *spec.Join) bool {
	if c.byName {
		return named(j, c.ignore)
	}
	return c.ignore != "" && ignored(j, c.ignore)
}

// preflightChecks run in parallel, and all to their end, so that a user sees every problem at once.
var preflightChecks = []preflightCheck{
	{run: checkOwner},
	{run: checkDistributions},
	{ignore: remainsCheck, again: true, run: checkRemains},
	{ignore: podNetworkCheck, again: true, run: checkPodNetwork},
	{run: checkSystem},
	{run: checkSystemdVersion},
	{ignore: "SystemVerification", run: checkMemoryController},
	{ignore: vxlanCheck, run: checkVXLAN},
	{run: checkBinariesPath},
	{ignore: mountsCheck, again: true, run: checkMounts},
	{ignore: proxyCheck, run: checkProxy},
	{run: checkFirewall},
	{ignore: "Mem", run: checkMemory},
	{run: checkDisk},
	{ignore: "SystemVerification", run: checkCgroups},
	{ignore: "Port-10250", run: checkPort},
	{ignore: "Port-10248", run: checkHealthPort},
	{ignore: manifestsCheck, again: true, run: checkManifests},
	{ignore: "Hostname", run: checkHostname},
	{ignore: resolverCheck, run: checkHostnameLookup},
	{ignore: resolverCheck, run: checkResolvers},
	{run: checkEndpoint},
	{ignore: swapCheck, again: true, run: checkSwap},
	{ignore: inUseCheck, byName: true, run: checkContainerdInUse},
	{ignore: runtimeCheck, run: checkExternalRuntime},
	{run: checkOtherRuntimes},
	{run: checkInterfaces},
	{run: checkIPv6},
	{ignore: sessionsCheck, run: checkSessions},
	{ignore: overlayCheck, run: checkOverlay},
	{run: checkPressure},
	{ignore: sysctlCheck, again: true, run: checkSysctls},
}

// checkPreflight holds on a machine that can become the node. On one that is the node already, only its owner,
// version, cgroup driver and server are checked.
func checkPreflight(ctx context.Context, c *node.Context) (bool, string, error) {
	j := c.Operation.Join
	if err := node.Problems(errclass.Configuration, "the operation is not valid on any machine",
		validate(j)); err != nil {
		return false, "", err
	}
	if notJoined(c.Host, j) == "" {
		return checkJoined(ctx, c)
	}
	all := make([]findings, len(preflightChecks))
	var checking sync.WaitGroup
	for i, check := range preflightChecks {
		checking.Go(func() { check.run(ctx, c.Host, j, &all[i]) })
	}
	checking.Wait()
	if ctx.Err() != nil {
		return false, "", context.Cause(ctx)
	}
	return summarize(j, all, commandsLeft(c.Host, j))
}

// summarize returns the findings as one result. Its error is transient only if every problem is, since a retry cannot
// help otherwise. commandsLeft is set while preInstallCommands are still to run.
func summarize(j *spec.Join, all []findings, commandsLeft bool) (bool, string, error) {
	var problems, remarks []string
	class := errclass.Transient
	for i, found := range all {
		remarks = append(remarks, found.remarks...)
		check := preflightChecks[i]
		for _, p := range found.problems {
			switch {
			case check.ignored(j):
				remarks = append(remarks, p.text+" Ignored, as ignorePreflightErrors says.")
				continue
			case check.again && commandsLeft:
				remarks = append(remarks, p.text+" It is looked at again when preInstallCommands have run.")
				continue
			}
			problems = append(problems, p.text)
			if !p.transient {
				class = errclass.Permanent
			}
		}
	}
	if err := node.Problems(class, "the machine cannot become a node", problems); err != nil {
		return false, "", err
	}
	return true, strings.Join(append([]string{spec.CanBecomeNode}, remarks...), " "), nil
}

// commandsLeft reports whether preInstallCommands are still to run.
func commandsLeft(h *host.Host, j *spec.Join) bool {
	ran, err := readHooks(h, j)
	return err == nil && len(ran.left(preInstall, j.Hooks.PreInstall)) > 0
}

// checkAgain makes the checks again that preInstallCommands may have put right.
func checkAgain(ctx context.Context, c *node.Context) error {
	j := c.Operation.Join
	var problems []string
	for _, check := range preflightChecks {
		if !check.again || check.ignored(j) {
			continue
		}
		found := findings{}
		check.run(ctx, c.Host, j, &found)
		for _, p := range found.problems {
			problems = append(problems, p.text)
		}
	}
	return node.Problems(errclass.Permanent, "the machine cannot become a node, also after preInstallCommands",
		problems)
}

// applyPreflight is only called when the check neither held nor failed, which it never does.
func applyPreflight(context.Context, *node.Context) (string, error) {
	return "", errors.New("preflight has nothing to apply")
}

// checkJoined checks a machine that is this node already: a join must not change its version, since its pods were not
// drained.
func checkJoined(ctx context.Context, c *node.Context) (bool, string, error) {
	j := c.Operation.Join
	foreign := findings{}
	checkOwner(ctx, c.Host, j, &foreign)
	if len(foreign.problems) > 0 {
		return false, "", node.Problems(errclass.Permanent, "the machine cannot become a node",
			[]string{foreign.problems[0].text})
	}
	version, err := runningVersion(ctx, c)
	if err != nil {
		return false, "", err
	}
	if version != "" && version != j.KubernetesVersion {
		return false, "", &node.Failure{
			Err: errclass.Errorf(errclass.Permanent, "the machine is node %s of this cluster already, at %s; a join "+
				"does not change its version to %s",
				j.NodeName, version, j.KubernetesVersion),
			Hint: "upgrade the node instead, which moves its pods first",
		}
	}
	if err := checkCgroupDriverKept(c); err != nil {
		return false, "", err
	}
	moved, err := checkServerChange(ctx, c)
	if err != nil {
		return false, "", err
	}
	return true, fmt.Sprintf("the machine is node %s of this cluster already%s", j.NodeName, moved), nil
}

// runningVersion returns the version of a machine that is this node, by its record; "" for one without. When the
// record is damaged, runningVersion asks the kubelet.
func runningVersion(ctx context.Context, c *node.Context) (string, error) {
	record, err := c.Store.Record()
	if !errors.Is(err, node.ErrUnreadable) {
		if record == nil {
			return "", err
		}
		return record.Version, nil
	}
	if version := inspect.Version(ctx, c.Host, "kubelet", program(c.Operation.Join, "kubelet")); version != "" {
		return version, nil
	}
	return "", &node.Failure{
		Err: fmt.Errorf("the machine is node %s of this cluster already, at an unknown version: %w",
			c.Operation.Join.NodeName, err),
		Hint: "reset the machine (argosy reset) and join it anew",
	}
}

// checkCgroupDriverKept refuses another cgroup driver on a running node: the kubelet would not find its pods' cgroups
// and would end the pods.
func checkCgroupDriverKept(c *node.Context) error {
	known, _, err := readSettings(c.Host)
	if err != nil {
		return err
	}
	if known.ClusterConfig == "" {
		// The file that kubeadm made of the cluster's kubelet-config has the driver too.
		config, _ := c.Host.ReadFile(layout.KubeletConfig)
		known.ClusterConfig = string(config)
	}
	if known.ClusterConfig == "" {
		return nil
	}
	given := struct {
		Driver string `yaml:"cgroupDriver"`
	}{"systemd"}
	if err := yaml.Unmarshal([]byte(known.ClusterConfig), &given); err != nil {
		return fmt.Errorf("reading the kubelet-config in %q: %w", settingsFile, err)
	}
	j := c.Operation.Join
	if given.Driver == j.Containerd.CgroupDriver {
		return nil
	}
	return &node.Failure{
		Err: errclass.Errorf(errclass.Permanent, "the machine is node %s of this cluster already, with the cgroup "+
			"driver %s, and the cluster's is %s now",
			j.NodeName, given.Driver, j.Containerd.CgroupDriver),
		Hint: "set privateNodes.kubelet.cgroupDriver back, or reset the machine first (argosy reset) and " +
			"join it anew",
	}
}

// checkOwner refuses a machine of another cluster or owner, and accepts files that an unfinished join of this cluster
// left.
func checkOwner(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	kubelet := inspect.Kubelet(h, nil, nil)
	config, _ := kubeconfig.Read(h, inspect.KubeletConf)
	switch {
	case config != nil && len(config.CA) > 0 && !kubeconfig.SameCA(config.CA, []byte(j.CACert)):
		f.problem("The machine is already a node of %s and not of %s; reset it first (argosy reset) if it "+
			"is to change clusters.", config.Server, j.Server)
		return
	case kubelet.Present && !kubelet.Ours && inspect.UnitFile(h, "kubelet.service") != "":
		f.problem("A kubelet that Argosy did not install is set up on the machine; remove it and its unit first.")
		return
	}
	if config != nil {
		if name, _ := kubeconfig.Node(config.ClientCertificate); name != "" && name != j.NodeName {
			f.problem("The machine is already node %q of this cluster, not %q; give it that nodeName, or reset it "+
				"first.", name, j.NodeName)
		}
	}
	if ca, err := h.ReadFile(caPath(j)); err == nil && !inspect.Lost(ca) && !kubeconfig.SameCA(ca, []byte(j.CACert)) {
		f.problem("The machine has the certificate authority of another cluster in %s; reset it first "+
			"(argosy reset).", caPath(j))
	}
}

func checkSystem(_ context.Context, h *host.Host, _ *spec.Join, f *findings) {
	if os.Geteuid() != 0 && h.Root == "" {
		f.problem("argosy-node does not run as root; the user that Argosy logs in as needs sudo.")
	}
	if !inspect.Systemd(h) {
		f.problem("systemd is not the machine's first process; Argosy needs a Linux that systemd runs.")
	}
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		f.problem("The machine is of the architecture %s; there are bundles for amd64 and arm64.", runtime.GOARCH)
	}
}

func checkMemory(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	if have, need := inspect.Memory(h), j.Requirements.MinMemoryBytes; have < need {
		f.problem("The machine has %s of memory, but %s are asked for; give it more, or lower join.minMemory in the "+
			"fleet.", size(have), size(need))
	}
}

// checkDisk checks the free space below /var/lib, for images and pods, and below the folder of the binaries. It is
// skipped when the bundle is unpacked already.
func checkDisk(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	need := j.Requirements.MinDiskBytes
	if h.Exists(filepath.Join(bundleDir(j), ".complete")) {
		return
	}
	for _, dir := range []string{"/var/lib", j.BinariesPath} {
		if have := inspect.DiskFree(h, dir); have < need {
			f.problem("There are %s free below %s, but %s are asked for; free some, or lower join.minDisk in the "+
				"fleet.", size(have), dir, size(need))
		}
	}
}

// size formats bytes: "1.9 GiB".
func size(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(bytes), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// firstWithoutV1 is the minor version from which the kubelet refuses cgroup v1 unless its configuration allows it.
const firstWithoutV1 = 35

func checkCgroups(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	_, minor := majorMinor(j.KubernetesVersion)
	if inspect.CgroupVersion(h) != 1 || minor < firstWithoutV1 {
		return
	}
	f.problem("The machine has cgroup v1, which kubelets refuse since 1.%d; boot it with "+
		"systemd.unified_cgroup_hierarchy=1. "+
		"If the cluster's kubelet configuration sets failCgroupV1: false, add SystemVerification to "+
		"ignorePreflightErrors.", firstWithoutV1)
}

// checkHealthPort checks the port at which kubeadm waits for the kubelet to be healthy; kubeadm has no such check.
func checkHealthPort(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	config := struct {
		Port int `yaml:"healthzPort"`
	}{10248}
	if yaml.Unmarshal([]byte(j.KubeletConfig), &config) != nil || config.Port == 0 {
		return
	}
	holder := inspect.Listener(h, config.Port)
	if holder == "" || strings.HasPrefix(holder, "kubelet ") && inspect.Kubelet(h, nil, nil).Ours {
		return
	}
	f.problem("Port %d, at which the kubelet tells that it is healthy, is held by %s; stop it.", config.Port, holder)
}

// manifestsCheck is kubeadm's name of the check of static pods.
const manifestsCheck = "DirAvailable--etc-kubernetes-manifests"

// checkManifests finds static pods, as a control plane leaves them: kubeadm refuses the machine, and the kubelet would
// start them.
func checkManifests(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	const dir = "/etc/kubernetes/manifests"
	entries, _ := os.ReadDir(h.Path(dir))
	if len(entries) == 0 || slices.Contains(j.Registration.SkipPhases, "preflight") {
		return
	}
	f.problem("%s has %s, which the kubelet would start, and with which kubeadm refuses the machine; remove it, or "+
		"add %s to ignorePreflightErrors.", dir, entries[0].Name(), manifestsCheck)
}

func checkPort(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	holder := inspect.Listener(h, 10250)
	if holder == "" || strings.HasPrefix(holder, "kubelet ") && inspect.Kubelet(h, nil, nil).Ours {
		return
	}
	f.problem("Port 10250, which the kubelet needs, is held by %s; stop it.", holder)
}
