package reset

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/nodetest/powercut"
	"argosy.dev/argosy/pkg/node/spec"
)

// cuttable is a node on a disk whose power can be cut.
type cuttable struct {
	*machine
	disk  *powercut.Disk
	image *powercut.Image
	saved machine
}

func newCuttable(t *testing.T) *cuttable {
	t.Helper()
	c := &cuttable{disk: powercut.New(t, 32<<20)}
	c.machine = newNodeAt(t, c.disk.Dir)
	c.image, c.saved = c.disk.Save(), *c.machine
	return c
}

// load makes the machine the node again that it was.
func (c *cuttable) load() {
	c.t.Helper()
	c.disk.Load(c.image)
	*c.machine = c.saved
	c.mounts, c.links, c.rules = slices.Clone(c.mounts), slices.Clone(c.links), slices.Clone(c.rules)
}

// restart leaves the disk as after a loss of power, but no process, mount, link or rule. systemd starts a
// kubelet that is enabled and whole.
func (c *cuttable) restart() {
	c.t.Helper()
	c.disk.Restart()
	for _, dir := range []string{"/proc", "/run", "/sys"} {
		assert.NilError(c.t, os.RemoveAll(c.host.Path(dir)))
	}
	c.rules, c.services, c.killAfter, c.calls = nil, false, -1, nil
	c.ownersKernel()
	c.writeMounts()
	c.dockerRuns()
	whole := c.host.Exists(layout.EnabledLink("kubelet")) && c.host.Exists(layout.Unit("kubelet"))
	if whole && c.host.Exists("/usr/local/bin/kubelet") {
		c.process(800, "kubelet", "/usr/local/bin/kubelet", "", "")
	}
}

// cutAt has the power fail at the nth change of a reset, and reports whether it came so far.
func (c *cuttable) cutAt(n int) (cut bool, at host.Change) {
	c.t.Helper()
	end := c.disk.CutAt(c.host, n, func() { c.killAfter = 0 })
	var logged bytes.Buffer
	err := errors.Join(c.store.Prepare(c.operation.ID), c.store.WriteOperation(c.operation))
	if err == nil {
		_, err = c.engine().Run(context.Background(), c.operation.ID, context.Background(), &logged)
	}
	cut, at = end()
	if cut {
		c.restart()
	} else {
		assert.NilError(c.t, err, logged.String())
	}
	return cut, at
}

// ownersPlaces are the files of the owner's, each with the places where it may be before, during and after a reset.
var ownersPlaces = map[string][]string{
	"the owner's runc":  {"/usr/local/bin/runc", "/usr/local/bin/.argosy/previous/runc"},
	"# the owner's\n":   {layout.ContainerdConfig, layout.ContainerdConfig + layout.KeptSuffix},
	"a user's data":     {volume + "/rows"},
	"somebody's script": {"/usr/local/bin/backup"},
	"somebody's plugin": {"/opt/cni/bin/macvlan"},
	"somebody's note":   {"/opt/local-path-provisioner/README"},
	"# by hand\n":       {"/etc/containerd/certs.d/registry.example.org/hosts.toml"},
	"version = 3\n":     {"/etc/containerd/conf.d/site.toml"},
}

// holdsOne reports whether one of the files has this content.
func (m *machine) holdsOne(places []string, content string) bool {
	return slices.ContainsFunc(places, func(name string) bool { return m.host.Holds(name, []byte(content)) })
}

// intact makes sure that nothing of the owner's is gone, and that the machine is still known for a node as long as
// anything of one is left.
func (c *cuttable) intact(at host.Change) (state string) {
	c.t.Helper()
	for content, places := range ownersPlaces {
		assert.Assert(c.t, c.holdsOne(places, content),
			"after a cut at %s %s, none of %v holds %q", at.Op, at.Name, places, content)
	}
	record, err := c.store.Record()
	assert.NilError(c.t, err, "after a cut at %s %s", at.Op, at.Name)
	plan := c.plan()
	if record == nil {
		for _, phase := range plan.Phases {
			assert.Assert(c.t, phase.Outcome == spec.Held || phase.Name == "forget",
				"after a cut at %s %s the record is gone, and phase %s is %s: %s",
				at.Op, at.Name, phase.Name, phase.Outcome, phase.Detail)
		}
	}
	switch {
	case plan.State == spec.Succeeded:
		return "done"
	case record == nil:
		return "clean but for older operations"
	}
	return "still known for a node"
}

func TestPowerCutDuringResetIsRepairedByTheNext(t *testing.T) {
	powercut.Run(t, func(t *testing.T) {
		c := newCuttable(t)
		ops, ended := map[host.Op]int{}, map[string]int{}
		for n := 1; ; n++ {
			c.load()
			cut, at := c.cutAt(n)
			if !cut {
				assert.Assert(t, n > 50, "%d changes", n)
				t.Logf("reset: power cut at each of %d changes %v; then the machine was %v; all went on to the end",
					n-1, ops, ended)
				return
			}
			ops[at.Op]++
			ended[c.intact(at)]++
			assert.NilError(t, c.store.Prepare(c.operation.ID))
			status, log := c.reset()
			assert.Equal(t, status.State, spec.Succeeded, "after a cut at change %d, %s %s: %s", n, at.Op, at.Name, log)
			assertClean(t, c.machine)
		}
	})
}
