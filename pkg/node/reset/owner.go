package reset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

// nodeNotes are the files that Argosy keeps of a node in its own folder. One that is there and cannot be read proves as
// much.
var nodeNotes = []string{
	spec.RecordFile, spec.KubeletFile, spec.Root + "/kubelet.applied", spec.PreviousFile,
}

// joinNotes are those that it keeps of a join that has not come to the kubelet yet.
var joinNotes = []string{spec.HooksFile, spec.Root + "/containerd.applied", original.Dir}

// joinFiles carry Argosy's mark from before the kubelet is installed.
var joinFiles = []string{
	layout.Unit("containerd"), layout.ContainerdConfig, layout.RegistryLogins, layout.ModulesFile, layout.SysctlFile,
}

// nodeMarks lists the proofs that Argosy made the machine a node, or was about to: a join installs the kubelet's unit
// before kubeadm, kubelet or a pod write anything. Only with such a mark are the places that all Kubernetes shares
// Argosy's: /etc/kubernetes, /var/lib/kubelet, /var/lib/cni, control groups, links, rules.
func nodeMarks(h *host.Host) []string {
	return append(existing(h, nodeNotes...), marked(h, layout.Unit("kubelet"), layout.KubeletDropIn)...)
}

// joinMarks lists the proofs that a join has begun. They make no files Argosy's but those that it wrote itself.
func joinMarks(n *node.Context) []string {
	marks := append(existing(n.Host, joinNotes...), marked(n.Host, joinFiles...)...)
	for _, dir := range binariesPaths(n) {
		marks = append(marks, existing(n.Host, layout.Store(dir))...)
	}
	return marks
}

// existing returns the files that exist.
func existing(h *host.Host, names ...string) []string {
	var found []string
	for _, name := range names {
		if h.Exists(name) {
			found = append(found, name)
		}
	}
	return found
}

// marked returns the files that carry Argosy's mark.
func marked(h *host.Host, names ...string) []string {
	var found []string
	for _, name := range names {
		if inspect.Marked(h, name) {
			found = append(found, name)
		}
	}
	return found
}

// ownsNode reports whether the machine is a node of Argosy's. Once it was, it is until this program ends, so that the
// proof looks everywhere also after the marks are gone.
func (c *cleaner) ownsNode(h *host.Host) bool {
	c.node = c.node || len(nodeMarks(h)) > 0
	return c.node
}

// nodeSigns lists the traces that only kubelets and pods leave in the places that all Kubernetes shares. Networks of
// podman and nerdctl are none: theirs are other links, and chains with other names.
func (c *cleaner) nodeSigns(ctx context.Context, n *node.Context) ([]string, error) {
	var found []string
	if holdsFiles(n.Host.Path(flannelRun)) {
		found = append(found, flannelRun)
	}
	files, err := newTree(n.Host)
	if err != nil {
		return nil, err
	}
	for _, dir := range nodeDirs {
		if files.holds(files.nodeData(dir)) {
			found = append(found, dir)
		}
	}
	for _, group := range inspect.ReadCgroups(n.Host).Pods() {
		found = append(found, "control group "+group)
	}
	links, err := c.kernel.Links()
	if err != nil {
		return nil, err
	}
	c.networks.read(n.Host)
	for _, one := range links {
		if nodeLink(one.Name) && !c.networks.others.links[one.Name] {
			found = append(found, "link "+one.Name)
		}
	}
	rules, err := c.kernel.Rules(&podNetworks{})
	if err != nil {
		return nil, err
	}
	legacy, err := findLegacy(ctx, n, &podNetworks{})
	if err != nil {
		return nil, err
	}
	for _, rule := range append(rules, legacy...) {
		if ofKubernetes(rule) {
			found = append(found, "rules "+rule)
		}
	}
	return found, nil
}

// holds reports whether there is data of a node in a folder. Other data beside it, where the owner has the folder on a
// disk of more, is no sign of a node.
func (t *tree) holds(dir dataDir) bool {
	if dir.owns == nil {
		return holdsFiles(t.host.Path(dir.path))
	}
	_, names, err := t.children(dir)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return slices.ContainsFunc(names, func(name string) bool {
		info, err := os.Lstat(t.host.Path(name))
		return err == nil && !info.IsDir() || holdsFiles(t.host.Path(name))
	})
}

