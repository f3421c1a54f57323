// Package inspect reads the facts of a machine: system, resources, processes, and Argosy's own state. It changes
// nothing and takes a few milliseconds; it starts programs only where no file has their version.
package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/kubeconfig"
	"argosy.dev/argosy/pkg/node/spec"
)

// Mark begins the first line of every file that Argosy writes outside of its own folders.
const Mark = "# Written by Argosy"

// KubeletConf is where kubeadm has the kubelet keep its credentials.
const KubeletConf = "/etc/kubernetes/kubelet.conf"

// Machine returns the facts.
func Machine(ctx context.Context, h *host.Host, store *node.Store) (*spec.Facts, error) {
	processes := Processes(h)
	record, err := store.Record()
	if err != nil && !errors.Is(err, node.ErrUnreadable) {
		return nil, err
	}
	facts := &spec.Facts{
		Hostname:      h.ReadLine("/proc/sys/kernel/hostname"),
		OS:            osName(h),
		Arch:          runtime.GOARCH,
		Kernel:        h.ReadLine("/proc/sys/kernel/osrelease"),
		CgroupVersion: CgroupVersion(h),
		CPUs:          runtime.NumCPU(),
		MemoryBytes:   Memory(h),
		DiskFreeBytes: DiskFree(h, "/var/lib"),
		Time:          time.Now().UTC(),
		Systemd:       Systemd(h),
		Addresses:     Addresses(),
		MachineID:     MachineID(h),
		ProductUUID:   productUUID(h),
		Interfaces:    Interfaces(h),
		SELinux:       selinux(h),
		AppArmor:      h.ReadLine("/sys/module/apparmor/parameters/enabled") == "Y",
		Kubelet:       Kubelet(h, processes, record),
		Containerd:    containerd(h, processes),
		Port10250:     Listener(h, 10250),
		Record:        record,
		Unreadable:    unreadable(h, store),
		Operations:    store.Operations(),
	}
	versions(ctx, h, processes, facts)
	return facts, nil
}

// unreadable returns the files of Argosy's own state that are damaged.
func unreadable(h *host.Host, store *node.Store) []string {
	var damaged []string
	if _, err := store.Record(); errors.Is(err, node.ErrUnreadable) {
		damaged = append(damaged, spec.RecordFile)
	}
	for _, name := range []string{spec.KubeletFile, spec.HooksFile, spec.PreviousFile, spec.ImagesFile} {
		var content map[string]any
		if errors.Is(node.ReadState(h, name, &content), node.ErrUnreadable) {
			damaged = append(damaged, name)
		}
	}
	return damaged
}

func osName(h *host.Host) string {
	for line := range strings.Lines(h.ReadLine("/etc/os-release") + "\n") {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); found {
			return strings.Trim(value, `"'`)
		}
	}
	return ""
}

// Systemd reports whether systemd is the machine's first process.
func Systemd(h *host.Host) bool {
	return h.Exists("/run/systemd/system") && h.ReadLine("/proc/1/comm") == "systemd"
}

// CgroupVersion returns 2 on the unified hierarchy, else 1.
func CgroupVersion(h *host.Host) int {
	if h.Exists("/sys/fs/cgroup/cgroup.controllers") {
		return 2
	}
	return 1
}

// Memory returns the machine's memory in bytes; 0 when unknown.
func Memory(h *host.Host) int64 {
	for line := range strings.Lines(h.ReadLine("/proc/meminfo")) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// Filesystem is the size of a file system, in bytes, and the number of its inodes. Free is the part that root may still
// write.
type Filesystem struct{ Free, Total, InodesFree, Inodes int64 }

// Disk returns the file system of dir, or of the next folder above that exists; zero when unknown.
func Disk(h *host.Host, dir string) Filesystem {
	for ; ; dir = filepath.Dir(dir) {
		var stat syscall.Statfs_t
		err := syscall.Statfs(h.Path(dir), &stat)
		if err == nil {
			return Filesystem{
				Free: int64(stat.Bavail) * stat.Bsize, Total: int64(stat.Blocks) * stat.Bsize,
				InodesFree: int64(stat.Ffree), Inodes: int64(stat.Files),
			}
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			return Filesystem{}
		}
	}
}

// DiskFree returns the bytes that root may still write below dir, or below the next folder above that exists.
func DiskFree(h *host.Host, dir string) int64 { return Disk(h, dir).Free }

// Addresses returns the addresses of the machine by which others may reach it.
func Addresses() []string {
	var found []string
	all, _ := net.InterfaceAddrs()
	for _, address := range all {
		if ip, ok := address.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			found = append(found, ip.IP.String())
		}
	}
	return found
}

