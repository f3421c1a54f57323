package reset

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
)

// podNamespace is the kubelet's namespace in containerd.
const podNamespace = "k8s.io"

// runningProcesses returns the processes that run a program, without kernel threads and zombies.
func runningProcesses(h *host.Host) []inspect.Process {
	return slices.DeleteFunc(inspect.Processes(h), func(p inspect.Process) bool { return p.Program == "" })
}

// ofPods returns the processes in the cgroups of pods, never this one or one that it descends from.
func ofPods(h *host.Host) []inspect.Process {
	groups, spared := inspect.ReadCgroups(h), append(inspect.Ancestors(h), os.Getpid())
	return slices.DeleteFunc(runningProcesses(h), func(p inspect.Process) bool {
		return slices.Contains(spared, p.PID) || groups.PodOf(p.PID) == ""
	})
}

// shims returns containerd's shim processes, by namespace. Those of another containerd, such as Docker's own or one in
// a container, do not count.
func shims(h *host.Host) map[string][]inspect.Process {
	found := map[string][]inspect.Process{}
	for _, process := range runningProcesses(h) {
		if !strings.HasPrefix(filepath.Base(process.Program), "containerd-shim") || inspect.Contained(h, process) {
			continue
		}
		words := strings.Split(h.ReadLine(fmt.Sprintf("/proc/%d/cmdline", process.PID)), "\x00")
		if address := flagOf(words, "-address"); address != "" && address != layout.ContainerdSocket {
			continue
		}
		namespace := flagOf(words, "-namespace")
		found[namespace] = append(found[namespace], process)
	}
	return found
}

// flagOf returns the word after a flag.
func flagOf(words []string, flag string) string {
	if at := slices.Index(words, flag); at >= 0 && at+1 < len(words) {
		return words[at+1]
	}
	return ""
}

// describe returns processes as text.
func describe(processes []inspect.Process) []string {
	var found []string
	for _, process := range processes {
		found = append(found, fmt.Sprintf("process %s (pid %d)", process.Name, process.PID))
	}
	return found
}
