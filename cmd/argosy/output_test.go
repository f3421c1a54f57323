package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"gotest.tools/v3/assert"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/join"
)

// A folder that is not there shows that nothing was begun.
func TestAnUnknownFormatIsRefusedBeforeAnythingIsDone(t *testing.T) {
	for _, command := range []string{"plan", "status", "images list", "get clusters", "get machines", "report"} {
		args := append(strings.Fields(command), "--output", "jsn")
		if strings.HasPrefix(command, "get") || command == "report" {
			args = append(args, "--kubeconfig", "/nowhere", "--namespace", "a")
		} else {
			args = append(args, "--from", "/nowhere", "--cluster", "a")
		}
		_, code, err := run(t, args...)
		assert.ErrorContains(t, err, `invalid argument "jsn" for "-o, --output" flag: only `)
		assert.ErrorContains(t, err, "json")
		assert.Equal(t, code, program.ExitConfiguration, command)
	}
}

// A variable of a shell that is not set must not mean every machine.
func TestAnEmptyListOfMachinesIsNotAllOfThem(t *testing.T) {
	for _, command := range []string{"plan", "diff", "join", "reconcile", "upgrade", "images import"} {
		for _, empty := range []string{"", " ", ", "} {
			args := append(strings.Fields(command), "--from", "/nowhere", "--cluster", "a", "-m", empty)
			_, code, err := run(t, args...)
			assert.ErrorContains(t, err, "it names no machine", command)
			assert.Equal(t, code, program.ExitConfiguration)
		}
	}
}

// Programs read each list and each status in the two formats that kubectl has.
func TestEveryTableIsAlsoJSONAndYAML(t *testing.T) {
	tables := 0
	var check func(command *cobra.Command)
	check = func(command *cobra.Command) {
		if flag := command.Flags().Lookup("output"); flag != nil && strings.Contains(flag.Usage, "table") {
			tables++
			assert.Assert(t, strings.HasSuffix(flag.Usage, "json or yaml"), "%s: %s", command.CommandPath(), flag.Usage)
		}
		for _, child := range command.Commands() {
			check(child)
		}
	}
	check(rootCommand("argosy"))
	assert.Equal(t, tables, 5)
	var out bytes.Buffer
	assert.NilError(t, printPlan(&out, []join.Entry{{Machine: "m1", Action: join.ActionJoin}}, "yaml"))
	var read []join.Entry
	assert.NilError(t, yaml.UnmarshalStrict(out.Bytes(), &read))
	assert.Equal(t, read[0].Machine, "m1")
}
