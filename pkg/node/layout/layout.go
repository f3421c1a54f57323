// Package layout says where the parts of a node lie on a machine, for whoever puts them there, finds them or takes them
// away. Argosy's own folder is not among them: see package spec.
package layout

import (
	"path/filepath"
	"regexp"
)

// What systemd and the kernel read at boot.
const (
	// UnitsDir is where units go that override the distribution's.
	UnitsDir = "/etc/systemd/system"
	// KubeletDropIn is where kubeadm's conventions for the kubelet's flags stand.
	KubeletDropIn = UnitsDir + "/kubelet.service.d/10-kubeadm.conf"
	// ModulesFile names the kernel modules of a node.
	ModulesFile = "/etc/modules-load.d/argosy.conf"
	// SysctlFile holds the kernel settings of a node.
	SysctlFile = "/etc/sysctl.d/90-argosy.conf"
)

// What belongs to the kubelet and kubeadm.
const (
	// KubernetesDir holds the node's credentials.
	KubernetesDir = "/etc/kubernetes"
	// BootstrapConf holds the bootstrap token while kubeadm joins.
	BootstrapConf = KubernetesDir + "/bootstrap-kubelet.conf"
	// ClusterCA is where kubeadm puts the cluster's certificate authority unless told otherwise.
	ClusterCA = KubernetesDir + "/pki/ca.crt"
	// KubeletDir is the kubelet's own folder.
	KubeletDir = "/var/lib/kubelet"
	// KubeletConfig is the kubelet's configuration, written by kubeadm.
	KubeletConfig = KubeletDir + "/config.yaml"
	// KubeletFlags holds the kubelet's arguments, written by kubeadm.
	KubeletFlags = KubeletDir + "/kubeadm-flags.env"
)

// What belongs to containerd and to the pods' network.
const (
	// ContainerdDir holds containerd's settings.
	ContainerdDir = "/etc/containerd"
	// ContainerdConfig is containerd's configuration.
	ContainerdConfig = ContainerdDir + "/config.toml"
	// ContainerdDropIns are merged over the configuration: tables key by key, so a drop-in need only say what it
	// changes.
	ContainerdDropIns = ContainerdDir + "/conf.d/*.toml"
	// RegistryLogins is the part of containerd's configuration that holds logins at registries, for root's eyes alone.
	RegistryLogins = ContainerdDir + "/argosy-logins.toml"
	// RegistriesDir holds the settings of registries, a folder each.
	RegistriesDir = ContainerdDir + "/certs.d"
	// ContainerdSocket is where containerd answers.
	ContainerdSocket = "/run/containerd/containerd.sock"
	// CNIConf is where containerd looks for the pods' network.
	CNIConf = "/etc/cni/net.d"
	// FlannelConf is the network configuration that the flannel addon writes. Others in the same folder are the site's.
	FlannelConf = CNIConf + "/10-flannel.conflist"
)

// KeptSuffix ends the name of a file that was there before Argosy wrote its own.
const KeptSuffix = ".before-argosy"

// Unit is the file of a service of ours: "kubelet".
func Unit(service string) string { return UnitsDir + "/" + service + ".service" }

// EnabledLink is what makes systemd start the service at boot.
func EnabledLink(service string) string {
	return UnitsDir + "/multi-user.target.wants/" + service + ".service"
}

// Store is where bundles are unpacked: on the file system of the binaries, so that installing is a hard link. Each has
// a folder beneath it that is named by its digest.
func Store(binariesPath string) string { return filepath.Join(binariesPath, ".argosy") }

// Previous holds what Argosy's binaries took the place of.
func Previous(binariesPath string) string { return filepath.Join(Store(binariesPath), "previous") }

var plainPath = regexp.MustCompile(`^/[A-Za-z0-9._/+-]+$`)

// PlainPath says whether path is absolute and clean, and has nothing in it that would need quoting in a unit file.
func PlainPath(path string) bool { return plainPath.MatchString(path) && filepath.Clean(path) == path }
