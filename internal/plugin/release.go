package plugin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Templates and plugin are installed together and can still be of different releases: where one was applied without the
// other, or an older agent pod still runs. A template tells the plugin all that it expects, so that neither needs the
// other's version to find that they do not fit.

// APIVersion is the version of the calls of templates. It changes with the meaning of a field or an output that keeps
// its name; a call whose fields or outputs do not fit is refused in any case. Releases themselves are not compared:
// that would refuse every build between them, and running workflows of a namespace at each upgrade.
const APIVersion = "v1alpha1"

// unversioned is the version of templates that are older than the field apiVersion.
const unversioned = "v1alpha1"

// Version returns the version of a call.
func (c Call) Version() string { return cmp.Or(c.APIVersion, unversioned) }

// otherRelease returns the way out of a call that this plugin cannot serve.
func (c Call) otherRelease() string {
	plugin := "the plugin"
	if c.release != "" {
		plugin += ", " + c.release
	}
	return "the template is of another release than " + plugin + ": apply install/ of one release, or upgrade the " +
		"chart, and submit again"
}

// checkAPIVersion returns an error where a call is of another version than the plugin, before its step is looked for.
func checkAPIVersion(call Call) error {
	if call.Version() == APIVersion {
		return nil
	}
	return fmt.Errorf("template %q calls the plugin by apiVersion %q, and this one serves %q; %s", call.Template,
		call.Version(), APIVersion, call.otherRelease())
}

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
		strings.Join(unknown, ", "), call.otherRelease())
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
