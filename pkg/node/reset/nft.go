package reset

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

var (
	// iptablesTables are where iptables makes chains.
	iptablesTables = []string{"filter", "nat", "mangle", "raw", "security"}
	// nodeTables are those that kube-proxy and flannel have to themselves when they use nftables.
	nodeTables = []string{"kube-proxy", "flannel-ipv4", "flannel-ipv6"}
	// pluginTables are those of the CNI plugins portmap and bridge, for all containers.
	pluginTables = []string{"cni_hostport", "cni_plugins_masquerade"}
)

// ofKubernetes reports whether a rule, named as Rules does, is of a part of Kubernetes, and not of a CNI plugin, which
// other software also calls.
func ofKubernetes(rule string) bool {
	for _, word := range strings.Fields(rule) {
		if strings.HasPrefix(word, "KUBE-") || strings.HasPrefix(word, "FLANNEL-") ||
			slices.Contains(nodeTables, word) {
			return true
		}
	}
	return false
}

// batch bounds the changes that go to the kernel at once: it answers each, and the buffer for its answers is bounded.
const batch = 100

// ruleset is the part of nf_tables that belongs to the node and its pods.
type ruleset struct {
	tables []*nftables.Table
	chains []*nftables.Chain
	// rules are in chains that stay; all that lead to the same chain go with it at once.
	rules []*nftables.Rule
}

