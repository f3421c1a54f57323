package inspect

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"argosy.dev/argosy/pkg/node/host"
)

// Process is one that runs on the machine.
type Process struct {
	PID int
	// Name as the kernel has it, at most 15 bytes.
	Name string
	// Program is the file it runs from; "" for kernel threads. A file that was replaced since is named without the
	// kernel's " (deleted)".
	Program string
}

// Processes returns the machine's processes.
func Processes(h *host.Host) []Process {
	var found []Process
	entries, _ := os.ReadDir(h.Path("/proc"))
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join("/proc", entry.Name())
		program, _ := os.Readlink(h.Path(filepath.Join(dir, "exe")))
		found = append(found, Process{
			pid, h.ReadLine(filepath.Join(dir, "comm")),
			strings.TrimSuffix(program, " (deleted)"),
		})
	}
	return found
}

// Ancestors returns the processes that this one descends from, its parent first.
func Ancestors(h *host.Host) []int {
	var found []int
	// PIDs that are reused meanwhile may form a circle.
	for at := "self"; len(found) < 100; at = strconv.Itoa(found[len(found)-1]) {
		parent := parentOf(h, at)
		if parent == 0 {
			break
		}
		found = append(found, parent)
	}
	return found
}

// parentOf returns a process's parent; 0 for none.
func parentOf(h *host.Host, process string) int {
	for line := range strings.Lines(h.ReadLine(filepath.Join("/proc", process, "status"))) {
		if value, is := strings.CutPrefix(line, "PPid:"); is {
			parent, _ := strconv.Atoi(strings.TrimSpace(value))
			return parent
		}
	}
	return 0
}

// running reports whether the machine itself runs a program; those of its containers do not count.
func running(h *host.Host, processes []Process, name string) bool {
	for _, process := range processes {
		if process.Name == name && !Contained(h, process) {
			return true
		}
	}
	return false
}

// Listener returns the process that listens on the TCP port: "kubelet (pid 812)"; "" when none does.
func Listener(h *host.Host, port int) string {
	sockets := listening(h, port)
	if len(sockets) == 0 {
		return ""
	}
	for _, process := range Processes(h) {
		dir := h.Path(fmt.Sprintf("/proc/%d/fd", process.PID))
		open, _ := os.ReadDir(dir)
		for _, fd := range open {
			if target, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && sockets[target] {
				return fmt.Sprintf("%s (pid %d)", process.Name, process.PID)
			}
		}
	}
	return "a process that is not visible here"
}

// listening returns the sockets that listen on the port, as links in /proc/<pid>/fd name them: "socket:[1234]".
func listening(h *host.Host, port int) map[string]bool {
	const stateListen = "0A"
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(h.Path(table))
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || fields[3] != stateListen {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":")
			if number, err := strconv.ParseInt(hex, 16, 32); err == nil && int(number) == port {
				sockets["socket:["+fields[9]+"]"] = true
			}
		}
		_ = file.Close()
	}
	return sockets
}
