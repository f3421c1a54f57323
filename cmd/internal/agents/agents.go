// Package agents embeds argosy-node for each architecture that machines may have.
package agents

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/machine"
	"argosy.dev/argosy/pkg/ssh"
)

//go:embed all:programs
var files embed.FS

// Embedded gives out the argosy-node programs that were built into this program. They are read where they are: a copy
// for each of fifty machines would be most of the plugin's memory.
type Embedded struct {
	mu     sync.Mutex
	opened map[string]machine.Program
}

// Program returns argosy-node for arch, a Go architecture name.
func (e *Embedded) Program(arch string) (machine.Program, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if program, ok := e.opened[arch]; ok {
		return program, nil
	}
	program, err := open(arch)
	if err != nil {
		return machine.Program{}, errclass.Errorf(errclass.Permanent,
			"looking for argosy-node for architecture %q in this program: %w; `make build` embeds amd64 and arm64",
			arch, err)
	}
	if e.opened == nil {
		e.opened = map[string]machine.Program{}
	}
	e.opened[arch] = program
	return program, nil
}

func open(arch string) (machine.Program, error) {
	file, err := files.Open("programs/argosy-node-" + arch)
	if err != nil {
		return machine.Program{}, err
	}
	content, ok := file.(io.ReaderAt)
	if !ok {
		return machine.Program{}, fmt.Errorf("reading %T at an offset", file)
	}
	info, err := file.Stat()
	if err != nil {
		return machine.Program{}, fmt.Errorf("reading its size: %w", err)
	}
	digest, err := digestOf(arch, file)
	if err != nil {
		return machine.Program{}, err
	}
	return machine.Program{SHA256: digest, Size: info.Size(), Source: ssh.FromReaderAt(content, info.Size())}, nil
}

// digestOf returns the note of the build beside the program. Without a note it reads the program, which then stays in
// this process's memory.
func digestOf(arch string, program io.Reader) (string, error) {
	if noted, err := files.ReadFile("programs/argosy-node-" + arch + ".sha256"); err == nil {
		return strings.TrimSpace(string(noted)), nil
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, program); err != nil {
		return "", err
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}
