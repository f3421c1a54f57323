package main

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"sync"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/machine"
	"argosy.dev/argosy/pkg/ssh"
)

//go:embed all:agents
var agentFiles embed.FS

// agents gives out the argosy-node binaries that were built into this program. They are read where they lie: a copy for
// each of fifty machines would be most of the plugin's memory.
type agents struct {
	mu     sync.Mutex
	opened map[string]machine.Program
}

// Program returns argosy-node for arch, a Go architecture name.
func (a *agents) Program(arch string) (machine.Program, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if program, ok := a.opened[arch]; ok {
		return program, nil
	}
	program, err := openAgent(arch)
	if err != nil {
		return machine.Program{}, errclass.Errorf(errclass.Permanent,
			"this executor-plugin carries no argosy-node for architecture %q; it has those that `make build` made "+
				"(amd64, arm64): %w", arch, err)
	}
	if a.opened == nil {
		a.opened = map[string]machine.Program{}
	}
	a.opened[arch] = program
	return program, nil
}

func openAgent(arch string) (machine.Program, error) {
	file, err := agentFiles.Open("agents/argosy-node-" + arch)
	if err != nil {
		return machine.Program{}, err
	}
	content, ok := file.(io.ReaderAt)
	if !ok {
		return machine.Program{}, fmt.Errorf("reading %T at an offset", file)
	}
	digest := sha256.New()
	size, err := io.Copy(digest, file)
	if err != nil {
		return machine.Program{}, err
	}
	return machine.Program{SHA256: hex.EncodeToString(digest.Sum(nil)), Size: size,
		Source: ssh.FromReaderAt(content, size)}, nil
}
