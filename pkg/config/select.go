package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"argosy.dev/argosy/pkg/errclass"
)

// allMachines is the expression that selects every machine.
const allMachines = "all"

// Select returns the machines that an expression selects, in the order of the fleet. Its errors have class
// errclass.Configuration.
//
//	"" or "all"            every machine
//	"alpha,beta"           the machines of these names
//	"zone=a,gpu", "gpu"    a Kubernetes label selector on the machines' labels, when it has an operator, or when
//	                       none of its words is a machine and all of them are labels
func (c *Cluster) Select(expression string) ([]Machine, error) {
	expression = strings.TrimSpace(expression)
	words := splitList(expression)
	switch {
	case len(words) == 0 || expression == allMachines:
		return slices.Clone(c.Fleet.Machines), nil
	case strings.ContainsAny(expression, "=!()<> \t") || c.onlyLabels(words):
		return c.selectByLabels(expression)
	}
	return c.selectByNames(words)
}

// SelectNamed is Select for operations that remove machines: an empty expression is an error, and not all machines.
func (c *Cluster) SelectNamed(expression string) ([]Machine, error) {
	if len(splitList(expression)) == 0 {
		return nil, errclass.With(errclass.Configuration, errors.New("say which machines: names with commas between, "+
			"a label selector such as rack=a, or all"))
	}
	return c.Select(expression)
}

// splitList splits a text at commas and drops empty parts.
func splitList(text string) []string {
	var words []string
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}

// onlyLabels reports whether every word is the key of some machine's label and none is the name of a machine.
func (c *Cluster) onlyLabels(words []string) bool {
	for _, word := range words {
		if _, isMachine := c.Machine(word); isMachine {
			return false
		}
		if !slices.ContainsFunc(c.Fleet.Machines, func(m Machine) bool { _, has := m.Labels[word]; return has }) {
			return false
		}
	}
	return true
}

func (c *Cluster) selectByLabels(expression string) ([]Machine, error) {
	// "alpha, beta" is a list of names with a space in it, not a selector.
	if words := splitList(expression); !strings.ContainsAny(strings.Join(words, ""), "=!()<> \t") &&
		!c.onlyLabels(words) {
		return c.selectByNames(words)
	}
	selector, err := labels.Parse(expression)
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading label selector %s: %w", shown(expression), err)
	}
	var selected []Machine
	for _, m := range c.Fleet.Machines {
		if selector.Matches(labels.Set(m.Labels)) {
			selected = append(selected, m)
		}
	}
	if len(selected) == 0 {
		return nil, errclass.Errorf(errclass.Configuration, "no machine has labels that match %s; the machines are %s",
			shown(expression), c.known())
	}
	return selected, nil
}

func (c *Cluster) selectByNames(words []string) ([]Machine, error) {
	var unknown []string
	for _, word := range words {
		if _, found := c.Machine(word); found {
			continue
		}
		text := shown(word)
		if near := nearest(word, c.names()); near != "" {
			text += fmt.Sprintf(" (did you mean %q?)", near)
		}
		unknown = append(unknown, text)
	}
	if len(unknown) > 0 {
		return nil, errclass.Errorf(errclass.Configuration, "cluster %q has no machine %s; it has %s", c.Name,
			strings.Join(unknown, ", "), c.known())
	}
	var selected []Machine
	for _, m := range c.Fleet.Machines {
		if slices.Contains(words, m.Name) {
			selected = append(selected, m)
		}
	}
	return selected, nil
}

func (c *Cluster) names() []string {
	names := make([]string, 0, len(c.Fleet.Machines))
	for _, m := range c.Fleet.Machines {
		names = append(names, m.Name)
	}
	return names
}

// known lists the machines for a message, which Argo shows in one line.
func (c *Cluster) known() string {
	const most = 20
	names := c.names()
	if len(names) == 0 {
		return "none: list them under machines in " + FleetDocument
	}
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
