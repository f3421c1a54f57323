package reset

import (
	"fmt"
	"path/filepath"
	"strings"

	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// validate returns the problems of an operation that no machine could carry out. Its values become paths of files that
// are removed, so they are checked again here.
func validate(r *spec.Reset) []string {
	var problems []string
	for name, path := range map[string]string{"binariesPath": r.BinariesPath, "cniBinariesPath": r.CNIBinariesPath} {
		if !layout.PlainPath(path) {
			problems = append(problems, fmt.Sprintf("The %s %q is not a plain absolute path; write one such as "+
				"/usr/local/bin.", name, path))
		}
	}
	for name, path := range map[string]string{
		"caCertPath":                         r.CACertPath,
		"nodePath of local-path-provisioner": r.VolumesPath,
	} {
		if path != "" && (filepath.Clean(path) != path || !filepath.IsAbs(path) || strings.Count(path, "/") < 2) {
			problems = append(problems, fmt.Sprintf("The %s %q is not a clean absolute path beneath a folder.", name,
				path))
		}
	}
	return problems
}
