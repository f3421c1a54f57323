package join

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

// file is one that a phase writes.
type file struct {
	name    string
	content []byte
	// secret files are readable by root alone, and no diff shows their content.
	secret bool
}

func (f file) mode() fs.FileMode {
	if f.secret {
		return 0o600
	}
	return 0o644
}

// holds reports whether the file has its content, and, if it is secret, its mode.
func (f file) holds(h *host.Host) bool {
	if f.secret {
		if info, err := os.Lstat(h.Path(f.name)); err != nil || info.Mode() != f.mode() {
			return false
		}
	}
	return h.Holds(f.name, f.content)
}

// path returns the file for the note of its original.
func (f file) path(h *host.Host) original.File {
	return original.File{
		Name: f.name, SHA256: original.DigestOf(f.content), Secret: f.secret,
		Ours: func() bool { return inspect.Marked(h, f.name) }, Before: f.name + layout.KeptSuffix,
	}
}

// take notes the originals of these files, and returns the names of those that were edited and are kept.
func take(h *host.Host, files ...file) ([]string, error) {
	paths := make([]original.File, 0, len(files))
	for _, f := range files {
		paths = append(paths, f.path(h))
	}
	return original.Take(h, paths...)
}

// change returns the file's difference.
func (f file) change(h *host.Host, effect spec.Effect) spec.Change {
	if f.secret {
		return node.SecretFileChange(f.name, effect)
	}
	return node.FileChange(h, f.name, f.content, effect)
}

// service is a unit with its files. Its stamp is written when the service was (re)started with exactly these, so that a
// crash between writing and restarting is noticed.
type service struct {
	name string
	// files are written in their order.
	files []file
	// obsolete are files of Argosy's with secrets that have to be removed.
	obsolete []string
	// binary is the digest of the program that the unit runs.
	binary string
}

func (s service) stampFile() string { return spec.Root + "/" + s.name + ".applied" }

func (s service) stamp() []byte {
	sum := sha256.New()
	for _, f := range s.files {
		fmt.Fprintf(sum, "%s %d\n%s", f.name, len(f.content), f.content)
	}
	fmt.Fprint(sum, s.binary)
	return []byte(hex.EncodeToString(sum.Sum(nil)) + "\n")
}

// missing returns the first thing of the service that is not as wanted; "" when all is, and was applied. It adds each
// difference to the phase's changes.
func (s service) missing(c *node.Context) string {
	h, first := c.Host, ""
	for _, f := range s.files {
		if !f.holds(h) {
			c.AddChanges(f.change(h, s.restarts()))
			first = cmp.Or(first, f.name+" has to be written")
		}
	}
	for _, name := range s.obsolete {
		if inspect.Marked(h, name) {
			c.AddChanges(node.SecretFileChange(name, s.restarts()))
			first = cmp.Or(first, name+" has to be removed")
		}
	}
	if first != "" {
		return first
	}
	if !h.Exists(layout.EnabledLink(s.name)) {
		c.AddChanges(spec.Change{What: layout.EnabledLink(s.name), Effect: s.restarts()})
		return s.name + " has to be enabled"
	}
	if !h.Holds(s.stampFile(), s.stamp()) {
		c.AddChanges(spec.Change{What: "service " + s.name, Effect: s.restarts()})
		return s.name + " has to be restarted"
	}
	return ""
}

// restarts returns the effect of a change of the service.
func (s service) restarts() spec.Effect {
	if s.name == "containerd" {
		return spec.RestartsContainerd
	}
	return spec.RestartsKubelet
}

// paths returns the files that write changes.
func (s service) paths(h *host.Host) []original.File {
	files := make([]original.File, 0, len(s.files)+1)
	for _, f := range s.files {
		files = append(files, f.path(h))
	}
	return append(files, original.File{
		Name: layout.EnabledLink(s.name), Link: layout.Unit(s.name),
		Ours: func() bool { return inspect.Marked(h, layout.Unit(s.name)) },
	})
}

// write writes the files and enables the unit, as systemctl would, without starting it. It notes the originals first,
// and returns the names under which edits are kept.
func (s service) write(h *host.Host) (edited []string, err error) {
	if edited, err = original.Take(h, s.paths(h)...); err != nil {
		return nil, err
	}
	return edited, s.writeFiles(h)
}

func (s service) writeFiles(h *host.Host) error {
	// An earlier stamp does not hold until the service runs with these files.
	if err := h.Remove(s.stampFile()); err != nil {
		return err
	}
	for _, f := range s.files {
		if _, err := h.WriteFile(f.name, f.content, f.mode()); err != nil {
			return err
		}
	}
	for _, name := range s.obsolete {
		if inspect.Marked(h, name) {
			if _, err := restoreOriginal(h, name); err != nil {
				return err
			}
		}
	}
	return h.Link(layout.Unit(s.name), layout.EnabledLink(s.name))
}

// applied notes that the service runs with these files, or will when it is started.
func (s service) applied(h *host.Host) error {
	_, err := h.WriteFile(s.stampFile(), s.stamp(), 0o600)
	return err
}

func systemctl(ctx context.Context, c *node.Context, args ...string) error {
	_, err := c.Host.Runner.Run(ctx, host.Command{Argv: append([]string{"systemctl"}, args...), Log: c.Log})
	if err != nil {
		return fmt.Errorf("calling systemctl: %w", err)
	}
	return nil
}

// withJournal adds the unit's last lines of the journal to an error: systemctl does not print the cause.
func withJournal(ctx context.Context, c *node.Context, unit string, err error) error {
	return journalFailure(unit, journalOf(ctx, c, unit, tailLines), err)
}

// tailLines is how many of a unit's last lines a failure has.
const tailLines = 20

// journalOf returns a unit's last lines.
func journalOf(ctx context.Context, c *node.Context, unit string, lines int) []string {
	command := host.Command{Argv: []string{
		"journalctl", "--unit", unit, "--no-pager", "--lines=" + strconv.Itoa(lines), "--output=cat",
	}}
	output, _ := c.Host.Runner.Run(context.WithoutCancel(ctx), command)
	return host.Tail(output, lines)
}

// journalFailure returns a failure with the last of a unit's lines.
func journalFailure(unit string, lines []string, err error) *node.Failure {
	shown := host.Command{Argv: []string{"journalctl", "--unit", unit}}
	return &node.Failure{
		Err: err, Command: shown.String(), Tail: lines[max(0, len(lines)-tailLines):],
		Hint: "see " + shown.String() + " on the machine",
	}
}
