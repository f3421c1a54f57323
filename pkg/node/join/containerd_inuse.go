package join

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

// inUseCheck is the name by which ignorePreflightErrors ignores a containerd that is in use; kubeadm has no such
// check. "all" does not include it: other software loses its containers by it.
const inUseCheck = "ContainerdInUse"

const (
	containerdUnit = "containerd.service"
	dockerUnit     = "docker.service"
	// containerdTasks has a folder for each namespace, and in it one for each container that runs.
	containerdTasks = "/run/containerd/io.containerd.runtime.v2.task"
)

// containerdUse describes a containerd on the machine that is not Argosy's.
type containerdUse struct {
	// unit is the file of its service; empty for none.
	unit            string
	active, enabled bool
	// docker is set when Docker uses it, and would go down with it.
	docker bool
	// tasks counts the containers that run, by namespace.
	tasks map[string]int
	// data are its folders with anything in them beside its own databases.
	data []string
}

// readContainerdUse describes the containerd on the machine that is not Argosy's.
func readContainerdUse(ctx context.Context, h *host.Host) containerdUse {
	use := containerdUse{tasks: map[string]int{}, enabled: inspect.Enabled(h, containerdUnit)}
	if unit := inspect.UnitFile(h, containerdUnit); !inspect.Masked(h, unit) {
		use.unit = unit
	}
	use.active = use.unit != "" && isActive(ctx, h, containerdUnit) ||
		runs(h, "containerd") && inspect.Answers(ctx, h, layout.ContainerdSocket) == nil
	use.docker = dockerUses(h)
	folders, _ := os.ReadDir(h.Path(containerdTasks))
	for _, folder := range folders {
		tasks, _ := os.ReadDir(h.Path(filepath.Join(containerdTasks, folder.Name())))
		if len(tasks) > 0 {
			use.tasks[folder.Name()] = len(tasks)
		}
	}
	for _, dir := range inspect.ContainerdRoots(h) {
		if inspect.HoldsImages(h, dir) {
			use.data = append(use.data, dir)
		}
	}
	return use
}

func isActive(ctx context.Context, h *host.Host, unit string) bool {
	command := host.Command{Argv: []string{"systemctl", "show", "--property=ActiveState", "--value", unit}}
	output, _ := h.Runner.Run(ctx, command)
	switch strings.TrimSpace(string(output)) {
	case "active", "activating", "reloading":
		return true
	}
	return false
}

// dockerUses reports whether Docker is at work, or starts at boot, with the machine's containerd and not with one of
// its own.
func dockerUses(h *host.Host) bool {
	text := h.ReadLine(inspect.UnitFile(h, dockerUnit))
	if !strings.Contains(text, containerdUnit) && !strings.Contains(text, layout.ContainerdSocket) {
		return false
	}
	return runs(h, "dockerd") || inspect.Enabled(h, dockerUnit) || inspect.Enabled(h, "docker.socket")
}

// runs reports whether a process of this name runs on the machine itself, and not in a container.
func runs(h *host.Host, name string) bool {
	return slices.ContainsFunc(inspect.Processes(h), func(p inspect.Process) bool {
		return p.Name == name && !inspect.Contained(h, p)
	})
}

// inUse reports whether its owner would lose something if Argosy took it over. A unit that runs is not enough:
// distributions start it when its package is installed. One that runs without a unit cannot be stopped.
func (u containerdUse) inUse() bool {
	return u.active && u.unit == "" || u.docker || len(u.tasks) > 0 || len(u.data) > 0
}

// guessOwner returns its probable origin, for messages.
func (u containerdUse) guessOwner(h *host.Host) string {
	switch {
	case u.docker || u.tasks["moby"] > 0:
		return "Docker's"
	case h.Exists("/var/lib/nerdctl"), h.Exists("/usr/local/bin/nerdctl"):
		return "nerdctl's"
	case strings.HasPrefix(u.unit, "/usr/lib/"), strings.HasPrefix(u.unit, "/lib/"):
		return "the distribution's package"
	case u.unit == "":
		return "one that is not installed as a service, or not any more"
	}
	return "one that was installed by hand"
}

// found returns the signs of its use, for messages.
func (u containerdUse) found() string {
	var found []string
	add := func(is bool, text string) {
		if is {
			found = append(found, text)
		}
	}
	add(u.active && u.unit != "", containerdUnit+" runs")
	add(u.active && u.unit == "", "containerd runs without a unit")
	add(u.enabled, containerdUnit+" starts at boot")
	add(u.docker, dockerUnit+" uses it and goes down with it")
	for namespace, tasks := range u.tasks {
		found = append(found, fmt.Sprintf("%s in its namespace %s", count.Of(tasks, "container"), namespace))
	}
	add(len(u.data) > 0, "images or other data in "+strings.Join(u.data, ", "))
	slices.Sort(found)
	return strings.Join(found, "; ")
}

// checkContainerdInUse refuses to take a containerd over from its owner.
//
//	the machine's containerd                                 answer
//	is Argosy's, or none                                     nothing
//	external, by containerd.enabled: false                   nothing: it is not touched
//	installed, and maybe runs, without containers and data   a remark: Argosy's unit stands before it until a reset
//	has containers or data, runs without a unit, or Docker   ContainerdInUse
//	uses it
func checkContainerdInUse(ctx context.Context, h *host.Host, j *spec.Join, f *findings) {
	if j.Containerd.External || ownsContainerd(h) {
		return
	}
	use := readContainerdUse(ctx, h)
	switch {
	case use.inUse():
		f.problem("The machine has a containerd in use, which looks like %s: %s. The join would put its own unit "+
			"and configuration in its place and restart it. Set privateNodes.joinNode.containerd.enabled: false "+
			"to have the kubelet use it and leave it untouched, or add %s to ignorePreflightErrors to have Argosy "+
			"take it over.", use.guessOwner(h), use.found(), inUseCheck)
	case use.unit != "":
		f.remark("The containerd of %s has no containers and no images; Argosy's takes its place, and a reset "+
			"restores it.", use.unit)
	}
	if h.Exists(layout.ContainerdConfig) && !inspect.Marked(h, layout.ContainerdConfig) {
		f.remark("%s is not Argosy's and is restored by a reset; until then, put the settings that you need into %s.",
			layout.ContainerdConfig, filepath.Dir(layout.ContainerdDropIns))
	}
}

// ownsContainerd reports whether Argosy has set up the machine's containerd, or was about to. A unit that lost its
// mark in a power cut is told by the notes.
func ownsContainerd(h *host.Host) bool {
	if inspect.Marked(h, layout.Unit("containerd")) || h.Exists(Stamp("containerd")) {
		return true
	}
	note, err := original.Read(h)
	return err == nil && note.Containerd != nil
}

// noteContainerd notes the containerd that Argosy is about to replace: a reset leaves its data, and
// starts it again.
func noteContainerd(ctx context.Context, c *node.Context) error {
	if ownsContainerd(c.Host) {
		return nil
	}
	use := readContainerdUse(ctx, c.Host)
	return original.NoteContainerd(c.Host, original.Containerd{Active: use.unit != "" && use.active, Data: use.data})
}
