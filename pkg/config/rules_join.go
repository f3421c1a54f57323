package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The rules of joining, the same for all machines in vcluster.yaml and for one machine in argosy.yaml.

// checkJoinNode checks section joinNode, or the join of one machine.
func (d *document) checkJoinNode(key string, j JoinNode) {
	d.commands(join(key, "preInstallCommands"), j.PreInstallCommands)
	d.commands(join(key, "preJoinCommands"), j.PreJoinCommands)
	d.commands(join(key, "postJoinCommands"), j.PostJoinCommands)
	d.image(key+".containerd.pauseImage", j.Containerd.PauseImage)
	d.checkRegistry(key+".containerd.registry", j.Containerd.Registry)
	for i, source := range j.Containerd.ImportImages {
		d.checkImageSource(fmt.Sprintf("%s.containerd.importImages[%d]", key, i), source)
	}
	d.absolute(join(key, "caCertPath"), j.CACertPath)
	for i, phase := range j.SkipPhases {
		d.checkPhase(fmt.Sprintf("%s.skipPhases[%d]", key, i), phase)
	}
	d.checkRegistration(join(key, "nodeRegistration"), j.NodeRegistration)
}

// maxCommand is how many bytes a command may have. It is sent in the operation, which is read whole; longer scripts
// belong into a file.
const maxCommand = 64 << 10

// commands checks commands for /bin/sh, which reads each from a file: any text without NUL bytes is valid there.
func (d *document) commands(key string, commands []string) {
	for i, command := range commands {
		at := key + "[" + strconv.Itoa(i) + "]"
		switch {
		case strings.TrimSpace(command) == "":
			d.add(at, "is empty", "remove it")
		case strings.ContainsRune(command, 0):
			d.add(at, "holds a NUL byte, at which a shell stops reading", "remove it")
		case len(command) > maxCommand:
			d.add(at, fmt.Sprintf("is longer than %d bytes", maxCommand),
				"put the script on the machine, and run it from here")
		}
	}
}

func (d *document) checkRegistration(key string, r NodeRegistration) {
	d.socket(join(key, "criSocket"), r.CRISocket)
	d.taints(join(key, "taints"), r.Taints)
	for i, name := range r.IgnorePreflightErrors {
		at := fmt.Sprintf("%s.ignorePreflightErrors[%d]", key, i)
		d.match(at, name, errorName, "the name of a kubeadm check", `write e.g. "Swap", one an item`)
		d.required(at, name, "remove it")
	}
	for i, arg := range r.KubeletExtraArgs {
		d.checkKubeletArg(fmt.Sprintf("%s.kubeletExtraArgs[%d]", key, i), arg)
	}
}

// checkAllMachines checks the arguments of all machines' kubelets: some have a value of their own on each machine.
func (d *document) checkAllMachines(key string, args []KubeletArg) {
	for i, arg := range args {
		at := fmt.Sprintf("%s[%d].name", key, i)
		switch arg.Name {
		case "node-ip":
			if address, err := netip.ParseAddr(arg.Value); err == nil && address.IsUnspecified() {
				continue // "::" chooses the family alone
			}
			d.add(at, "node-ip would give all machines one address",
				"set it in machines[].join.nodeRegistration of argosy.yaml; 0.0.0.0 or :: may stand here")
		case "provider-id":
			d.add(at, "provider-id would give all nodes one identity",
				"set it in machines[].join.nodeRegistration of argosy.yaml")
		}
	}
}

// checkKubeletArg checks that a value reaches the kubelet as one argument. kubeadm writes the arguments into an
// environment file, which systemd splits at white space and in which it interprets quotes and backslashes.
func (d *document) checkKubeletArg(key string, arg KubeletArg) {
	bare := strings.TrimLeft(arg.Name, "-")
	switch {
	case arg.Name == "hostname-override" || arg.Name == "--hostname-override":
		d.add(join(key, "name"), "would give the node another name than argosy.yaml",
			"set nodeName of the machine in argosy.yaml")
	case !d.required(join(key, "name"), arg.Name, ""):
	case bare != arg.Name && argName.MatchString(bare):
		d.add(join(key, "name"), shown(arg.Name)+" starts with dashes", fmt.Sprintf("write %q", bare))
	default:
		d.match(join(key, "name"), arg.Name, argName, "the name of an argument",
			"use lower case letters, digits and hyphens")
	}
	d.match(join(key, "value"), arg.Value, argValue, "one argument: it holds white space, quotes, a backslash, a "+
		"dollar sign or a control character", "")
}

// joinPhases returns the phases of kubeadm join from Kubernetes 1.30 to 1.36. Not every version has all of them: the
// machine checks them against its own kubeadm.
func joinPhases() []string {
	return []string{
		"preflight",
		"control-plane-prepare", "control-plane-prepare/all", "control-plane-prepare/download-certs",
		"control-plane-prepare/certs",
		"control-plane-prepare/kubeconfig", "control-plane-prepare/control-plane",
		"check-etcd", "kubelet-start", "etcd-join", "kubelet-wait-bootstrap",
		"control-plane-join", "control-plane-join/all", "control-plane-join/etcd", "control-plane-join/update-status",
		"control-plane-join/mark-control-plane",
		"wait-control-plane",
	}
}

// kubeletStart is the phase that makes a machine a node.
const kubeletStart = "kubelet-start"

func (d *document) checkPhase(key, phase string) {
	switch {
	case !d.required(key, phase, "remove it"):
	case phase == kubeletStart:
		d.add(key, "makes the machine a node: without it kubeadm succeeds, and no node has joined",
			"remove it")
	case !slices.Contains(joinPhases(), phase):
		suggestion := "a worker's join has preflight, kubelet-start and kubelet-wait-bootstrap; see kubeadm join " +
			"--help for the others"
		if near := nearest(phase, joinPhases()); near != "" {
			suggestion = fmt.Sprintf("did you mean %q?", near)
		}
		d.add(key, shown(phase)+" is not a phase of kubeadm join", suggestion)
	}
}
