package reset

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
)

// legacyFamily is iptables without nf_tables, which only its own programs can change.
type legacyFamily struct {
	// tables lists those that are in use; the file is empty or missing where none is.
	tables string
	// saves print the rules; restore, in place of save, changes them. The first that is there and of this kind is
	// taken.
	saves []string
}

var legacyFamilies = []legacyFamily{
	{"/proc/net/ip_tables_names", []string{"iptables-legacy-save", "iptables-save"}},
	{"/proc/net/ip6_tables_names", []string{"ip6tables-legacy-save", "ip6tables-save"}},
}

// searched are the folders where a machine has its programs.
var searched = []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin", "/usr/local/bin"}

// findProgram returns the path of a program on the machine; "" when it has none.
func findProgram(h *host.Host, program string) string {
	for _, dir := range searched {
		if file := filepath.Join(dir, program); h.Exists(file) {
			return file
		}
	}
	return ""
}

// find returns the program that prints this family's rules; "" when no legacy table is in use.
func (f legacyFamily) find(ctx context.Context, h *host.Host) string {
	if h.ReadLine(f.tables) == "" {
		return ""
	}
	for _, name := range f.saves {
		file := findProgram(h, name)
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

// findLegacy returns a node's chains in legacy tables. Tables that no program here can read are skipped: their rules
// were made by a program in a container, and go with the next boot.
func findLegacy(ctx context.Context, c *node.Context, networks *podNetworks) ([]string, error) {
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
		for _, table := range parseSaved(string(output), networks) {
			for _, chain := range table.chains {
				found = append(found, strings.TrimSuffix(filepath.Base(save), "-save")+" "+table.name+" "+chain)
			}
			if len(table.chains) == 0 {
				found = append(found, strings.TrimSuffix(filepath.Base(save),
					"-save")+" "+table.name+" "+table.rules[0])
			}
		}
	}
	return found, nil
}

func removeLegacy(ctx context.Context, c *node.Context, networks *podNetworks) error {
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
		errs = append(errs, restore(ctx, c, strings.TrimSuffix(save, "-save")+"-restore",
			renderRemoval(parseSaved(string(output), networks))))
	}
	return errors.Join(errs...)
}

// restore runs the program with a script, which has to be in a file.
func restore(ctx context.Context, c *node.Context, program string, script []byte) error {
	if len(script) == 0 {
		return nil
	}
	file := filepath.Join(c.Store.Dir(c.Operation.ID), "rules")
	if _, err := c.Host.WriteProgress(file, script, 0o600); err != nil {
		return err
	}
	err := withLock(ctx, c, program, func(wait ...string) error {
		// Rules that are not named stay as they are.
		argv := append(append([]string{c.Host.Path(program)}, wait...), "--noflush", c.Host.Path(file))
		_, err := c.Host.Runner.Run(ctx, host.Command{Argv: argv, Log: c.Log})
		if failed := (*host.CommandError)(nil); errors.As(err, &failed) &&
			strings.Contains(string(failed.Output), "xtables lock") {
			return errclass.With(errclass.Transient, err)
		}
		return err
	})
	if err := errors.Join(err, c.Host.Remove(file)); err != nil {
		return fmt.Errorf("removing rules of iptables: %w", err)
	}
	return nil
}

const (
	// xtablesLock is held by programs that change legacy rules, such as a firewall's daemon.
	xtablesLock = "/run/xtables.lock"
	// lockTimeout bounds the wait for it, in seconds.
	lockTimeout = 60
)

// withLock runs a change of rules under the lock. Programs before 1.6.2 neither take the lock nor have the flag to wait
// for it, so alone takes it for them.
func withLock(ctx context.Context, c *node.Context, program string, change func(wait ...string) error) error {
	output, err := c.Host.Runner.Run(ctx, host.Command{Argv: []string{c.Host.Path(program), "--version"}})
	if err != nil {
		return fmt.Errorf("reading the version of %q: %w", program, err)
	}
	if waitsForLock(string(output)) {
		return change("--wait", strconv.Itoa(lockTimeout))
	}
	lock, err := os.OpenFile(c.Host.Path(xtablesLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the lock of iptables: %w", err)
	}
	defer lock.Close()
	for deadline := time.Now().Add(lockTimeout * time.Second); ; {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return change()
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			return errclass.Errorf(errclass.Transient, "locking %q, which another program that changes iptables "+
				"holds: %w", xtablesLock, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollInterval):
		}
	}
}

// waitsForLock reports whether an iptables-restore of this version waits for the lock: "iptables-restore v1.8.9
// (legacy)".
func waitsForLock(version string) bool {
	match := versionForm.FindStringSubmatch(version)
	if match == nil {
		return false
	}
	var number [3]int
	for i := range number {
		number[i], _ = strconv.Atoi(match[i+1])
	}
	return slices.Compare(number[:], []int{1, 6, 2}) >= 0
}

