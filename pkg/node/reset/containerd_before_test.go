package reset

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

const images = containerdRoot + "/io.containerd.metadata.v1.bolt/meta.db"

func TestTheDataOfAContainerdThatWasThereBeforeStays(t *testing.T) {
	m := newNotedNode(t)
	m.write(containerdUnit, "[Service]\n")
	had := original.Containerd{Active: true, Data: []string{containerdRoot}}
	assert.NilError(t, original.NoteContainerd(m.host, had))
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	assert.Assert(t, m.host.Exists(images) && !m.host.Exists(containerdState+"/io.containerd.runtime.v2.task"))
	assert.Assert(t, strings.Contains(log, containerdRoot+" stays, since there was data in it before Argosy"), log)
	assert.Assert(t, strings.Contains(log, "the containerd of "+layout.Unit("containerd")+" runs again"), log)
	reload := slices.Index(m.calls, "systemctl daemon-reload")
	assert.Assert(t, reload >= 0 && slices.Index(m.calls, "systemctl start containerd.service") > reload, "%v", m.calls)

	m.calls = nil
	status, log = m.reset()
	assert.Assert(t, !status.Changed && m.host.Exists(images), log)
	assert.Equal(t, len(m.calls), 0, "%v", m.calls)
}

func TestUnitsAreReadAgainBeforeTheOwnersContainerdStarts(t *testing.T) {
	// As after a reset that was killed when it had removed Argosy's unit, which systemd still has in memory.
	m := newMachine(t)
	m.write(containerdUnit, "[Service]\n")
	assert.NilError(t, original.NoteContainerd(m.host, original.Containerd{Active: true}))
	_, err := removeRecords(t.Context(), m.nodeContext())
	assert.NilError(t, err)
	assert.DeepEqual(t, m.calls, []string{"systemctl daemon-reload", "systemctl start containerd.service"})
}

func TestAContainerdThatDidNotRunBeforeIsNotStarted(t *testing.T) {
	m := newNotedNode(t)
	assert.NilError(t, original.NoteContainerd(m.host, original.Containerd{}))
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	assert.Assert(t, !m.host.Exists(containerdRoot), "it was Argosy's from the start")
	assert.Assert(t, !slices.Contains(m.calls, "systemctl start containerd.service"), "%v", m.calls)
}

func TestOwnersContainerdThatCannotStartIsARemark(t *testing.T) {
	m := newNotedNode(t)
	assert.NilError(t, original.NoteContainerd(m.host, original.Containerd{Active: true}))
	m.fails = map[string]error{"systemctl start containerd.service": errors.New("exit status 1")}
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	assert.Assert(t, strings.Contains(log, "ran before Argosy's and cannot be started"), log)
}
