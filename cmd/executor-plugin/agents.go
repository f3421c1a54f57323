package main

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"sync"

	"argosy.dev/argosy/pkg/fault"
)

//go:embed all:agents
var agentFiles embed.FS

// agents gives out the argosy-node binaries that were built into this program.
type agents struct {
	mu     sync.Mutex
	digest map[string]string
}

// Binary returns argosy-node for arch, a Go architecture name, and its sha256.
func (a *agents) Binary(arch string) ([]byte, string, error) {
	data, err := agentFiles.ReadFile("agents/argosy-node-" + arch)
	if err != nil {
		return nil, "", fault.As(fault.Permanent, fmt.Errorf("this executor-plugin carries no argosy-node for architecture %q; it has those that `make build` made (amd64, arm64)", arch))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.digest == nil {
		a.digest = map[string]string{}
	}
	if a.digest[arch] == "" {
		sum := sha256.Sum256(data)
		a.digest[arch] = hex.EncodeToString(sum[:])
	}
	return data, a.digest[arch], nil
}
