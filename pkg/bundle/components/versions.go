// Package components holds the versions of Kubernetes that Argosy supports, and of the components that go with them: in
// node bundles, in the control plane's image, and in clusters. It is a package of its own so that the plugin, which
// names images by it, has no part of the code that fetches releases and builds bundles.
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

// Names of the components that bundles and the control plane's image are made of, as --component of "argosy bundle
// build" takes them.
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

var (
	kubernetesVersion = regexp.MustCompile(`^v1\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)
	componentVersion  = regexp.MustCompile(`^v?[0-9][0-9A-Za-z.-]*$`)
)

// Versions returns the version of each component, without a "v", for a Kubernetes version like "v1.37.2". Overrides win
// over the table, by name, with or without a "v". A minor version that the table lacks needs an override for each
// component.
func Versions(version string, overrides map[string]string) (map[string]string, error) {
	if !kubernetesVersion.MatchString(version) {
		return nil, errclass.Errorf(errclass.Configuration, "reading Kubernetes version %q: it is not like v1.37.2",
			version)
	}
	chosen := map[string]string{Kubernetes: strings.TrimPrefix(version, "v")}
	minor := strings.Join(strings.Split(chosen[Kubernetes], ".")[:2], ".")
	if known := find(minor); known != nil {
		for _, name := range names() {
			chosen[name] = known.Components[name]
		}
	}
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

// Supported returns the oldest and the newest minor version of Kubernetes that Argosy supports, as "1.34" and "1.37".
func Supported() (oldest, newest string) {
	known := minors()
	return known[0], known[len(known)-1]
}

// Supports reports whether a version like "v1.37.2", with or without the "v", is of a minor version between the oldest
// and the newest of [Supported]. One that is not well-formed is not supported.
func Supports(version string) bool {
	version = "v" + strings.TrimPrefix(version, "v")
	return kubernetesVersion.MatchString(version) && find(strings.Join(strings.Split(version[1:], ".")[:2], ".")) != nil
}

// KonnectivityVersion returns the version of server and agent for a minor version of Kubernetes, without a "v".
func KonnectivityVersion(minor uint) string { return nearest(minor).Components[Konnectivity] }

// PauseVersion returns the version of the pause image in the node bundle of a minor version of Kubernetes.
func PauseVersion(minor uint) string { return nearest(minor).Components[Pause] }

// nearest returns the row of a minor version, or of the last known one before it; the first one for all older.
func nearest(minor uint) Row {
	found := table[0]
	for _, row := range table {
		if minorNumber(row.Minor) <= int(minor) {
			found = row
		}
	}
	return found
}

// find returns the row of a minor version, or nil.
func find(minor string) *Row {
	for i := range table {
		if table[i].Minor == minor {
			return &table[i]
		}
	}
	return nil
}

// names returns the names that may be overridden, sorted. Kubernetes' own version is an argument.
func names() []string {
	return []string{CNIPlugins, Containerd, Crictl, Etcd, Kine, Konnectivity, Pause, Runc}
}

// minors returns the minor versions of the table, oldest first.
func minors() []string {
	var all []string
	for _, row := range table {
		all = append(all, row.Minor)
	}
	return all
}

// minorNumber returns the number of a key of the table, all of which are well-formed.
func minorNumber(minor string) int {
	number, _ := strconv.Atoi(strings.TrimPrefix(minor, "1."))
	return number
}