var versionForm = regexp.MustCompile(`v(\d+)\.(\d+)\.(\d+)`)

// savedTable is one table in the output of iptables-save.
type savedTable struct {
	name   string
	chains []chain
	// lines are the rules as they follow -A, by their chains.
	lines map[string][]string
}

// savedRemoval lists the chains and rules of a table to remove.
type savedRemoval struct {
	name   string
	chains []string
	// rules are those of chains that stay, as they follow -A.
	rules []string
}

func parseSaved(saved string, networks *podNetworks) []savedRemoval {
	var removals []savedRemoval
	for _, table := range readSaved(saved) {
		chosen := networks.selectRemoval(table.chains)
		removal := savedRemoval{name: table.name, chains: chosen.chains}
		for _, one := range table.chains {
			for _, at := range chosen.rules[one.name] {
				removal.rules = append(removal.rules, table.lines[one.name][at])
			}
		}
		if len(removal.chains)+len(removal.rules) > 0 {
			removals = append(removals, removal)
		}
	}
	return removals
}

func readSaved(saved string) []savedTable {
	var tables []savedTable
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		if name, begins := strings.CutPrefix(line, "*"); begins {
			tables = append(tables, savedTable{name: name, lines: map[string][]string{}})
			continue
		}
		if len(tables) == 0 {
			continue
		}
		table := &tables[len(tables)-1]
		if declared, declares := strings.CutPrefix(line, ":"); declares {
			if name, _, _ := strings.Cut(declared, " "); name != "" {
				table.chains = append(table.chains, chain{name: name})
			}
		}
		if text, is := strings.CutPrefix(line, "-A "); is {
			table.add(text)
		}
	}
	return tables
}

// add notes a rule of a chain that was declared before, as all are.
func (t *savedTable) add(text string) {
	words := splitSaved(text)
	if len(words) == 0 {
		return
	}
	at := slices.IndexFunc(t.chains, func(c chain) bool { return c.name == words[0] })
	if at < 0 {
		return
	}
	t.chains[at].rules = append(t.chains[at].rules, savedRule(words[1:]))
	t.lines[words[0]] = append(t.lines[words[0]], text)
}

// savedRule parses the parts of a rule that identify its owner.
func savedRule(words []string) rule {
	var r rule
	for at := 0; at+1 < len(words); at++ {
		value, excluded := words[at+1], at > 0 && words[at-1] == "!"
		switch words[at] {
		case "-j", "-g":
			r.jump, r.returns = value, value == "RETURN"
		case "--comment":
			r.comment = value
		case "-s", "-d", "-i", "-o":
			if !excluded {
				r.matches(words[at], value)
			}
		default:
			continue
		}
		at++ // what follows is a value, whatever it looks like
	}
	return r
}

// matches notes that a rule is for this address or link.
func (r *rule) matches(flag, value string) {
	prefix, err := netip.ParsePrefix(value)
	single := err == nil && prefix.IsSingleIP()
	switch {
	case flag == "-s" && single:
		r.source = prefix.Addr().String()
	case flag == "-d" && single:
		r.destination = prefix.Addr().String()
	case flag == "-i", flag == "-o":
		r.links = append(r.links, value)
	}
}

// splitSaved splits a rule into words; one with blanks is in quotes, in which a backslash takes the next byte as it is.
func splitSaved(text string) []string {
	var words []string
	var word strings.Builder
	quoted, within := false, false
	for at := 0; at < len(text); at++ {
		switch c := text[at]; {
		case c == '"':
			quoted, within = !quoted, true
		case c == '\\' && quoted && at+1 < len(text):
			at++
			word.WriteByte(text[at])
		case c == ' ' && !quoted:
			if within {
				words = append(words, word.String())
			}
			word.Reset()
			within = false
		default:
			word.WriteByte(c)
			within = true
		}
	}
	if within {
		words = append(words, word.String())
	}
	return words
}

// renderRemoval returns a script that removes a node's chains and the rules that jump to them, each table at once.
// Declaring a chain that is there empties it, so that those that lead to each other can go in any order.
func renderRemoval(tables []savedRemoval) []byte {
	var script strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&script, "*%s\n", table.name)
		for _, chain := range table.chains {
			fmt.Fprintf(&script, ":%s - [0:0]\n", chain)
		}
		for _, rule := range table.rules {
			fmt.Fprintf(&script, "-D %s\n", rule)
		}
		for _, chain := range table.chains {
			fmt.Fprintf(&script, "-X %s\n", chain)
		}
		script.WriteString("COMMIT\n")
	}
	return []byte(script.String())
}
