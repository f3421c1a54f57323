package steps

import (
	"fmt"

	"argosy.dev/argosy/internal/plugin"
)

// boolParam is a parameter that is true or false, and the variable for its value.
type boolParam struct {
	name, text string
	into       *bool
}

// parseBools parses parameters up to the first that is neither true nor false.
func parseBools(choices ...boolParam) error {
	for _, c := range choices {
		var err error
		if *c.into, err = parseBool(c.name, c.text); err != nil {
			return err
		}
	}
	return nil
}

// parseBool parses a parameter that is true or false; empty is false.
func parseBool(name, text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	}
	return false, fmt.Errorf("the parameter %q is %q: give true or false", name, text)
}

// checkConditions refuses a call whose parameters of these names are neither true nor false. Templates compare their
// text in conditions, where an empty one would leave steps out without a word. One that an older template does not send
// is none of its conditions.
func checkConditions(call plugin.Call, names ...string) error {
	var inputs map[string]any
	if err := call.Decode(&inputs); err != nil {
		return err
	}
	for _, name := range names {
		text, sent := inputs[name].(string)
		if sent && text != "true" && text != "false" {
			return fmt.Errorf("the parameter %q is %q: give true or false", name, text)
		}
	}
	return nil
}
