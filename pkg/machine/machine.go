// Package machine is the plugin's side of a machine: it puts argosy-node there, asks it, starts operations and watches
// them. It decides nothing about operations, and leaves nothing running on the machine itself.
//
// A call to argosy-node costs one exec when the right argosy-node is there, and four when it has to be sent first
// (try, probe, send, try again).
package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/ssh"
)

// defaultBinariesPath is where argosy-node goes unless the cluster's configuration names another folder.
const defaultBinariesPath = "/usr/local/bin"

// Agent provides the builds of argosy-node.
type Agent interface {
	// Program returns argosy-node for an architecture in Go's names, amd64 or arm64. It is asked often, and must not
	// copy.
	Program(arch string) (Program, error)
}

// Program is one build of argosy-node.
type Program struct {
	// SHA256 in hex.
	SHA256 string
	// Size in bytes.
	Size int64
	// Source opens it at an offset.
	Source func(offset int64) (io.ReadCloser, error)
}

// Connection runs commands on a machine as root, and writes files there: over SSH, or through a pod on its node. Its
// errors are those of package ssh.
type Connection interface {
	Run(ctx context.Context, command ssh.Command) (ssh.Result, error)
	Upload(ctx context.Context, upload ssh.Upload) (ssh.UploadResult, error)
}

// OverSSH returns the connection of an SSH client.
func OverSSH(client *ssh.Client) Connection { return overSSH{client} }

type overSSH struct{ *ssh.Client }

func (c overSSH) Run(ctx context.Context, command ssh.Command) (ssh.Result, error) {
	return c.Elevated().Run(ctx, command)
}

// Machine is one machine. It is safe for concurrent use.
type Machine struct {
	name         string
	connect      func(ctx context.Context) (Connection, error)
	agent        Agent
	binariesPath string
	bundlesDir   string
}

// New makes a machine. connect returns a live connection, which the machine does not close. It is called for each piece
// of work, so it should be a pool's Get. binariesPath is the folder for argosy-node; empty: /usr/local/bin.
func New(name string, connect func(ctx context.Context) (Connection, error), agent Agent,
	binariesPath string,
) *Machine {
	if binariesPath == "" {
		binariesPath = defaultBinariesPath
	}
	return &Machine{name: name, connect: connect, agent: agent, binariesPath: binariesPath, bundlesDir: spec.BundlesDir}
}

// Inspect returns facts about the machine, and the phases that the operations of the question would carry out there.
func (m *Machine) Inspect(ctx context.Context, question spec.Question) (spec.Facts, error) {
	var facts spec.Facts
	input, err := json.Marshal(question)
	if err != nil {
		return facts, fmt.Errorf("inspecting machine %q: encoding the question: %w", m.name, err)
	}
	if err := m.ask(ctx, &facts, input, "inspect"); err != nil {
		return facts, fmt.Errorf("inspecting machine %q: %w", m.name, err)
	}
	return facts, nil
}

// Start starts an operation, or attaches to it when it runs already, and returns how it stands.
func (m *Machine) Start(ctx context.Context, operation spec.Operation) (spec.Status, error) {
	var status spec.Status
	input, err := json.Marshal(operation)
	if err != nil {
		return status, fmt.Errorf("starting operation %q on machine %q: encoding it: %w", operation.ID, m.name, err)
	}
	if err := m.ask(ctx, &status, input, "start"); err != nil {
		return status, fmt.Errorf("starting operation %q on machine %q: %w", operation.ID, m.name, err)
	}
	return status, nil
}

// Cancel asks an operation to stop at its next safe point; Watch shows when it has.
func (m *Machine) Cancel(ctx context.Context, id string) error {
	if err := m.ask(ctx, &spec.Status{}, nil, "cancel", "--id", id); err != nil {
		return fmt.Errorf("cancelling operation %q on machine %q: %w", id, m.name, err)
	}
	return nil
}

// Admit lets a join that waits for its admission ask the cluster's API server.
func (m *Machine) Admit(ctx context.Context, id string) error {
	if err := m.ask(ctx, &spec.Status{}, nil, "admit", "--id", id); err != nil {
		return fmt.Errorf("admitting operation %q on machine %q: %w", id, m.name, err)
	}
	return nil
}

// ask runs argosy-node once and decodes the one object that it prints.
func (m *Machine) ask(ctx context.Context, answer any, input []byte, args ...string) error {
	client, err := m.connect(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	result, err := m.run(ctx, client, agentCommand{args: args, input: input})
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(result.Stdout))
	if err := decoder.Decode(answer); err != nil {
		return fmt.Errorf("reading the answer %[2]q of `argosy-node %[1]s`: %[3]w", strings.Join(args, " "),
			shorten(result.Stdout), err)
	}
	return nil
}

// shorten cuts text to a length that can be quoted in a message.
func shorten(text []byte) []byte { return text[:min(len(text), 200)] }

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// bundlePath returns the path of a bundle: its digest and the ending for its compression. The rest of its name, which
// comes from outside, is not used.
func (m *Machine) bundlePath(bundle spec.Bundle) (string, error) {
	if !hexDigest.MatchString(bundle.SHA256) {
		return "", errclass.Errorf(errclass.Configuration, "naming bundle %q: %q is not a sha256 in hex", bundle.Name,
			bundle.SHA256)
	}
	for _, ending := range []string{".tar.gz", ".tar.zst"} {
		if strings.HasSuffix(bundle.Name, ending) {
			return path.Join(m.bundlesDir, bundle.SHA256+ending), nil
		}
	}
	return "", errclass.Errorf(errclass.Configuration, "naming bundle %q: it ends neither in .tar.gz nor in .tar.zst",
		bundle.Name)
}
