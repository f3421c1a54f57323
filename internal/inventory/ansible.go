package inventory

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// group is a group of an Ansible inventory: its hosts with their variables, its own variables, and its children.
type group struct {
	hosts    map[string]map[string]string
	order    []string
	vars     map[string]string
	children []string
}

// groups are those of an inventory by name, and their order.
type groups struct {
	byName map[string]*group
	order  []string
}

func (g *groups) get(name string) *group {
	if g.byName[name] == nil {
		g.byName[name] = &group{hosts: map[string]map[string]string{}, vars: map[string]string{}}
		g.order = append(g.order, name)
	}
	return g.byName[name]
}

// add adds a host with variables to a group.
func (g *group) add(name string, vars map[string]string) {
	if g.hosts[name] == nil {
		g.hosts[name] = map[string]string{}
		g.order = append(g.order, name)
	}
	maps.Copy(g.hosts[name], vars)
}

// Ansible reads an Ansible inventory, in INI or in YAML: hosts of all groups, with ansible_host, ansible_user and
// ansible_port of a host, of its groups, the nearest first, and of all. Hosts of a local connection are no machines.
// Programs that make inventories, and values in templates, are errors.
func Ansible(text []byte) ([]Host, error) {
	found := &groups{byName: map[string]*group{}}
	read := found.readINI
	if looksLikeYAML(text) {
		read = found.readYAML
	}
	if bytes.HasPrefix(text, []byte("#!")) {
		return nil, errors.New("reading the inventory: it is a program; give what \"ansible-inventory --list " +
			"--yaml\" prints of it")
	}
	if err := read(text); err != nil {
		return nil, fmt.Errorf("reading the inventory: %w", err)
	}
	return found.flatten()
}

// looksLikeYAML reports whether the first line with content begins a mapping.
func looksLikeYAML(text []byte) bool {
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		return line == "---" || regexp.MustCompile(`^["']?[\w.-]+["']?:(\s|$)`).MatchString(line)
	}
	return false
}

// ungrouped holds the hosts before the first section of an INI file.
const (
	ungrouped = "ungrouped"
	everyHost = "all"
)

// readINI reads sections [group], [group:vars] and [group:children].
func (g *groups) readINI(text []byte) error {
	section, kind := ungrouped, ""
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section, kind, _ = strings.Cut(strings.Trim(line, "[]"), ":")
			if kind != "" && kind != "vars" && kind != "children" {
				return fmt.Errorf("line %d: unknown section %q", number, line)
			}
			g.get(section)
			continue
		}
		if err := g.readLine(section, kind, line); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return nil
}

func (g *groups) readLine(section, kind, line string) error {
	words, err := split(line)
	if err != nil {
		return err
	}
	switch kind {
	case "children":
		g.get(section).children = append(g.get(section).children, words[0])
		g.get(words[0])
		return nil
	case "vars":
		name, value, found := strings.Cut(line, "=")
		if !found {
			return fmt.Errorf("%q is no variable", line)
		}
		g.get(section).vars[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), `"'`)
		return nil
	}
	vars := map[string]string{}
	for _, word := range words[1:] {
		name, value, found := strings.Cut(word, "=")
		if !found {
			return fmt.Errorf("%q is no variable of host %q", word, words[0])
		}
		vars[name] = value
	}
	hosts, err := expand(words[0])
	if err != nil {
		return err
	}
	for _, host := range hosts {
		g.get(section).add(host, vars)
	}
	return nil
}

// split returns the words of a line, up to a comment, without their quotes.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	quote, inside := rune(0), false
	for i, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, inside = r, true
		case r == ' ' || r == '\t':
			if inside {
				words, inside = append(words, word.String()), false
				word.Reset()
			}
		case r == '#' && (i == 0 || strings.ContainsRune(" \t", rune(line[i-1]))):
			return words, nil
		default:
			inside = true
			word.WriteRune(r)
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote in %q does not end", line)
	}
	if inside {
		words = append(words, word.String())
	}
	return words, nil
}

var ofNumbers = regexp.MustCompile(`^(.*)\[(\d+):(\d+)\](.*)$`)

// maxRange bounds how many hosts one pattern makes.
const maxRange = 10_000

// expand returns the hosts of a pattern: web[01:12] is web01 to web12.
func expand(pattern string) ([]string, error) {
	found := ofNumbers.FindStringSubmatch(pattern)
	if found == nil {
		if strings.ContainsAny(pattern, "[]") {
			return nil, fmt.Errorf("reading host %q: only ranges of numbers like web[01:12] are known", pattern)
		}
		return []string{pattern}, nil
	}
	from, err := strconv.Atoi(found[2])
	if err != nil {
		return nil, fmt.Errorf("reading host %q: %w", pattern, err)
	}
	to, err := strconv.Atoi(found[3])
	if err != nil || to < from || to-from >= maxRange {
		return nil, fmt.Errorf("reading host %q: the range has to rise, by less than %d", pattern, maxRange)
	}
	var hosts []string
	for i := from; i <= to; i++ {
		hosts = append(hosts, fmt.Sprintf("%s%0*d%s", found[1], len(found[2]), i, found[4]))
	}
	return hosts, nil
}

