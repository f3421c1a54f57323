package join

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// swapCheck is kubeadm's name of the check of swap.
const swapCheck = "Swap"

// checkSwap finds swap with which the kubelet would not start. kubeadm only warns of it, and then waits four minutes
// for the kubelet.
func checkSwap(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	devices := swapDevices(h)
	if swapAllowed(j) {
		return
	}
	if len(devices) == 0 {
		if by := swapAtBoot(h); by != "" {
			f.remark("Swap is off, and %s turns it on at the next boot, after which the kubelet does not start; "+
				"remove it there, or set failSwapOn: false in the cluster's kubelet configuration.", by)
		}
		return
	}
	f.problem("Swap is on (%s), and the kubelet does not start with it; turn it off (swapoff --all, and remove it "+
		"from /etc/fstab and from systemd's swap units), or set failSwapOn: false in the cluster's kubelet "+
		"configuration.",
		strings.Join(devices, ", "))
}

// swapAtBoot returns the file by which systemd turns swap on at boot; empty for none.
func swapAtBoot(h *host.Host) string {
	for line := range strings.Lines(h.ReadLine("/etc/fstab")) {
		fields := strings.Fields(line)
		if len(fields) > 3 && fields[2] == "swap" && !strings.HasPrefix(fields[0], "#") &&
			!slices.Contains(strings.Split(fields[3], ","), "noauto") {
			return "/etc/fstab (" + fields[0] + ")"
		}
	}
	for _, pattern := range []string{
		"/etc/systemd/system/*.wants/*.swap", "/etc/systemd/system/*.requires/*.swap",
	} {
		if files, _ := filepath.Glob(h.Path(pattern)); len(files) > 0 {
			return strings.TrimPrefix(files[0], h.Root)
		}
	}
	for _, file := range []string{"/etc/systemd/zram-generator.conf", "/usr/lib/systemd/zram-generator.conf"} {
		if h.Exists(file) {
			if strings.Contains(h.ReadLine(file), "[") {
				return file
			}
			return "" // an empty file of the owner's masks the distribution's
		}
	}
	return ""
}

// swapDevices returns the devices and files that the machine swaps to.
func swapDevices(h *host.Host) []string {
	var devices []string
	for line := range strings.Lines(h.ReadLine("/proc/swaps")) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] != "Filename" {
			devices = append(devices, fields[0])
		}
	}
	return devices
}

// swapAllowed reports whether the kubelet starts although there is swap: by its last argument of that name, else by
// the cluster's kubelet-config. The kubelet's own default is to fail.
func swapAllowed(j *spec.Join) bool {
	var config struct {
		FailSwapOn *bool `yaml:"failSwapOn"`
	}
	allowed := yaml.Unmarshal([]byte(j.KubeletConfig), &config) == nil && config.FailSwapOn != nil &&
		!*config.FailSwapOn
	for _, arg := range j.Registration.KubeletExtraArgs {
		if arg.Name != "fail-swap-on" {
			continue
		}
		if fails, err := strconv.ParseBool(arg.Value); err == nil {
			allowed = !fails
		}
	}
	return allowed
}
