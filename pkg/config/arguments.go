package config

import (
	"slices"
	"strings"
)

// MergeArguments returns the arguments of a program: own, without those that further has by the same name, and then
// further. So an argument of the user replaces Argosy's, and one that the user repeats stays repeated. Own arguments
// named in beside stay: the program adds the values of all of them up.
func MergeArguments(own, further []string, beside ...string) []string {
	merged := slices.DeleteFunc(slices.Clone(own), func(arg string) bool {
		name := argumentName(arg)
		return !slices.Contains(beside, name) && HasArgument(further, name)
	})
	return append(merged, further...)
}

// HasArgument reports whether one of the arguments has a name, which is written without dashes.
func HasArgument(args []string, name string) bool {
	return slices.ContainsFunc(args, func(arg string) bool { return argumentName(arg) == name })
}

// ArgumentValue returns the value of the last argument of a name, which is the one that holds. It is "" for an argument
// without a value, and where there is none.
func ArgumentValue(args []string, name string) string {
	value := ""
	for _, arg := range args {
		if argumentName(arg) == name {
			_, value, _ = strings.Cut(arg, "=")
		}
	}
	return value
}

// argumentName returns the name of an argument, with hyphens: that of "--secure_port=1" is "secure-port", as
// Kubernetes' programs read it.
func argumentName(arg string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return strings.ReplaceAll(name, "_", "-")
}
