package components

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/version"
)

// Advisory is a known vulnerability of a component, which the versions of the table are free of or do not expose.
type Advisory struct {
	// Component is a name of [Projects], ID like "CVE-2026-53488", Published the day of the advisory.
	Component, ID, Published string
	// Flaw describes the failure of vulnerable versions in a few words.
	Flaw string
	// Fixed are the first releases without the flaw, one of each series that got a fix, oldest first.
	Fixed []string
	// Unreached is the reason why a version of the table has the flaw and is taken nevertheless; empty for those that
	// are free of it.
	Unreached string
}

// Advisories returns the known vulnerabilities that the table was held against, by component.
func Advisories() []Advisory { return slices.Clone(advisories) }

// Affects reports whether a version has the flaw: it is older than the fix of its own series, or, where its series got
// none, older than the first series with a fix. One that is not well-formed has it.
func (a Advisory) Affects(number string) bool {
	have, err := version.ParseGeneric(number)
	if err != nil {
		return true
	}
	newest := true
	for _, text := range a.Fixed {
		fixed, err := version.ParseGeneric(text)
		if err != nil {
			return true
		}
		if have.Major() == fixed.Major() && have.Minor() == fixed.Minor() {
			return have.LessThan(fixed)
		}
		newest = have.AtLeast(fixed)
	}
	return !newest
}

// advisories are of the pages that [Projects] names and of https://github.com/advisories. metrics-server has published
// none: its row is of gRPC, which it is compiled with.
var advisories = []Advisory{
	{
		Component: Containerd, ID: "CVE-2026-53488", Published: "2026-06-19",
		Flaw:  "a label of an image runs a command on the machine",
		Fixed: []string{"1.7.33", "2.0.10", "2.1.9", "2.2.5", "2.3.2"},
	},
	{
		Component: Containerd, ID: "CVE-2026-50195", Published: "2026-06-19",
		Flaw:  "a restored checkpoint replaces images of other pods",
		Fixed: []string{"2.1.9", "2.2.5", "2.3.2"},
	},
	{
		Component: Runc, ID: "CVE-2025-31133", Published: "2025-11-05",
		Flaw:  "a container writes to files of the machine's /proc",
		Fixed: []string{"1.2.8", "1.3.3", "1.4.0"},
	},
	{
		Component: Runc, ID: "CVE-2026-41579", Published: "2026-06-22",
		Flaw:  "an image with a link /dev removes and makes files on the machine",
		Fixed: []string{"1.3.6", "1.4.3", "1.5.0"},
	},
	{
		Component: CNIPlugins, ID: "CVE-2025-67499", Published: "2025-12-09",
		Flaw:  "a pod's host port takes the traffic of other addresses",
		Fixed: []string{"1.9.0"},
	},
	{
		Component: Etcd, ID: "CVE-2026-33413", Published: "2026-03-20",
		Flaw:  "calls pass without authorization",
		Fixed: []string{"3.4.42", "3.5.28", "3.6.9"},
	},
	{
		Component: Etcd, ID: "CVE-2026-73499", Published: "2026-07-24",
		Flaw:  "a watch reads keys that its user may not",
		Fixed: []string{"3.5.33", "3.6.14", "3.7.1"},
	},
	{
		Component: Etcd, ID: "CVE-2026-73500", Published: "2026-07-24",
		Flaw:  "connections without a handshake use up the memory",
		Fixed: []string{"3.5.33", "3.6.14", "3.7.1"},
	},
	{
		Component: CoreDNS, ID: "CVE-2026-26017", Published: "2026-03-06",
		Flaw:  "rewritten names pass by acl",
		Fixed: []string{"1.14.2"},
	},
	{
		Component: CoreDNS, ID: "CVE-2026-26018", Published: "2026-03-06",
		Flaw:  "a guessed name of the loop probe ends the server",
		Fixed: []string{"1.14.2"},
	},
	{
		Component: CoreDNS, ID: "CVE-2026-82399", Published: "2026-09-17",
		Flaw:  "one message over HTTPS, QUIC or gRPC uses up the memory",
		Fixed: []string{"1.14.7"},
	},
	{
		Component: CoreDNS, ID: "CVE-2026-86003", Published: "2026-09-17",
		Flaw:  "updates over HTTPS, QUIC or gRPC are forwarded",
		Fixed: []string{"1.14.7"},
	},
	{
		Component: Flannel, ID: "CVE-2026-32241", Published: "2026-03-27",
		Flaw:  "an annotation runs a command, with the backend extension",
		Fixed: []string{"0.28.2"},
	},
	{
		Component: LocalPathProvisioner, ID: "CVE-2025-62878", Published: "2026-02-04",
		Flaw:  "pathPattern makes a volume of any folder of the machine",
		Fixed: []string{"0.0.34"},
	},
	{
		Component: LocalPathProvisioner, ID: "CVE-2026-44543", Published: "2026-05-11",
		Flaw:  "its ConfigMap makes the helper pod privileged",
		Fixed: []string{"0.0.36"},
	},
	{
		Component: MetricsServer, ID: "CVE-2026-33186", Published: "2026-03-17",
		Flaw:  "a path without a slash passes by gRPC's authorization",
		Fixed: []string{"0.9.0"},
	},
}
