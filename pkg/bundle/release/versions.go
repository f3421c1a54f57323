package release

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

// Names of what has a version of its own, as --component takes them.
const (
	kubernetes   = "kubernetes"
	containerd   = "containerd"
	runc         = "runc"
	cniPlugins   = "cni-plugins"
	crictl       = "crictl"
	etcd         = "etcd"
	kine         = "kine"
	konnectivity = "konnectivity"
	pause        = "pause"
)

// versions of what goes with each minor version of Kubernetes. They are those of the bundles that vCluster publishes
// for the minor version, so that a machine that changes from theirs to ours keeps its runtime. Kine for 1.36 is the
// release that theirs is a variant of, and Konnectivity for 1.34 is one newer than theirs: server and agent are of one
// version, and for 1.34 this is the pair that the lab shows at work.
var versions = map[string]map[string]string{
	"1.28": {containerd: "1.7.27", runc: "1.2.8", cniPlugins: "1.6.0", crictl: "1.29.0", etcd: "3.5.21",
		konnectivity: "0.32.0", pause: "3.9", kine: "0.14.5"},
	"1.29": {containerd: "1.7.27", runc: "1.2.8", cniPlugins: "1.6.0", crictl: "1.29.0", etcd: "3.5.21",
		konnectivity: "0.32.0", pause: "3.9", kine: "0.14.5"},
	"1.30": {containerd: "1.7.27", runc: "1.2.8", cniPlugins: "1.6.0", crictl: "1.30.1", etcd: "3.5.29",
		konnectivity: "0.32.0", pause: "3.9", kine: "0.14.5"},
	"1.31": {containerd: "2.0.5", runc: "1.3.3", cniPlugins: "1.6.0", crictl: "1.31.1", etcd: "3.5.29",
		konnectivity: "0.32.0", pause: "3.9", kine: "0.14.5"},
	"1.32": {containerd: "2.0.5", runc: "1.3.3", cniPlugins: "1.6.0", crictl: "1.32.0", etcd: "3.5.29",
		konnectivity: "0.32.0", pause: "3.9", kine: "0.14.5"},
	"1.33": {containerd: "2.0.5", runc: "1.3.3", cniPlugins: "1.8.0", crictl: "1.32.0", etcd: "3.6.10",
		konnectivity: "0.32.0", pause: "3.10", kine: "0.14.5"},
	"1.34": {containerd: "2.1.4", runc: "1.3.3", cniPlugins: "1.8.0", crictl: "1.34.0", etcd: "3.6.10",
		konnectivity: "0.34.0", pause: "3.10", kine: "0.14.5"},
	"1.35": {containerd: "2.1.6", runc: "1.4.0", cniPlugins: "1.9.0", crictl: "1.35.0", etcd: "3.6.10",
		konnectivity: "0.34.0", pause: "3.10", kine: "0.14.10"},
	"1.36": {containerd: "2.2.3", runc: "1.4.2", cniPlugins: "1.9.1", crictl: "1.35.0", etcd: "3.6.10",
		konnectivity: "0.34.0", pause: "3.10.2", kine: "0.14.16"},
}

var (
	kubernetesVersion = regexp.MustCompile(`^v1\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)
	componentVersion  = regexp.MustCompile(`^v?[0-9][0-9A-Za-z.-]*$`)
)

// Versions gives the version of each component, without a "v", for a Kubernetes version like "v1.34.4". Overrides win
// over the table, by name, with or without a "v". A minor version that the table lacks needs an override for each
// component.
func Versions(version string, overrides map[string]string) (map[string]string, error) {
	if !kubernetesVersion.MatchString(version) {
		return nil, errclass.Errorf(errclass.Configuration, "reading Kubernetes version %q: it is not like v1.34.4",
			version)
	}
	chosen := map[string]string{kubernetes: strings.TrimPrefix(version, "v")}
	minor := strings.Join(strings.Split(chosen[kubernetes], ".")[:2], ".")
	maps.Copy(chosen, versions[minor])
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		number := overrides[name]
		switch {
		case !slices.Contains(components(), name):
			mistakes = append(mistakes, fmt.Errorf("setting a version of %q: it is none of %s", name,
				strings.Join(components(), ", ")))
		case !componentVersion.MatchString(number):
			mistakes = append(mistakes, fmt.Errorf("setting %s to version %q: it is not like 1.2.3", name, number))
		}
		chosen[name] = strings.TrimPrefix(number, "v")
	}
	if len(mistakes) == 0 && len(chosen) <= len(components()) {
		mistakes = append(mistakes, fmt.Errorf("choosing versions for Kubernetes %s: only %s are known; give the "+
			"version of each of %s yourself",
			version, strings.Join(minors(), ", "), strings.Join(components(), ", ")))
	}
	return chosen, errclass.With(errclass.Configuration, errors.Join(mistakes...))
}

// Konnectivity is the version of server and agent that go with a minor version of Kubernetes, without a "v".
func Konnectivity(minor uint) string { return nearest(minor)[konnectivity] }

// Pause is the version of the pause image in the node bundle of a minor version of Kubernetes.
func Pause(minor uint) string { return nearest(minor)[pause] }

// nearest are the versions of a minor version, or of the last one before it that is known; the first for all that are
// older.
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

// components are the names that may be overridden, sorted. Kubernetes' own version is the one asked for.
func components() []string {
	return []string{cniPlugins, containerd, crictl, etcd, kine, konnectivity, pause, runc}
}

// minors of the table, oldest first.
func minors() []string {
	return slices.SortedFunc(maps.Keys(versions), func(a, b string) int { return minorNumber(a) - minorNumber(b) })
}

// minorNumber of the table's keys, all of which are well-formed.
func minorNumber(minor string) int {
	number, _ := strconv.Atoi(strings.TrimPrefix(minor, "1."))
	return number
}
