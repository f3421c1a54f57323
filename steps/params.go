package steps

import "fmt"

// choice is a parameter that is true or false, and where that belongs.
type choice struct {
	name, text string
	into       *bool
}

// choose reads choices up to the first that is neither.
func choose(choices ...choice) error {
	for _, c := range choices {
		var err error
		if *c.into, err = yes(c.name, c.text); err != nil {
			return err
		}
	}
	return nil
}

// yes reads a parameter that is true or false; empty is false.
func yes(name, text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	}
	return false, fmt.Errorf("the parameter %q is %q: give true or false", name, text)
}