// Kubelet describes the machine's kubelet. Its version is known when the record has it.
func Kubelet(h *host.Host, processes []Process, record *spec.Record) spec.Kubelet {
	unit := UnitFile(h, "kubelet.service")
	k := spec.Kubelet{
		Present: unit != "" || h.Exists(KubeletConf),
		Active:  unit != "" && running(h, processes, "kubelet"),
		Ours:    Marked(h, unit),
	}
	if config, _ := kubeconfig.Read(h, KubeletConf); config != nil {
		k.Server, k.CASHA256 = config.Server, kubeconfig.CADigest(config.CA)
		k.NodeName, _ = kubeconfig.Node(config.ClientCertificate)
	}
	return k
}

func containerd(h *host.Host, processes []Process) spec.Containers {
	unit := UnitFile(h, "containerd.service")
	active := unit != "" && running(h, processes, "containerd")
	return spec.Containers{Present: unit != "", Active: active, Ours: Marked(h, unit)}
}

// versions asks the programs whose version is in no manifest of Argosy's; a running one by the file it runs from.
func versions(ctx context.Context, h *host.Host, processes []Process, facts *spec.Facts) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if facts.Kubelet.Present {
		facts.Kubelet.Version = Version(ctx, h, "kubelet", program(h, processes, "kubelet"))
	}
	if facts.Containerd.Present {
		facts.Containerd.Version = Version(ctx, h, "containerd", program(h, processes, "containerd"))
	}
}

// program returns the path of a program: the file it runs from, or the first in the usual folders.
func program(h *host.Host, processes []Process, name string) string {
	for _, process := range processes {
		if process.Name == name && process.Program != "" && h.Exists(process.Program) {
			return process.Program
		}
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/opt/bin"} {
		if file := filepath.Join(dir, name); h.Exists(file) {
			return file
		}
	}
	return ""
}

// Version returns the version of the kubelet or containerd in file, "v1.34.4": by the manifest of the bundle that it
// was installed from, else by asking it; "" when unknown.
func Version(ctx context.Context, h *host.Host, name, file string) string {
	if file == "" {
		return ""
	}
	if version := manifestVersion(h, name, file); version != "" {
		return version
	}
	output, err := h.Runner.Run(ctx, host.Command{Argv: []string{file, "--version"}})
	if err != nil {
		return ""
	}
	return ParseVersion(string(output))
}

func manifestVersion(h *host.Host, name, file string) string {
	installed, err := os.Stat(h.Path(file))
	if err != nil {
		return ""
	}
	candidates, _ := filepath.Glob(h.Path(filepath.Join(filepath.Dir(file), ".argosy", "*", "release", name)))
	for _, candidate := range candidates {
		if info, err := os.Stat(candidate); err != nil || !os.SameFile(info, installed) {
			continue
		}
		if manifest, err := bundle.ReadManifest(filepath.Dir(filepath.Dir(candidate))); err == nil {
			return manifest.Versions[name]
		}
	}
	return ""
}

// ParseVersion returns the first word like "v1.2.3" or "1.2.3", with a "v".
func ParseVersion(output string) string {
	for _, word := range strings.Fields(output) {
		number := strings.TrimPrefix(word, "v")
		if number != "" && number[0] >= '0' && number[0] <= '9' && strings.Count(number, ".") >= 2 {
			return "v" + number
		}
	}
	return ""
}

// Answers dials a socket, and returns the error.
func Answers(ctx context.Context, h *host.Host, socket string) error {
	dialer := net.Dialer{Timeout: time.Second}
	connection, err := dialer.DialContext(ctx, "unix", h.Path(socket))
	if err != nil {
		return fmt.Errorf("dialling %q: %w", socket, err)
	}
	return connection.Close()
}

// unitDirs are systemd's folders of units, in the order in which they override each other.
var unitDirs = []string{
	"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
	"/lib/systemd/system",
}

// UnitFile returns the file of the unit that systemd would take; "" when there is none.
func UnitFile(h *host.Host, unit string) string {
	for _, dir := range unitDirs {
		if file := filepath.Join(dir, unit); h.Exists(file) {
			return file
		}
	}
	return ""
}

// Marked reports whether Argosy wrote a file. One that lost its content with the power, as files did that were not
// synced, counts on a machine on which Argosy has run a kubelet or containerd.
func Marked(h *host.Host, file string) bool {
	if file == "" {
		return false
	}
	info, err := os.Lstat(h.Path(file))
	if err == nil && info.Mode().IsRegular() && isNoted(h) {
		if content, err := h.ReadFile(file); err == nil && Lost(content) {
			return true
		}
	}
	return strings.HasPrefix(h.ReadLine(file), Mark)
}

// isNoted reports whether Argosy has a note of a node, or of a service that it started.
func isNoted(h *host.Host) bool {
	return slices.ContainsFunc([]string{
		spec.RecordFile, spec.KubeletFile, spec.Root + "/kubelet.applied", spec.Root + "/containerd.applied",
	}, h.Exists)
}

// Lost reports whether a file's content went with the power: there is nothing in it, or zeros.
func Lost(content []byte) bool { return len(bytes.Trim(content, "\x00")) == 0 }
