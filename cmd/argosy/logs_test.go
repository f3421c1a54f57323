package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/factory"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/machine"
	"argosy.dev/argosy/pkg/ssh"
)

// logged is a machine whose log grows by a line with each look, and ends with the third.
type logged struct {
	machine.Connection
	looks *int
}

func (l logged) Run(_ context.Context, command ssh.Command) (ssh.Result, error) {
	*l.looks++
	from, err := strconv.Atoi(command.Argv[len(command.Argv)-2])
	if err != nil {
		return ssh.Result{}, err
	}
	state, log := "running", ""
	for i := range *l.looks {
		log += fmt.Sprintf("line %d\n", i+1)
	}
	if *l.looks >= 3 {
		state = "succeeded"
	}
	return ssh.Result{Stdout: fmt.Appendf(nil, "join-1\n{\"state\":%q}\n%s", state, log[from-1:])}, nil
}

func TestALogIsFollowedUntilTheOperationHasEnded(t *testing.T) {
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), []byte(
		"apiVersion: argosy.dev/v1alpha1\nkind: Fleet\nmachines: [{name: m1, address: 192.0.2.1}]\n"))
	assert.NilError(t, err)
	looks := 0
	connections := &factory.Connections{
		Cluster: cluster,
		Connect: func(context.Context, config.Machine) (machine.Connection, error) {
			return logged{looks: &looks}, nil
		},
	}
	var out, told bytes.Buffer
	err = logsRequest{machine: "m1", follow: true, every: time.Millisecond}.run(t.Context(), connections, &out, &told)
	assert.NilError(t, err)
	assert.Equal(t, out.String(), "line 1\nline 2\nline 3\n")
	assert.Equal(t, told.String(), "machine m1: operation join-1 running\nmachine m1: operation join-1 succeeded\n")

	err = logsRequest{machine: "m2"}.run(t.Context(), connections, &out, &told)
	assert.ErrorContains(t, err, `cluster "team-a" has no machine "m2" (did you mean "m1"?); it has m1`)
	cluster.Fleet.Machines = append(cluster.Fleet.Machines, config.Machine{Name: "m2"})
	for _, several := range []string{"m1,m2", "all"} {
		err = logsRequest{machine: several}.run(t.Context(), connections, &out, &told)
		assert.Assert(t, program.IsUsage(err), "%v", err)
		assert.ErrorContains(t, err, "a log is that of one machine, and \""+several+"\" are 2: m1, m2")
	}
}