// holdsFiles reports whether there is anything but empty folders in dir. It goes no deeper: a pod's volume may be on a
// server that does not answer.
func holdsFiles(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return !os.IsNotExist(err)
	}
	return slices.ContainsFunc(entries, func(entry os.DirEntry) bool {
		if !entry.IsDir() {
			return true
		}
		beneath, err := os.ReadDir(filepath.Join(dir, entry.Name()))
		return err != nil || len(beneath) > 0
	})
}

// others lists the Kubernetes software on the machine that is not Argosy's. A kubelet in Argosy's place whose unit is
// gone, or lost its content in a power cut, is Argosy's where a note of a node tells of it.
func others(n *node.Context) []inspect.Distribution {
	processes := runningProcesses(n.Host)
	all := inspect.Distributions(n.Host, processes)
	unit := inspect.UnitFile(n.Host, "kubelet.service")
	if lost := unit == "" || lostContent(n.Host, unit); lost && len(existing(n.Host, nodeNotes...)) > 0 {
		ours := kubelets(n)
		processes = slices.DeleteFunc(processes, func(p inspect.Process) bool { return slices.Contains(ours, p) })
		unit = ""
	}
	if kubelet := inspect.ForeignKubelet(n.Host, unit, processes); len(kubelet.Found) > 0 {
		all = append(all, kubelet)
	}
	return all
}

// lostContent reports whether a file of Argosy's lost its content, and with it its mark, in a power cut. Only a note of
// a node tells that the file was Argosy's.
func lostContent(h *host.Host, name string) bool {
	info, err := os.Lstat(h.Path(name))
	return err == nil && info.Mode().IsRegular() && info.Size() == 0 && len(existing(h, nodeNotes...)) > 0
}

// foreign returns the reasons why a machine without a mark, or with another's node at work, is not touched.
//
//	Argosy's marks                   another's node     signs of a node    answer
//	none                             none or remains    none               nothing to reset
//	none                             runs or enabled    any                refused, both named
//	none                             any                some               refused, both named
//	of a join before its kubelet     none or remains    any                Argosy's own files go, the rest stays
//	of a node                        none or remains    any                reset
//	any                              runs or enabled    any                refused: their pods cannot be told apart
//
// Nodes in containers of the machine, as kind makes them, have their own of all that nodes share. They are another's
// node where there is no mark, and stay untouched beside a node of Argosy's.
func (c *cleaner) foreign(ctx context.Context, n *node.Context) ([]string, error) {
	var problems []string
	owned := c.ownsNode(n.Host) || len(joinMarks(n)) > 0
	all := others(n)
	for _, other := range all {
		switch {
		case other.Active && owned:
			problems = append(problems, fmt.Sprintf(refusedBesideNode, other, other.Remove))
		case other.Active || other.Contained && !owned:
			problems = append(problems, fmt.Sprintf(refusedOtherNode, other, other.Remove))
		}
	}
	if owned || len(problems) > 0 {
		return problems, nil
	}
	signs, err := c.nodeSigns(ctx, n)
	if err != nil || len(signs) == 0 {
		return nil, err
	}
	return []string{fmt.Sprintf(refusedSigns, some(signs), likelyOwner(all))}, nil
}

// The refusals of foreign.
const (
	refusedBesideNode = "Beside Argosy's node the machine has %s, and Argosy cannot tell pods, links and rules of " +
		"the two apart; if you do not need it, %s, then reset the machine again."
	refusedOtherNode = "Argosy has no record and no mark of its own on the machine, and the machine has %s; take the " +
		"machine out of argosy.yaml or, if you do not need that, %s."
	refusedSigns = "Argosy has no record and no mark of its own on the machine, and there is %s, %s; remove it with " +
		"the tool that installed it."
)

// likelyOwner names the likely owner of a node's signs, by the remains of another's node.
func likelyOwner(all []inspect.Distribution) string {
	if len(all) == 0 {
		return "as kubeadm and other installers leave it"
	}
	return "perhaps left by " + all[0].String()
}
