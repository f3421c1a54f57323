package join

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/spec"
)

// checkFirewall tells of a firewall, and which traffic a node needs. Live rules are read where no service is known that
// makes them.
func checkFirewall(ctx context.Context, h *host.Host, j *spec.Join, f *findings) {
	var found []string
	for _, process := range inspect.Processes(h) {
		if process.Name == "firewalld" && !inspect.Contained(h, process) {
			found = append(found, "firewalld")
		}
	}
	if ufwEnabled(h) {
		found = append(found, "ufw")
	}
	if inspect.Enabled(h, "nftables.service") && dropsByDefault(h.ReadLine("/etc/nftables.conf")) {
		found = append(found, "nftables (/etc/nftables.conf)")
	}
	if len(found) == 0 {
		found = droppingRules(ctx, h)
	}
	if len(found) == 0 {
		return
	}
	pods := "the network of pods"
	if len(j.PodNetworks) > 0 {
		pods += " (" + strings.Join(j.PodNetworks, ", ") + ")"
	}
	f.remark("The machine has the firewall %s; it has to let through TCP 10250 from the API server%s, and %s.",
		strings.Join(found, " and "), betweenNodes(j), pods)
}

// betweenNodes returns the traffic that the network of pods needs between nodes, after a comma; "" for none.
func betweenNodes(j *spec.Join) string {
	switch {
	case j.VXLANPort != 0:
		return fmt.Sprintf(", UDP %d (VXLAN) between nodes", j.VXLANPort)
	case j.Flannel:
		return ""
	}
	return ", the ports of the network plugin between nodes (flannel's VXLAN: UDP 8472)"
}

// droppingRules names the chains of the kernel's present rules that drop all they do not accept. A kernel without rules
// is not asked, since the question would load its modules.
func droppingRules(ctx context.Context, h *host.Host) []string {
	unknown := hasNFTables(h)
	if unknown {
		rules, err := h.Runner.Run(ctx, host.Command{Argv: []string{"nft", "list", "ruleset"}})
		if found := droppingChains(string(rules)); err == nil && len(found) > 0 {
			return found
		}
		unknown = err != nil
	}
	legacy := slices.Contains(strings.Fields(h.ReadLine("/proc/net/ip_tables_names")), "filter")
	if !unknown && !legacy {
		return nil
	}
	rules, err := h.Runner.Run(ctx, host.Command{Argv: []string{"iptables", "-S", "INPUT"}})
	if err == nil && refusesInput(string(rules)) {
		return []string{"iptables (chain INPUT)"}
	}
	return nil
}

// hasNFTables reports whether the kernel has nftables without loading a module: they are loaded, or built in. A kernel
// without a folder of modules loads none.
func hasNFTables(h *host.Host) bool {
	modules := "/lib/modules/" + h.ReadLine("/proc/sys/kernel/osrelease")
	return h.Exists("/sys/module/nf_tables") || !h.Exists(modules) ||
		strings.Contains(h.ReadLine(modules+"/modules.builtin"), "/nf_tables.ko")
}

// droppingChains returns the base chains in the output of `nft list ruleset` that see packets to the machine or through
// it, and drop or reject by their policy or by an unconditional last rule. The forward chain of iptables is left out:
// flannel and kube-proxy put rules before its policy, and Docker always sets it.
func droppingChains(ruleset string) []string {
	var found []string
	table := ""
	var chain nftChain
	for line := range strings.Lines(ruleset) {
		words := strings.Fields(line)
		switch {
		case len(words) > 2 && words[0] == "table":
			table = words[1] + " " + words[2]
		case len(words) > 1 && words[0] == "chain":
			chain = nftChain{table: table, name: words[1]}
		case chain.name == "" || len(words) == 0:
		case len(words) == 1 && words[0] == "}":
			if chain.refuses() {
				found = append(found, "nftables (table "+table+", chain "+chain.name+")")
			}
			chain = nftChain{}
		default:
			chain.add(line, words)
		}
	}
	return found
}

// nftChain is a chain of nftables.
type nftChain struct {
	table, name string
	// filters is set for one that sees packets to the machine or through it, and drops for its policy.
	filters, drops bool
	// last rule of the chain.
	last string
}

// add adds a line between the chain's braces.
func (c *nftChain) add(line string, words []string) {
	if words[0] != "type" {
		c.last = line
		return
	}
	c.filters = len(words) > 3 && words[1] == "filter" && (words[3] == "input" || words[3] == "forward")
	c.drops = dropsByDefault(line)
}

// refuses reports whether the chain drops or rejects what its rules do not accept.
func (c *nftChain) refuses() bool {
	iptables := (c.table == "ip filter" || c.table == "ip6 filter") && c.name == "FORWARD"
	return c.filters && !iptables && (c.drops || refusesAll(c.last))
}

// refusesAll reports whether a rule of nftables drops or rejects every packet.
func refusesAll(rule string) bool {
	words := strings.Fields(rule)
	if len(words) > 4 && words[0] == "counter" && words[1] == "packets" {
		words = words[5:]
	}
	if len(words) > 0 && words[0] == "log" {
		return slices.Contains(words, "drop") || slices.Contains(words, "reject")
	}
	return len(words) > 0 && (words[0] == "drop" || words[0] == "reject")
}

// refusesInput reports whether the rules of a chain, as `iptables -S` prints them, drop what they do not accept.
func refusesInput(rules string) bool {
	lines := strings.Split(strings.TrimSpace(rules), "\n")
	last := lines[len(lines)-1]
	return strings.HasPrefix(lines[0], "-P INPUT DROP") || strings.HasPrefix(last, "-A INPUT -j DROP") ||
		strings.HasPrefix(last, "-A INPUT -j REJECT")
}

// ufwEnabled reports whether ufw starts at boot.
func ufwEnabled(h *host.Host) bool {
	for line := range strings.Lines(h.ReadLine("/etc/ufw/ufw.conf")) {
		if strings.EqualFold(strings.ReplaceAll(strings.TrimSpace(line), " ", ""), "enabled=yes") {
			return true
		}
	}
	return false
}

// dropsByDefault reports whether a chain of nftables drops packets that no rule accepts.
func dropsByDefault(rules string) bool {
	for line := range strings.Lines(rules) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(strings.ReplaceAll(line, ";", " ; "))
		for i := range len(words) - 1 {
			if words[i] == "policy" && words[i+1] == "drop" {
				return true
			}
		}
	}
	return false
}
