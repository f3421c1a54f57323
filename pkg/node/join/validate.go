package join

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"argosy.dev/argosy/internal/imageref"
	"argosy.dev/argosy/pkg/node/images"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/registry"
	"argosy.dev/argosy/pkg/node/spec"
)

var (
	digestPattern   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	versionPattern  = regexp.MustCompile(`^v1\.[0-9]+\.[0-9]+([-+.][0-9A-Za-z.+-]*)?$`)
	nodeNamePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// validate returns the problems of an operation that no machine could carry out. The plugin refuses such values
// earlier; here they become paths, unit files and arguments, so they are checked again.
func validate(j *spec.Join) []string {
	var problems []string
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for name, path := range map[string]string{"binariesPath": j.BinariesPath, "cniBinariesPath": j.CNIBinariesPath} {
		if !layout.PlainPath(path) {
			bad("The %s %q is not a plain absolute path; write one such as /usr/local/bin.", name, path)
		}
	}
	if !digestPattern.MatchString(j.Bundle.SHA256) {
		bad("The bundle's sha256 %q is not 64 hex digits.", j.Bundle.SHA256)
	}
	if !versionPattern.MatchString(j.KubernetesVersion) {
		bad("The Kubernetes version %q is not of the form v1.34.4.", j.KubernetesVersion)
	}
	problems = append(problems, versionProblems(j)...)
	if !nodeNamePattern.MatchString(j.NodeName) || len(j.NodeName) > 253 {
		bad("The node name %q is not a DNS subdomain; use lower case letters, digits, dashes and dots.", j.NodeName)
	}
	if server, err := url.Parse(j.Server); err != nil || server.Scheme != "https" || server.Host == "" {
		bad("The API server's address %q is not of the form https://host:port.", j.Server)
	}
	if image := j.Containerd.PauseImage; image != "" {
		if _, err := imageref.Normalize(image); err != nil {
			bad("The pause image %q is not the name of an image; write one such as registry.k8s.io/pause:3.10.", image)
		}
	}
	if driver := j.Containerd.CgroupDriver; driver != "systemd" && driver != "cgroupfs" {
		bad("The cgroup driver %q is neither systemd nor cgroupfs.", driver)
	}
	if path := j.Registration.CACertPath; path != "" && !layout.PlainPath(path) {
		// It becomes an argument of the kubelet in an environment file.
		bad("The caCertPath %q is not a plain absolute path; write one such as %s.", path, layout.ClusterCA)
	}
	if problem := socketProblem(j); problem != "" {
		problems = append(problems, problem)
	}
	problems = append(problems, registry.Check(j.Containerd.Registry)...)
	return append(problems, images.Validate(j.ImportImages)...)
}

// socketProblem returns why the kubelet cannot find its container runtime at the socket, or nothing.
func socketProblem(j *spec.Join) string {
	if socket := j.Registration.CRISocket; socket != "" && !layout.PlainPath(criSocket(j)) {
		return fmt.Sprintf("The criSocket %q is not the path of a socket; write e.g. unix://%s.", socket,
			layout.ContainerdSocket)
	}
	if at := criSocket(j); !j.Containerd.External && at != layout.ContainerdSocket &&
		at != "/var"+layout.ContainerdSocket {
		return fmt.Sprintf("The kubelet would look for its container runtime at %s (criSocket), and the containerd "+
			"that Argosy installs answers at %s; remove criSocket, or write containerd.enabled: false to use the "+
			"runtime there.", at, layout.ContainerdSocket)
	}
	return ""
}

const (
	// firstWithV1beta4 is the minor version from which kubeadm reads the configuration that Argosy writes.
	firstWithV1beta4 = 31
	// firstWithoutCadvisorFlags is the minor version from which the kubelet exits on cAdvisor's flags.
	firstWithoutCadvisorFlags = 37
)

// cadvisorFlags are the flags of cAdvisor that kubelets took until 1.36, by the list of that version's source:
// cmd/kubelet/app/options/globalflags_linux.go. housekeeping-interval stays.
var cadvisorFlags = []string{
	"application-metrics-count-limit", "boot-id-file", "container-hints", "containerd", "containerd-namespace",
	"enable-load-reader", "event-storage-age-limit", "event-storage-event-limit", "global-housekeeping-interval",
	"log-cadvisor-usage", "machine-id-file", "storage-driver-user", "storage-driver-password", "storage-driver-host",
	"storage-driver-db", "storage-driver-table", "storage-driver-secure", "storage-driver-buffer-duration",
}

// versionProblems returns the settings that the programs of that version of Kubernetes would refuse.
func versionProblems(j *spec.Join) []string {
	if !versionPattern.MatchString(j.KubernetesVersion) {
		return nil
	}
	var problems []string
	_, minor := majorMinor(j.KubernetesVersion)
	if minor < firstWithV1beta4 {
		problems = append(problems, fmt.Sprintf("Kubernetes %s is older than 1.%d, the first whose kubeadm reads the "+
			"configuration that Argosy writes; upgrade the cluster first.", j.KubernetesVersion, firstWithV1beta4))
	}
	if minor < firstWithoutCadvisorFlags {
		return problems
	}
	for _, arg := range j.Registration.KubeletExtraArgs {
		// The kubelet takes both spellings for one flag.
		if slices.Contains(cadvisorFlags, strings.ReplaceAll(arg.Name, "_", "-")) {
			problems = append(problems, fmt.Sprintf("The kubelet's argument %q is one of cAdvisor's, and kubelets "+
				"since 1.%d exit on it; remove it from kubeletExtraArgs.", arg.Name, firstWithoutCadvisorFlags))
		}
	}
	return problems
}
