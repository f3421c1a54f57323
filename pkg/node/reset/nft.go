package reset

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

var (
	// nodeChains begin the names of chains that kubelet and kube-proxy, flannel, and CNI plugins make by iptables.
	nodeChains = []string{"KUBE-", "FLANNEL-", "CNI-"}
	// iptablesTables are where iptables makes chains.
	iptablesTables = []string{"filter", "nat", "mangle", "raw", "security"}
	// nodeTables are those that they have to themselves when they use nftables: kube-proxy, flannel, the CNI plugins
	// portmap and bridge.
	nodeTables = []string{"kube-proxy", "flannel-ipv4", "flannel-ipv6", "cni_hostport", "cni_plugins_masquerade"}
)

// ofNode says whether a chain of this name is a node's.
func ofNode(chain string) bool {
	return slices.ContainsFunc(nodeChains, func(prefix string) bool { return strings.HasPrefix(chain, prefix) })
}

// ofKubernetes says whether a rule, named as Rules does, is of a part of Kubernetes, and not of a CNI plugin, which
// other software also calls.
func ofKubernetes(rule string) bool {
	for _, word := range strings.Fields(rule) {
		if strings.HasPrefix(word, "KUBE-") || strings.HasPrefix(word, "FLANNEL-") ||
			slices.Contains(nodeTables[:3], word) {
			return true
		}
	}
	return false
}

// batch bounds the changes that go to the kernel at once: it answers each, and the buffer for its answers is bounded.
const batch = 100

// ruleset is what there is in nf_tables, sorted by whom it belongs to.
type ruleset struct {
	tables []*nftables.Table
	chains []*nftables.Chain
	// others share a table with chains, and may have rules that lead to them.
	others []*nftables.Chain
}

func (linux) Rules() ([]string, error) {
	_, rules, err := readRules()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, table := range rules.tables {
		found = append(found, family(table)+" "+table.Name)
	}
	for _, chain := range rules.chains {
		found = append(found, family(chain.Table)+" "+chain.Table.Name+" "+chain.Name)
	}
	return found, nil
}

func family(table *nftables.Table) string {
	switch table.Family {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyINet:
		return "inet"
	}
	return "other"
}

// readRules also gives the connection over which what it found can be removed.
func readRules() (*nftables.Conn, *ruleset, error) {
	connection, err := nftables.New()
	if err != nil {
		return nil, nil, fmt.Errorf("asking for the packet filter: %w", err)
	}
	tables, err := connection.ListTables()
	if absent(err) {
		return connection, &ruleset{}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("listing the packet filter's tables: %w", err)
	}
	chains, err := connection.ListChains()
	if err != nil {
		return nil, nil, fmt.Errorf("listing the packet filter's chains: %w", err)
	}
	return connection, sortRules(tables, chains), nil
}

// absent says whether the kernel has no nf_tables at all.
func absent(err error) bool {
	for _, none := range []error{unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EINVAL} {
		if errors.Is(err, none) {
			return true
		}
	}
	return false
}

func sortRules(tables []*nftables.Table, chains []*nftables.Chain) *ruleset {
	var rules ruleset
	for _, table := range tables {
		if slices.Contains(nodeTables, table.Name) {
			rules.tables = append(rules.tables, table)
		}
	}
	for _, chain := range chains {
		switch {
		case !slices.Contains(iptablesTables, chain.Table.Name) || family(chain.Table) != "ip" && family(chain.Table) != "ip6":
		case ofNode(chain.Name):
			rules.chains = append(rules.chains, chain)
		default:
			rules.others = append(rules.others, chain)
		}
	}
	return &rules
}

func (linux) RemoveRules() error {
	connection, rules, err := readRules()
	if err != nil {
		return err
	}
	changes := make([]func(), 0, len(rules.tables)+2*len(rules.chains))
	for _, table := range rules.tables {
		changes = append(changes, func() { connection.DelTable(table) })
	}
	if len(rules.chains) > 0 {
		leading, err := leadingRules(connection, rules.others)
		if err != nil {
			return err
		}
		for _, rule := range leading {
			changes = append(changes, func() { _ = connection.DelRule(rule) })
		}
	}
	// A chain can only go when no rule leads to it, and they lead to each other.
	for _, chain := range rules.chains {
		changes = append(changes, func() { connection.FlushChain(chain) })
	}
	for _, chain := range rules.chains {
		changes = append(changes, func() { connection.DelChain(chain) })
	}
	for part := range slices.Chunk(changes, batch) {
		for _, change := range part {
			change()
		}
		if err := connection.Flush(); err != nil {
			return fmt.Errorf("removing rules of the packet filter: %w", err)
		}
	}
	return nil
}

// leadingRules are those of other chains that jump to a node's.
func leadingRules(connection *nftables.Conn, others []*nftables.Chain) ([]*nftables.Rule, error) {
	var leading []*nftables.Rule
	for _, chain := range others {
		rules, err := connection.GetRules(chain.Table, chain)
		if err != nil {
			return nil, fmt.Errorf("listing the rules of chain %q: %w", chain.Name, err)
		}
		for _, rule := range rules {
			if slices.ContainsFunc(rule.Exprs, func(e expr.Any) bool {
				verdict, is := e.(*expr.Verdict)
				return is && ofNode(verdict.Chain)
			}) {
				leading = append(leading, rule)
			}
		}
	}
	return leading, nil
}
