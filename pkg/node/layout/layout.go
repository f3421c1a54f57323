// Package layout has the paths of a node's files on a machine, which joins, upgrades and resets share. Argosy's own
// folder is in package spec.
package layout

import (
	"path/filepath"
	"regexp"
)

// These are files that systemd and the kernel read at boot.
const (
	// UnitsDir is the folder of units that override the distribution's.
	UnitsDir = "/etc/systemd/system"
	// KubeletDropIn is the unit's drop-in with kubeadm's conventions for the kubelet's flags.
	KubeletDropIn = UnitsDir + "/kubelet.service.d/10-kubeadm.conf"
	// ModulesFile names the kernel modules of a node.
	ModulesFile = "/etc/modules-load.d/argosy.conf"
	// SysctlFile holds the kernel settings of a node.
	SysctlFile = "/etc/sysctl.d/90-argosy.conf"
)

// These are files of the kubelet and kubeadm.
const (
	// KubernetesDir holds the node's credentials.
	KubernetesDir = "/etc/kubernetes"
	// BootstrapConf holds the bootstrap token while kubeadm joins.
	BootstrapConf = KubernetesDir + "/bootstrap-kubelet.conf"
	// ClusterCA is kubeadm's default path of the cluster's certificate authority.
	ClusterCA = KubernetesDir + "/pki/ca.crt"
	// KubeletDir is the kubelet's own folder.
	KubeletDir = "/var/lib/kubelet"
	// KubeletConfig is the kubelet's configuration, written by kubeadm.
	KubeletConfig = KubeletDir + "/config.yaml"
	// KubeletFlags holds the kubelet's arguments, written by kubeadm.
	KubeletFlags = KubeletDir + "/kubeadm-flags.env"
)

// These are files of containerd and of the pods' network.
const (
	// ContainerdDir holds containerd's settings.
	ContainerdDir = "/etc/containerd"
	// ContainerdConfig is containerd's configuration.
	ContainerdConfig = ContainerdDir + "/config.toml"
	// ContainerdDropIns are merged over the configuration: tables key by key, so a drop-in needs only the keys that it
	// changes.
	ContainerdDropIns = ContainerdDir + "/conf.d/*.toml"
	// RegistryLogins is the part of containerd's configuration with logins at registries, readable by root alone.
	RegistryLogins = ContainerdDir + "/argosy-logins.toml"
	// RegistriesDir holds the settings of registries, a folder each.
	RegistriesDir = ContainerdDir + "/certs.d"
	// ContainerdSocket is containerd's socket.
	ContainerdSocket = "/run/containerd/containerd.sock"
	// CNIConf is the folder of network configurations that containerd reads.
	CNIConf = "/etc/cni/net.d"
	// FlannelConf is the network configuration that the flannel addon writes. Others in the same folder are the site's.
	FlannelConf = CNIConf + "/10-flannel.conflist"
)

// KeptSuffix ends the name of a file that was there before Argosy wrote its own.
const KeptSuffix = ".before-argosy"

// Unit returns the unit file of a service of Argosy's: "kubelet".
func Unit(service string) string { return UnitsDir + "/" + service + ".service" }

// EnabledLink returns the link that makes systemd start the service at boot.
func EnabledLink(service string) string {
	return UnitsDir + "/multi-user.target.wants/" + service + ".service"
}

// Store returns the folder in which bundles are unpacked: on the file system of the binaries, so that installing is a
// hard link. Each has a folder beneath it that is named by its digest.
func Store(binariesPath string) string { return filepath.Join(binariesPath, ".argosy") }

// Previous returns the folder with programs that Argosy's binaries replaced.
func Previous(binariesPath string) string { return filepath.Join(Store(binariesPath), "previous") }

var plainPath = regexp.MustCompile(`^/[A-Za-z0-9._/+-]+$`)

// PlainPath reports whether path is absolute and clean, and has no character that would need quoting in a unit file.
func PlainPath(path string) bool { return plainPath.MatchString(path) && filepath.Clean(path) == path }
