package reset

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
)

// legacyFamily is iptables of the kind before nf_tables, which only its own programs can change.
type legacyFamily struct {
	// tables lists those that are in use; the file is empty or missing where none is.
	tables string
	// saves print the rules; restore, in place of save, changes them. The first that is there and of this kind is taken.
	saves []string
}

var legacyFamilies = []legacyFamily{
	{"/proc/net/ip_tables_names", []string{"iptables-legacy-save", "iptables-save"}},
	{"/proc/net/ip6_tables_names", []string{"ip6tables-legacy-save", "ip6tables-save"}},
}

// searched are the folders where a machine has its programs.
var searched = []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin", "/usr/local/bin"}

// where finds a program on the machine; "" when it has none.
func where(h *host.Host, program string) string {
	for _, dir := range searched {
		if file := filepath.Join(dir, program); h.Exists(file) {
			return file
		}
	}
	return ""
}

// find gives the program that prints this family's rules; "" where no legacy table is in use.
func (f legacyFamily) find(ctx context.Context, h *host.Host) string {
	if h.ReadLine(f.tables) == "" {
		return ""
	}
	for _, name := range f.saves {
		file := where(h, name)
		if file == "" {
			continue
		}
		output, err := h.Runner.Run(ctx, host.Command{Argv: []string{h.Path(file), "--version"}})
		if err == nil && !strings.Contains(string(output), "nf_tables") {
			return file
		}
	}
	return ""
}

// findLegacy lists a node's chains in legacy tables. Tables that no program here can read are passed over: whoever made
// rules in them has such a program, but for containers, whose rules go with the next boot.
func findLegacy(ctx context.Context, c *node.Context) ([]string, error) {
	var found []string
	for _, family := range legacyFamilies {
		save := family.find(ctx, c.Host)
		if save == "" {
			continue
		}
		output, err := c.Host.Runner.Run(ctx, host.Command{Argv: []string{c.Host.Path(save)}})
		if err != nil {
			return nil, fmt.Errorf("listing the rules of iptables: %w", err)
		}
		for _, table := range parseSaved(string(output)) {
			for _, chain := range table.chains {
				found = append(found, strings.TrimSuffix(filepath.Base(save), "-save")+" "+table.name+" "+chain)
			}
		}
	}
	return found, nil
}

func removeLegacy(ctx context.Context, c *node.Context) error {
	var errs []error
	for _, family := range legacyFamilies {
		save := family.find(ctx, c.Host)
		if save == "" {
			continue
		}
		output, err := c.Host.Runner.Run(ctx, host.Command{Argv: []string{c.Host.Path(save)}})
		if err != nil {
			errs = append(errs, fmt.Errorf("listing the rules of iptables: %w", err))
			continue
		}
		errs = append(errs, restore(ctx, c, strings.TrimSuffix(save, "-save")+"-restore", renderRemoval(parseSaved(string(output)))))
	}
	return errors.Join(errs...)
}

// restore has the program carry out a script, for which it has to be in a file.
func restore(ctx context.Context, c *node.Context, program string, script []byte) error {
	if len(script) == 0 {
		return nil
	}
	file := filepath.Join(c.Store.Dir(c.Operation.ID), "rules")
	if _, err := c.Host.WriteFile(file, script, 0o600); err != nil {
		return err
	}
	// Rules that are not named stay as they are.
	_, err := c.Host.Runner.Run(ctx, host.Command{Argv: []string{c.Host.Path(program), "--noflush", c.Host.Path(file)}, Log: c.Log})
	if err := errors.Join(err, c.Host.Remove(file)); err != nil {
		return fmt.Errorf("removing rules of iptables: %w", err)
	}
	return nil
}

// savedTable is what iptables-save says of one table, as far as it concerns nodes.
type savedTable struct {
	name string
	// chains are a node's.
	chains []string
	// leading are rules of others' chains that jump to these, as they follow -A.
	leading []string
}

func parseSaved(saved string) []savedTable {
	var tables []savedTable
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		if name, begins := strings.CutPrefix(line, "*"); begins {
			tables = append(tables, savedTable{name: name})
			continue
		}
		if len(tables) == 0 {
			continue
		}
		table := &tables[len(tables)-1]
		if chain, declares := strings.CutPrefix(line, ":"); declares {
			if name, _, _ := strings.Cut(chain, " "); ofNode(name) {
				table.chains = append(table.chains, name)
			}
		}
		if rule, is := strings.CutPrefix(line, "-A "); is && leadsToNode(rule) {
			table.leading = append(table.leading, rule)
		}
	}
	return slices.DeleteFunc(tables, func(t savedTable) bool { return len(t.chains) == 0 })
}

// leadsToNode says whether a rule of somebody else's chain jumps to a node's.
func leadsToNode(rule string) bool {
	words := strings.Fields(rule)
	if len(words) == 0 || ofNode(words[0]) {
		return false
	}
	// What is jumped to stands behind all that is matched, comments among them.
	for i, word := range slices.Backward(words[:len(words)-1]) {
		if word == "-j" || word == "-g" {
			return ofNode(words[i+1])
		}
	}
	return false
}

// renderRemoval is a script that removes a node's chains and what leads to them, each table at once. Declaring a chain
// that is there empties it, so that those that lead to each other can go in any order.
func renderRemoval(tables []savedTable) []byte {
	var script strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&script, "*%s\n", table.name)
		for _, chain := range table.chains {
			fmt.Fprintf(&script, ":%s - [0:0]\n", chain)
		}
		for _, rule := range table.leading {
			fmt.Fprintf(&script, "-D %s\n", rule)
		}
		for _, chain := range table.chains {
			fmt.Fprintf(&script, "-X %s\n", chain)
		}
		script.WriteString("COMMIT\n")
	}
	return []byte(script.String())
}
