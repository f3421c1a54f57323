// Package components holds the versions of what is in node bundles and in the control plane's image. It is a package of
// its own so that the plugin, which names images by it, has nothing of what fetches releases and builds bundles.
package components

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
)

// Names of the components that have a version of their own, as --component of "argosy bundle build" takes them.
const (
	Kubernetes   = "kubernetes"
	Containerd   = "containerd"
	Runc         = "runc"
	CNIPlugins   = "cni-plugins"
	Crictl       = "crictl"
	Etcd         = "etcd"
	Kine         = "kine"
	Konnectivity = "konnectivity"
	Pause        = "pause"
)

// versions are the components' by minor version of Kubernetes. They are those of the bundles that vCluster publishes
// for the minor version, so that a machine that changes from theirs to ours keeps its runtime. Kine for 1.36 is the
// release that theirs is a variant of, and Konnectivity for 1.34 is one newer than theirs: server and agent are of one
// version, and for 1.34 this is the pair that the lab shows at work.
var versions = map[string]map[string]string{
	"1.28": {
		Containerd: "1.7.27", Runc: "1.2.8", CNIPlugins: "1.6.0", Crictl: "1.29.0", Etcd: "3.5.21",
		Konnectivity: "0.32.0", Pause: "3.9", Kine: "0.14.5",
	},
	"1.29": {
		Containerd: "1.7.27", Runc: "1.2.8", CNIPlugins: "1.6.0", Crictl: "1.29.0", Etcd: "3.5.21",
		Konnectivity: "0.32.0", Pause: "3.9", Kine: "0.14.5",
	},
	"1.30": {
		Containerd: "1.7.27", Runc: "1.2.8", CNIPlugins: "1.6.0", Crictl: "1.30.1", Etcd: "3.5.29",
		Konnectivity: "0.32.0", Pause: "3.9", Kine: "0.14.5",
	},
	"1.31": {
		Containerd: "2.0.5", Runc: "1.3.3", CNIPlugins: "1.6.0", Crictl: "1.31.1", Etcd: "3.5.29",
		Konnectivity: "0.32.0", Pause: "3.9", Kine: "0.14.5",
	},
	"1.32": {
		Containerd: "2.0.5", Runc: "1.3.3", CNIPlugins: "1.6.0", Crictl: "1.32.0", Etcd: "3.5.29",
		Konnectivity: "0.32.0", Pause: "3.9", Kine: "0.14.5",
	},
	"1.33": {
		Containerd: "2.0.5", Runc: "1.3.3", CNIPlugins: "1.8.0", Crictl: "1.32.0", Etcd: "3.6.10",
		Konnectivity: "0.32.0", Pause: "3.10", Kine: "0.14.5",
	},
	"1.34": {
		Containerd: "2.1.4", Runc: "1.3.3", CNIPlugins: "1.8.0", Crictl: "1.34.0", Etcd: "3.6.10",
		Konnectivity: "0.34.0", Pause: "3.10", Kine: "0.14.5",
	},
	"1.35": {
		Containerd: "2.1.6", Runc: "1.4.0", CNIPlugins: "1.9.0", Crictl: "1.35.0", Etcd: "3.6.10",
		Konnectivity: "0.34.0", Pause: "3.10", Kine: "0.14.10",
	},
	"1.36": {
		Containerd: "2.2.3", Runc: "1.4.2", CNIPlugins: "1.9.1", Crictl: "1.35.0", Etcd: "3.6.10",
		Konnectivity: "0.34.0", Pause: "3.10.2", Kine: "0.14.16",
	},
}

var (
	kubernetesVersion = regexp.MustCompile(`^v1\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)
	componentVersion  = regexp.MustCompile(`^v?[0-9][0-9A-Za-z.-]*$`)
)

// Versions returns the version of each component, without a "v", for a Kubernetes version like "v1.34.4". Overrides win
// over the table, by name, with or without a "v". A minor version that the table lacks needs an override for each
// component.
func Versions(version string, overrides map[string]string) (map[string]string, error) {
	if !kubernetesVersion.MatchString(version) {
		return nil, errclass.Errorf(errclass.Configuration, "reading Kubernetes version %q: it is not like v1.34.4",
			version)
	}
	chosen := map[string]string{Kubernetes: strings.TrimPrefix(version, "v")}
	minor := strings.Join(strings.Split(chosen[Kubernetes], ".")[:2], ".")
	maps.Copy(chosen, versions[minor])
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		number := overrides[name]
		switch {
		case !slices.Contains(names(), name):
			mistakes = append(mistakes, fmt.Errorf("setting a version of %q: it is none of %s", name,
				strings.Join(names(), ", ")))
		case !componentVersion.MatchString(number):
			mistakes = append(mistakes, fmt.Errorf("setting %s to version %q: it is not like 1.2.3", name, number))
		}
		chosen[name] = strings.TrimPrefix(number, "v")
	}
	if len(mistakes) == 0 && len(chosen) <= len(names()) {
		mistakes = append(mistakes, fmt.Errorf("choosing versions for Kubernetes %s: only %s are known; give the "+
			"version of each of %s with --component",
			version, strings.Join(minors(), ", "), strings.Join(names(), ", ")))
	}
	return chosen, errclass.With(errclass.Configuration, errors.Join(mistakes...))
}

// oldestSupported is the oldest minor version that Argosy supports. The table's older rows are there for bundles of
// clusters that still have to leave them.
const oldestSupported = "1.33"

// Supported returns the oldest and the newest minor version of Kubernetes that Argosy supports, as "1.33" and "1.36".
func Supported() (oldest, newest string) {
	known := minors()
	return oldestSupported, known[len(known)-1]
}

// Supports reports whether a version like "v1.34.4", with or without the "v", is of a minor version between the oldest
// and the newest of [Supported]. One that is not well-formed is not supported.
func Supports(version string) bool {
	version = "v" + strings.TrimPrefix(version, "v")
	if !kubernetesVersion.MatchString(version) {
		return false
	}
	oldest, newest := Supported()
	minor, err := strconv.Atoi(strings.Split(version, ".")[1])
	return err == nil && minor >= minorNumber(oldest) && minor <= minorNumber(newest)
}

// KonnectivityVersion returns the version of server and agent for a minor version of Kubernetes, without a "v".
func KonnectivityVersion(minor uint) string { return nearest(minor)[Konnectivity] }

// PauseVersion returns the version of the pause image in the node bundle of a minor version of Kubernetes.
func PauseVersion(minor uint) string { return nearest(minor)[Pause] }

// nearest returns the versions for a minor version, or for the last known one before it; the first ones for all older.
func nearest(minor uint) map[string]string {
	known := minors()
	found := known[0]
	for _, each := range known {
		if minorNumber(each) <= int(minor) {
			found = each
		}
	}
	return versions[found]
}

// names returns the names that may be overridden, sorted. Kubernetes' own version is an argument.
func names() []string {
	return []string{CNIPlugins, Containerd, Crictl, Etcd, Kine, Konnectivity, Pause, Runc}
}

// minors returns the minor versions of the table, oldest first.
func minors() []string {
	return slices.SortedFunc(maps.Keys(versions), func(a, b string) int { return minorNumber(a) - minorNumber(b) })
}

// minorNumber returns the number of a key of the table, all of which are well-formed.
func minorNumber(minor string) int {
	number, _ := strconv.Atoi(strings.TrimPrefix(minor, "1."))
	return number
}
