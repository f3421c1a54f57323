package join

import (
	"context"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/spec"
)

// nodeThatKnows is a machine that has joined at an address which does not answer, of a cluster that answers at another.
func nodeThatKnows(t *testing.T, gone string) *machine {
	t.Helper()
	m := nodeWithSettings(t)
	m.fakeAPI(0)
	m.join.CACert += m.ca.PEM
	m.joined(m.ca, gone, "m1", time.Now().Add(time.Hour))
	return m
}

// gone is an address on which nothing listens.
const gone = "https://127.0.0.1:1"

func TestACutOffKubeletMovesToTheAddressThatAnswers(t *testing.T) {
	m := nodeThatKnows(t, gone)
	before := m.read(inspect.KubeletConf)
	holds, detail, err := checkPreflight(context.Background(), m.context)
	assert.NilError(t, err)
	assert.Assert(t, holds)
	assert.Equal(t, detail, "the machine is node m1 of this cluster already, which it knows at "+gone+
		", where it does not answer; the kubelet moves to "+m.join.Server)

	changes := m.differences(checkSettings)
	assert.Equal(t, len(changes), 1)
	assert.Equal(t, changes[0].What, inspect.KubeletConf)
	assert.Equal(t, changes[0].Effect, spec.RestartsKubelet)
	assert.Assert(t, strings.Contains(changes[0].Diff, "-server: "+gone+"\n+server: "+m.join.Server+"\n"))
	assert.Equal(t, apply(t, m, applySettings), "moved to "+m.join.Server+", kubelet restarted")
	assert.Equal(t, m.restarts(), 1)
	assert.Equal(t, kubeletServer(m.host), m.join.Server)
	assert.Equal(t, notJoined(m.host, m.context.Operation.Join), "", "it is the same node")
	assert.Assert(t, !strings.Contains(m.read(inspect.KubeletConf), gone))
	assert.Assert(t, before != m.read(inspect.KubeletConf))
	assert.Equal(t, len(m.differences(checkSettings)), 0)
}

func TestAKubeletThatMovedIsRestartedAfterAnInterruption(t *testing.T) {
	m := nodeThatKnows(t, gone)
	m.programs.answers["systemctl"] = func([]string) (string, error) { return "", context.Canceled }
	_, err := applySettings(context.Background(), m.context)
	assert.ErrorIs(t, err, context.Canceled)
	delete(m.programs.answers, "systemctl")
	assert.Equal(t, kubeletServer(m.host), m.join.Server)
	restarts := m.restarts()
	assert.Assert(t, !holds(t, m, checkSettings), "the kubelet has not read it yet")
	apply(t, m, applySettings)
	assert.Equal(t, m.restarts(), restarts+1)
	assert.Assert(t, holds(t, m, checkSettings))
}

func TestAKubeletStaysAtAnAddressThatAnswers(t *testing.T) {
	m := nodeThatKnows(t, gone)
	server := m.fakeAPI(0)
	m.join.CACert += m.ca.PEM
	known := m.join.Server
	m.joined(m.ca, known, "m1", time.Now().Add(time.Hour))
	m.fakeAPI(0)
	m.join.CACert += m.ca.PEM
	assert.Equal(t, len(m.differences(checkSettings)), 0)
	apply(t, m, applySettings)
	assert.Equal(t, kubeletServer(m.host), known)

	server.Close()
	assert.Equal(t, len(m.differences(checkSettings)), 1, "it does not answer any more")
	m.context.Operation.Kind = spec.KindUpgrade
	_, err := ServerChange(context.Background(), m.context)
	assert.ErrorContains(t, err, "which it knows at "+known+", and the cluster is at "+m.join.Server+" now")
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
}