// yamlGroup is a group in YAML. Other keys are those of plugins, which are passed over.
type yamlGroup struct {
	Hosts    yaml.Node             `yaml:"hosts"`
	Vars     map[string]any        `yaml:"vars"`
	Children map[string]*yamlGroup `yaml:"children"`
}

func (g *groups) readYAML(text []byte) error {
	var top map[string]*yamlGroup
	if err := yaml.Unmarshal(text, &top); err != nil {
		return fmt.Errorf("decoding YAML: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(top)) {
		if err := g.addYAML(name, top[name]); err != nil {
			return err
		}
	}
	return nil
}

// addYAML adds a group with its children. The hosts keep their order in the file.
func (g *groups) addYAML(name string, from *yamlGroup) error {
	into := g.get(name)
	if from == nil {
		return nil
	}
	for key, value := range from.Vars {
		into.vars[key] = fmt.Sprint(value)
	}
	if from.Hosts.Kind == yaml.SequenceNode {
		return fmt.Errorf("decoding group %q: hosts is a list, and has to be a mapping", name)
	}
	for i := 0; i+1 < len(from.Hosts.Content); i += 2 {
		var vars map[string]any
		if err := from.Hosts.Content[i+1].Decode(&vars); err != nil {
			return fmt.Errorf("decoding host %q: %w", from.Hosts.Content[i].Value, err)
		}
		texts := map[string]string{}
		for key, value := range vars {
			texts[key] = fmt.Sprint(value)
		}
		hosts, err := expand(from.Hosts.Content[i].Value)
		if err != nil {
			return err
		}
		for _, host := range hosts {
			into.add(host, texts)
		}
	}
	for _, child := range slices.Sorted(maps.Keys(from.Children)) {
		into.children = append(into.children, child)
		if err := g.addYAML(child, from.Children[child]); err != nil {
			return err
		}
	}
	return nil
}

// flatten returns the hosts with the variables that hold for each.
func (g *groups) flatten() ([]Host, error) {
	g.get(everyHost)
	parents := map[string][]string{}
	for _, name := range g.order {
		for _, child := range g.byName[name].children {
			parents[child] = append(parents[child], name)
		}
	}
	var order []string
	of := map[string][]string{} // the groups of each host, the nearest first
	for _, name := range g.order {
		for _, host := range g.byName[name].order {
			if of[host] == nil {
				order = append(order, host)
			}
			of[host] = append(of[host], name)
		}
	}
	var hosts []Host
	for _, name := range order {
		all := ancestors(of[name], parents)
		vars := map[string]string{}
		for _, of := range slices.Backward(all) {
			maps.Copy(vars, g.byName[of].vars)
		}
		for _, of := range slices.Backward(all) {
			maps.Copy(vars, g.byName[of].hosts[name])
		}
		host, machine, err := hostWith(name, vars)
		if err != nil {
			return nil, err
		}
		if machine {
			host.Groups = slices.DeleteFunc(all, func(of string) bool { return of == everyHost || of == ungrouped })
			hosts = append(hosts, host)
		}
	}
	return hosts, nil
}

// ancestors returns groups and those that they are children of, the nearest first, and last the group of all hosts.
func ancestors(of []string, parents map[string][]string) []string {
	var all []string
	for next := of; len(next) > 0; {
		var above []string
		for _, name := range next {
			if !slices.Contains(all, name) && name != everyHost {
				all = append(all, name)
				above = append(above, parents[name]...)
			}
		}
		next = above
	}
	return append(all, everyHost)
}

// hostWith returns the host of a name with its variables, and whether it is a machine.
func hostWith(name string, vars map[string]string) (host Host, machine bool, err error) {
	number := cmp.Or(vars["ansible_port"], vars["ansible_ssh_port"])
	if before, after, found := strings.Cut(name, ":"); found && !strings.Contains(after, ":") {
		name, number = before, cmp.Or(number, after) // the old form, host:port
	}
	host = Host{
		Name: name, Address: cmp.Or(vars["ansible_host"], vars["ansible_ssh_host"], name),
		User: cmp.Or(vars["ansible_user"], vars["ansible_ssh_user"]),
	}
	for _, text := range []string{host.Address, host.User} {
		if strings.Contains(text, "{{") {
			return host, false, fmt.Errorf("reading host %q: %q is a template; give what \"ansible-inventory --list "+
				"--yaml\" prints", name, text)
		}
	}
	if host.Port, err = port(number); err != nil {
		return host, false, fmt.Errorf("reading host %q: %w", name, err)
	}
	return host, vars["ansible_connection"] != "local" && name != "localhost", nil
}
