package assemble

import (
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
)

// Part is the use of a binary.
type Part string

// The parts.
const (
	// Node binaries go into the node bundles.
	Node Part = "node bundle"
	// ControlPlane binaries go into the image.
	ControlPlane Part = "control plane"
)

// content is one file of the layout.
type content struct {
	// path beneath the architecture's folder, with slashes.
	path string
	part Part
	// program is whether the file is an executable ELF file.
	program bool
	// optional is whether Argosy works without it.
	optional bool
}

// pluginFolder may hold more plugins than the layout names; they are packed too.
const pluginFolder = "cni/bin"

// Names of the two files with the pause image: a docker archive, and the reference that containerd is told.
const (
	PauseArchive   = "pause-image.tar"
	PauseReference = "pause-image.txt"
)

// layout is a directory of binaries: those that a machine needs to join, then those of the control plane's containers.
var layout = []content{
	{path: "kubeadm", part: Node, program: true},
	{path: "kubelet", part: Node, program: true},
	{path: "kubectl", part: Node, program: true},
	{path: "containerd", part: Node, program: true},
	{path: "containerd-shim-runc-v2", part: Node, program: true},
	{path: "ctr", part: Node, program: true},
	{path: "runc", part: Node, program: true},
	{path: "crictl", part: Node, program: true, optional: true},
	{path: "cni/bin/loopback", part: Node, program: true},
	{path: "cni/bin/portmap", part: Node, program: true},
	{path: "cni/bin/bandwidth", part: Node, program: true},
	{path: "cni/bin/bridge", part: Node, program: true},
	{path: "cni/bin/firewall", part: Node, program: true},
	{path: "cni/bin/host-local", part: Node, program: true},
	{path: PauseArchive, part: Node},
	{path: PauseReference, part: Node},

	{path: "kube-apiserver", part: ControlPlane, program: true},
	{path: "kube-controller-manager", part: ControlPlane, program: true},
	{path: "kube-scheduler", part: ControlPlane, program: true},
	{path: "etcd", part: ControlPlane, program: true},
	{path: "etcdctl", part: ControlPlane, program: true},
	{path: "etcdutl", part: ControlPlane, program: true, optional: true},
	{path: "kine", part: ControlPlane, program: true},
	{path: "konnectivity-server", part: ControlPlane, program: true},
}

// mode returns the mode of the file in archives. The disk's modes don't count: they depend on who made the directory.
func (c content) mode() int64 {
	if c.program {
		return 0o755
	}
	return 0o644
}

// of returns an architecture's files of one part, and an error that names every missing file.
func (a *Assembly) of(arch string, part Part) ([]file, error) {
	var files []file
	for _, f := range a.files[arch] {
		if f.part == part {
			files = append(files, f)
		}
	}
	var missing []string
	for _, c := range layout {
		there := slices.ContainsFunc(files, func(f file) bool { return f.path == c.path })
		if c.part == part && !c.optional && !there {
			missing = append(missing, c.path)
		}
	}
	if len(missing) > 0 {
		return nil, errclass.Errorf(errclass.Configuration,
			"collecting the %s for %s: %q lacks %s; put them there, or leave the architecture out",
			part, arch, filepath.Join(a.dir, arch), strings.Join(missing, ", "))
	}
	return files, nil
}
