package join

import (
	"context"
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
	f.remark("The machine has the firewall %s; it has to let through TCP 10250 from the API server, UDP 8472 (VXLAN) "+
		"between nodes, and %s.", strings.Join(found, " and "), pods)
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
	var table, chain, last string
	var base, drops bool
	for line := range strings.Lines(ruleset) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "table" && len(words) > 2:
			table = words[1] + " " + words[2]
		case words[0] == "chain" && len(words) > 1:
			chain, last, base, drops = words[1], "", false, false
		case chain != "" && len(words) == 1 && words[0] == "}":
			iptables := (table == "ip filter" || table == "ip6 filter") && chain == "FORWARD"
			if base && (drops || refusesAll(last)) && !iptables {
				found = append(found, "nftables (table "+table+", chain "+chain+")")
			}
			chain = ""
		case chain != "" && words[0] == "type":
			base = len(words) > 3 && words[1] == "filter" && (words[3] == "input" || words[3] == "forward")
			drops = dropsByDefault(line)
		case chain != "":
			last = strings.TrimSpace(line)
		}
	}
	return found
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
