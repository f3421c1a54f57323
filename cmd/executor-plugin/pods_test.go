package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestPodsRunOnlyKnownCommands looks for command lines of this program in the golden manifests of control planes and
// Jobs, and has the program parse them.
func TestPodsRunOnlyKnownCommands(t *testing.T) {
	seen := map[string]int{}
	for _, pattern := range []string{
		"../../internal/controlplane/testdata/*.yaml",
		"../../internal/controlplane/*/testdata/*.yaml",
	} {
		files, err := filepath.Glob(pattern)
		assert.NilError(t, err)
		for _, file := range files {
			content, err := os.ReadFile(file)
			assert.NilError(t, err)
			for _, document := range strings.Split(string(content), "\n---\n") {
				for _, args := range commandLines(t, document) {
					found, rest, err := rootCommand().Find(args)
					assert.NilError(t, err)
					assert.Assert(t, found.HasParent() && !found.HasSubCommands(), "%s: %v", file, args)
					assert.NilError(t, found.ParseFlags(rest), "%s: %v", file, args)
					seen[found.CommandPath()]++
				}
			}
		}
	}
	for _, want := range []string{
		"bundle serve", "install-to", "await-end", "store dump", "store prepare",
		"store load", "store run-member",
	} {
		assert.Assert(t, seen["executor-plugin "+want] > 0, "no pod runs %q: %v", want, seen)
	}
}

// commandLines returns the arguments of this program in all containers of an object, and in their hooks.
func commandLines(t *testing.T, object string) [][]string {
	t.Helper()
	var tree struct {
		Spec struct {
			Template struct {
				Spec corev1.PodSpec `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	encoded, err := yaml.YAMLToJSON([]byte(object))
	assert.NilError(t, err)
	if json.Unmarshal(encoded, &tree) != nil {
		return nil // not an object with pods
	}
	var lines [][]string
	pod := tree.Spec.Template.Spec
	for _, container := range append(pod.InitContainers, pod.Containers...) {
		if strings.Contains(container.Image, "executor-plugin") && len(container.Command) == 0 {
			lines = append(lines, container.Args)
		}
		commands := [][]string{append(container.Command, container.Args...)}
		if container.Lifecycle != nil && container.Lifecycle.PreStop != nil && container.Lifecycle.PreStop.Exec != nil {
			commands = append(commands, container.Lifecycle.PreStop.Exec.Command)
		}
		for _, command := range commands {
			if len(command) > 0 && strings.HasSuffix(command[0], "/executor-plugin") {
				lines = append(lines, command[1:])
			}
		}
	}
	return lines
}
