package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// checkPreflight holds on a machine that is a node of the cluster and has a runtime that can import.
func checkPreflight(ctx context.Context, c *node.Context) (bool, string, error) {
	wanted := c.Operation.Images
	if err := node.Problems(errclass.Configuration, "the operation is not valid on any machine",
		validate(wanted)); err != nil {
		return false, "", err
	}
	record, err := c.Store.Record()
	if errors.Is(err, node.ErrUnreadable) {
		return false, "", &node.Failure{Err: err, Hint: "submit workflow join first, which writes the record anew"}
	}
	if err != nil {
		return false, "", err
	}
	problems := append(foreignNode(c, record), noRuntime(ctx, c)...)
	if err := node.Problems(errclass.Permanent, "no image is imported", problems); err != nil {
		return false, "", err
	}
	return true, fmt.Sprintf("the machine is node %s of cluster %s", record.NodeName, record.Cluster), nil
}

// applyPreflight is only called when the check neither held nor failed, which it never does.
func applyPreflight(context.Context, *node.Context) (string, error) {
	return "", errors.New("preflight has nothing to apply")
}

func foreignNode(c *node.Context, record *spec.Record) []string {
	switch {
	case os.Geteuid() != 0 && c.Host.Root == "":
		return []string{"argosy-node does not run as root; allow sudo to the user that Argosy logs in as."}
	case record == nil:
		return []string{fmt.Sprintf("The machine is no node of cluster %q; join it first.", c.Operation.Cluster)}
	case record.ClusterUID != c.Operation.Images.ClusterUID:
		return []string{fmt.Sprintf("The machine is node %q of a cluster %q with the UID %s, not of cluster %q with "+
			"the UID %s; run the import from its own cluster.",
			record.NodeName, record.Cluster, record.ClusterUID, c.Operation.Cluster, c.Operation.Images.ClusterUID)}
	}
	return nil
}

func noRuntime(ctx context.Context, c *node.Context) []string {
	into := nodeRuntime(c.Operation.Images)
	var problems []string
	if into.ctr(c.Host) == "" {
		problems = append(problems, fmt.Sprintf("There is no ctr in %q or in a standard folder of programs; install "+
			"it with containerd, since it imports images.", into.BinariesPath))
	}
	if err := inspect.Answers(ctx, c.Host, into.socket()); err != nil {
		problems = append(problems, fmt.Sprintf("The container runtime does not answer (%v); see systemctl status "+
			"containerd.", err))
	}
	return problems
}

// nodeRuntime returns the runtime of a machine that is a node.
func nodeRuntime(wanted *spec.Images) Runtime {
	return Runtime{BinariesPath: wanted.BinariesPath, CRISocket: wanted.CRISocket}
}

func checkImages(ctx context.Context, c *node.Context) (bool, string, error) {
	return Check(ctx, c, nodeRuntime(c.Operation.Images), c.Operation.Images.Sources)
}

func applyImages(ctx context.Context, c *node.Context) (string, error) {
	return Apply(ctx, c, nodeRuntime(c.Operation.Images), c.Operation.Images.Sources)
}

var digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// validate returns the problems of an operation that no machine could carry out.
func validate(wanted *spec.Images) []string {
	var problems []string
	if !layout.PlainPath(wanted.BinariesPath) {
		problems = append(problems, fmt.Sprintf("The binariesPath %q is not a plain absolute path; write one such as "+
			"/usr/local/bin.", wanted.BinariesPath))
	}
	return append(problems, Validate(wanted.Sources)...)
}

// Validate returns the problems of sources that no machine could import. The plugin refuses such values earlier; here
// they become paths and names, so they are checked again.
func Validate(sources []spec.ImageSource) []string {
	var problems []string
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, source := range sources {
		switch {
		case source.Name == "":
			bad("A source of images has no name.")
		case (source.Path == "") == (source.Sent == nil):
			bad("The source %q must have either a path or sent, not both.", source.Name)
		case source.Path != "" && (!filepath.IsAbs(source.Path) || strings.ContainsRune(source.Path, 0)):
			bad("The path %q is not absolute.", source.Path)
		case source.Sent != nil && source.Sent.Key == "":
			bad("The source %q has no key.", source.Name)
		case source.Sent != nil && source.Sent.SHA256 != "" && !digestPattern.MatchString(source.Sent.SHA256):
			bad("The sha256 %q of %q is not 64 hex digits.", source.Sent.SHA256, source.Name)
		}
	}
	return problems
}
