package plugin

import (
	"fmt"
	"slices"
	"strings"
)

// Templates and plugin are installed together and can still be of different releases: where one was applied without the
// other, or an older agent pod still runs. A template tells the plugin all that it expects, so that neither needs the
// other's version to find that they do not fit.

// otherRelease is the way out of a call that this plugin cannot serve.
const otherRelease = "the template is of another release than the plugin: apply install/ of one release, or upgrade " +
	"the chart, and submit again"

// checkDeclared returns an error where the template declares outputs that the step does not have, before any work is
// done: Argo waits for them for ever. A step may have more outputs than the template, which an older one does not ask
// for.
func checkDeclared(step Step, call Call) error {
	var unknown []string
	for _, name := range call.declared {
		if !slices.Contains(step.Outputs(), name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return fmt.Errorf("template %q declares outputs that step %q does not have, %s; %s", call.Template, call.Step,
		strings.Join(unknown, ", "), otherRelease)
}

// allOutputs returns the outputs of the step, and those that the template declares besides, so that an answer without
// results ends the step in Argo.
func allOutputs(step Step, call Call) []string {
	all := slices.Clone(step.Outputs())
	for _, name := range call.declared {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}