func (linux) Rules(networks *podNetworks) ([]string, error) {
	_, rules, err := readRules(networks)
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
	for _, rule := range rules.rules {
		if rules.jumpsToRemoved(rule) {
			continue
		}
		name := family(rule.Table) + " " + rule.Table.Name + " " + rule.Chain.Name + ", a rule for pods"
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
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

// readRules also returns the connection, over which the found chains and rules can be removed.
func readRules(networks *podNetworks) (*nftables.Conn, *ruleset, error) {
	connection, err := nftables.New()
	if err != nil {
		return nil, nil, fmt.Errorf("connecting to nf_tables: %w", err)
	}
	tables, err := connection.ListTables()
	if absent(err) {
		return connection, &ruleset{}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("listing the tables of nf_tables: %w", err)
	}
	chains, err := connection.ListChains()
	if err != nil {
		return nil, nil, fmt.Errorf("listing the chains of nf_tables: %w", err)
	}
	rules, err := sortRules(connection, networks, tables, chains)
	return connection, rules, err
}

// absent reports whether the kernel has no nf_tables at all.
func absent(err error) bool {
	for _, none := range []error{unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EINVAL} {
		if errors.Is(err, none) {
			return true
		}
	}
	return false
}

func sortRules(
	connection *nftables.Conn, networks *podNetworks, tables []*nftables.Table, chains []*nftables.Chain,
) (*ruleset, error) {
	var found ruleset
	for _, table := range tables {
		ip := family(table) == "ip" || family(table) == "ip6"
		switch {
		case slices.Contains(nodeTables, table.Name):
			found.tables = append(found.tables, table)
		case slices.Contains(pluginTables, table.Name), ip && slices.Contains(iptablesTables, table.Name):
			if err := found.sortTable(connection, networks, table, chains); err != nil {
				return nil, err
			}
		}
	}
	return &found, nil
}

// sortTable adds the part of one table that belongs to the node and its pods.
func (s *ruleset) sortTable(
	connection *nftables.Conn, networks *podNetworks, table *nftables.Table, chains []*nftables.Chain,
) error {
	var within []*nftables.Chain
	var models []chain
	var rules [][]*nftables.Rule
	for _, one := range chains {
		if one.Table.Name != table.Name || one.Table.Family != table.Family {
			continue
		}
		model := chain{name: one.Name}
		var kernels []*nftables.Rule
		// The rules of a chain that goes anyway, of which a node may have thousands, tell nothing.
		if !ofNode(one.Name) {
			var err error
			if kernels, err = connection.GetRules(one.Table, one); err != nil {
				return fmt.Errorf("listing the rules of chain %q of nf_tables: %w", one.Name, err)
			}
		}
		for _, kernel := range kernels {
			model.rules = append(model.rules, parseRule(kernel))
		}
		within, models, rules = append(within, one), append(models, model), append(rules, kernels)
	}
	if slices.Contains(pluginTables, table.Name) {
		return s.choosePlugins(networks, table, models, rules)
	}
	chosen := networks.selectRemoval(models)
	for i, model := range models {
		if slices.Contains(chosen.chains, model.name) {
			s.chains = append(s.chains, within[i])
		}
		for _, at := range chosen.rules[model.name] {
			s.rules = append(s.rules, rules[i][at])
		}
	}
	return nil
}

// choosePlugins takes the table of a plugin if only pods are in it, and else the rules for pods.
func (s *ruleset) choosePlugins(
	networks *podNetworks, table *nftables.Table, models []chain, rules [][]*nftables.Rule,
) error {
	only := !networks.shared()
	var ours []*nftables.Rule
	for i, model := range models {
		for at, one := range model.rules {
			switch networks.ofComment(one.comment) {
			case ownedByPods:
				ours = append(ours, rules[i][at])
			case ownedByOthers:
				only = false
			}
		}
	}
	if only {
		s.tables = append(s.tables, table)
	} else {
		s.rules = append(s.rules, ours...)
	}
	return nil
}

// parseRule reads the parts of a rule that tell its owner, as iptables of the kind nf_tables and plugins write it.
func parseRule(one *nftables.Rule) rule {
	var model rule
	model.comment, _ = userdata.GetString(one.UserData, userdata.TypeComment)
	loaded := "" // what a comparison compares
	for _, e := range one.Exprs {
		switch e := e.(type) {
		case *expr.Match:
			if comment, is := e.Info.(*xt.Comment); is {
				model.comment, _, _ = strings.Cut(string(*comment), "\x00")
			}
		case *expr.Verdict:
			model.jump, model.returns = e.Chain, e.Kind == expr.VerdictReturn
		case *expr.Payload:
			loaded = addressAt(e)
		case *expr.Meta:
			if e.Key == expr.MetaKeyIIFNAME || e.Key == expr.MetaKeyOIFNAME {
				loaded = "link"
			}
		case *expr.Bitwise:
			loaded = "" // a whole network
		case *expr.Cmp:
			if e.Op == expr.CmpOpEq {
				model.compare(loaded, e.Data)
			}
			loaded = ""
		}
	}
	return model
}

// compare notes that a rule is for this address or link.
func (r *rule) compare(loaded string, data []byte) {
	address, _ := netip.AddrFromSlice(data)
	switch loaded {
	case "source":
		r.source = address.String()
	case "destination":
		r.destination = address.String()
	case "link":
		r.links = append(r.links, string(bytes.TrimRight(data, "\x00")))
	}
}

// addressAt names the address that a part of the IP header is; "" for none.
func addressAt(e *expr.Payload) string {
	if e.Base != expr.PayloadBaseNetworkHeader {
		return ""
	}
	switch [2]uint32{e.Offset, e.Len} {
	case [2]uint32{12, 4}, [2]uint32{8, 16}:
		return "source"
	case [2]uint32{16, 4}, [2]uint32{24, 16}:
		return "destination"
	}
	return ""
}

func (linux) RemoveRules(networks *podNetworks) error {
	connection, rules, err := readRules(networks)
	if err != nil {
		return err
	}
	part := 0
	flush := func() error {
		if part == 0 {
			return nil
		}
		part = 0
		if err := connection.Flush(); err != nil {
			return fmt.Errorf("removing rules of nf_tables: %w", err)
		}
		return nil
	}
	for _, group := range rules.changes(connection) {
		// A group is one transaction: a chain whose leading rule is gone would not be known again.
		if part > 0 && part+len(group) > batch {
			if err := flush(); err != nil {
				return err
			}
		}
		for _, change := range group {
			change()
			part++
		}
	}
	return flush()
}

// jumpsToRemoved reports whether a rule leads to a chain that is removed, and goes with it.
func (s *ruleset) jumpsToRemoved(one *nftables.Rule) bool {
	return slices.ContainsFunc(s.chains, func(c *nftables.Chain) bool {
		return key(c.Table, c.Name) == key(one.Table, parseRule(one).jump)
	})
}

// changes lists the removals, in groups that go at once.
func (s *ruleset) changes(connection *nftables.Conn) [][]func() {
	var groups [][]func()
	for _, table := range s.tables {
		groups = append(groups, []func(){func() { connection.DelTable(table) }})
	}
	leading := map[string][]func(){}
	for _, one := range s.rules {
		remove := func() { _ = connection.DelRule(one) }
		if to := parseRule(one).jump; strings.HasPrefix(to, pluginChains) && !isSharedChain(to) {
			leading[key(one.Table, to)] = append(leading[key(one.Table, to)], remove)
			continue
		}
		groups = append(groups, []func(){remove})
	}
	var last [][]func()
	for _, one := range s.chains {
		// A chain can only go when no rule leads to it, and they lead to each other.
		empty, remove := func() { connection.FlushChain(one) }, func() { connection.DelChain(one) }
		if strings.HasPrefix(one.Name, pluginChains) && !isSharedChain(one.Name) {
			groups = append(groups, append(leading[key(one.Table, one.Name)], empty, remove))
			delete(leading, key(one.Table, one.Name))
			continue
		}
		groups = append(groups, []func(){empty})
		last = append(last, []func(){remove})
	}
	for _, rules := range leading {
		groups = append(groups, rules)
	}
	return append(groups, last...)
}

func key(table *nftables.Table, chain string) string {
	return family(table) + " " + table.Name + " " + chain
}
