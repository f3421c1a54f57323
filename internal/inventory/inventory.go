// Package inventory reads machines from files that people have already: an OpenSSH client's configuration, an Ansible
// inventory, a table in CSV. It connects to nothing, and takes over names, addresses, users, ports and bastions alone.
package inventory

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Host is one machine as a file describes it.
type Host struct {
	// Name as the file has it; see [Names] for the name of a machine.
	Name string
	// Address is a host name or an IP address.
	Address string
	// User to log in as; empty for none.
	User string
	// Port of sshd; 0 for none.
	Port int
	// Bastions on the way to it, the first of which is dialled directly.
	Bastions []Hop
	// Groups of an Ansible inventory that it is in.
	Groups []string
}

// Hop is a bastion.
type Hop struct {
	Address string
	User    string
	Port    int
}

// Matching returns the hosts whose name, or one of whose groups, matches one of the patterns, as path.Match has them;
// all where there are none. A pattern that matches nothing is an error.
func Matching(hosts []Host, patterns []string) ([]Host, error) {
	if len(patterns) == 0 {
		return hosts, nil
	}
	chosen := map[string]bool{}
	for _, pattern := range patterns {
		found := false
		for _, host := range hosts {
			for _, name := range append([]string{host.Name}, host.Groups...) {
				matches, err := path.Match(pattern, name)
				if err != nil {
					return nil, fmt.Errorf("reading pattern %q: %w", pattern, err)
				}
				if matches {
					chosen[host.Name], found = true, true
				}
			}
		}
		if !found {
			return nil, fmt.Errorf("choosing hosts: no host or group matches %q; there are %s", pattern, names(hosts))
		}
	}
	return slices.DeleteFunc(slices.Clone(hosts), func(h Host) bool { return !chosen[h.Name] }), nil
}

// names returns the names of the first hosts, for messages.
func names(hosts []Host) string {
	const most = 10
	var list []string
	for _, host := range hosts[:min(len(hosts), most)] {
		list = append(list, host.Name)
	}
	if len(hosts) > most {
		list = append(list, fmt.Sprintf("and %d more", len(hosts)-most))
	}
	return strings.Join(list, ", ")
}

// Names returns the names of machines for hosts, in their order: DNS-1123 labels, all different. That is the first
// label of a host's name where no other host has the same, else all of it with dashes for dots.
func Names(hosts []Host) ([]string, error) {
	short := map[string]int{}
	for _, host := range hosts {
		short[label(first(host.Name))]++
	}
	seen := map[string]string{}
	var machines []string
	for _, host := range hosts {
		name := label(first(host.Name))
		if short[name] > 1 || net.ParseIP(host.Name) != nil {
			name = label(host.Name)
		}
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			return nil, fmt.Errorf("naming the machine of host %q: %q: %s", host.Name, name,
				strings.Join(problems, "; "))
		}
		if other, taken := seen[name]; taken {
			return nil, fmt.Errorf("naming the machine of host %q: host %q is called %q too; rename one of them",
				host.Name, other, name)
		}
		seen[name] = host.Name
		machines = append(machines, name)
	}
	return machines, nil
}

func first(name string) string {
	before, _, _ := strings.Cut(name, ".")
	return before
}

// label makes a DNS-1123 label of a name where letters, underscores and dots alone differ.
func label(name string) string {
	return strings.NewReplacer("_", "-", ".", "-", ":", "-").Replace(strings.ToLower(name))
}

// port parses a port; empty is 0.
func port(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 || number > 65535 {
		return 0, fmt.Errorf("reading port %q: give a number from 1 to 65535", text)
	}
	return number, nil
}

// hop parses a bastion as ProxyJump has it: [user@]host[:port], or ssh://[user@]host[:port].
func hop(text string) (Hop, error) {
	rest := strings.TrimPrefix(strings.TrimSpace(text), "ssh://")
	var found Hop
	if user, host, has := strings.Cut(rest, "@"); has {
		found.User, rest = user, host
	}
	found.Address = rest
	if host, number, err := net.SplitHostPort(rest); err == nil {
		if found.Port, err = port(number); err != nil {
			return found, fmt.Errorf("reading bastion %q: %w", text, err)
		}
		found.Address = host
	}
	found.Address = strings.Trim(found.Address, "[]")
	if found.Address == "" {
		return found, fmt.Errorf("reading bastion %q: it has no host", text)
	}
	return found, nil
}
