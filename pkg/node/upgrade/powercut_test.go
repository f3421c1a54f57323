package upgrade

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/nodetest"
	"argosy.dev/argosy/pkg/node/nodetest/powercut"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

// diskSize is enough for two small bundles.
const diskSize = 64 << 20

// cuttable is a machine on a disk whose power can be cut.
type cuttable struct {
	*machine
	// disk is nil for a machine whose power stays. tree has the saved files.
	disk *powercut.Disk
	tree string
	// boots counts how often it was started.
	boots int

	image *powercut.Image
	saved machine
}

func newCuttable(t *testing.T, change ...func(m *machine)) *cuttable {
	t.Helper()
	disk := powercut.New(t, diskSize)
	c := newRestorable(t, disk.Dir, change...)
	c.disk = disk
	return c
}

// newRestorable returns a machine below this folder whose files can be restored, and whose power stays.
func newRestorable(t *testing.T, root string, change ...func(m *machine)) *cuttable {
	t.Helper()
	c := &cuttable{machine: newMachine(t, root, append(change, (*machine).ownersFiles)...), tree: nodetest.Root(t)}
	c.answersJoins()
	c.stop()
	c.start()
	return c
}

// ownersFiles are the machine's owner's, which no operation may lose.
func (m *machine) ownersFiles() {
	for _, files := range []map[string]string{keptOwners, replacedOwners} {
		for name, content := range files {
			m.write(name, content)
		}
	}
}

// keptOwners stay where they are, and replacedOwners are kept somewhere else once the machine has joined.
var (
	keptOwners = map[string]string{
		"/usr/local/bin/backup": "the owner's script", "/etc/containerd/conf.d/site.toml": "version = 3\n",
		"/srv/data/rows": "the owner's data",
	}
	replacedOwners = map[string]string{
		"/usr/local/bin/runc": "the owner's runc", layout.ContainerdConfig: "# the owner's\n",
	}
)

// answersJoins makes the cluster's API server answer, and the machine as preflight wants one.
func (m *machine) answersJoins() {
	m.t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	certificate := m.ca.Server(m.t, "127.0.0.1")
	server.TLS = certificate
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	m.t.Cleanup(server.Close)
	m.join.Server = server.URL
	m.token = "abcdef.0123456789abcdef"
	m.write("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 m1\n")
}

// save remembers the machine as it is, on its disk and beside it.
func (c *cuttable) save() {
	c.t.Helper()
	c.stop()
	if c.disk != nil {
		c.image = c.disk.Save()
	} else {
		copyTree(c.t, c.host.Root, c.tree)
	}
	c.saved = *c.machine
	c.start()
}

// load brings back the saved machine.
func (c *cuttable) load() {
	c.t.Helper()
	c.stop()
	if c.disk != nil {
		c.disk.Load(c.image)
	} else {
		copyTree(c.t, c.tree, c.host.Root)
	}
	*c.machine = c.saved
	c.start()
}

// copyTree makes a folder the same as another, with the times, modes and links of its files.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	assert.NilError(t, os.RemoveAll(to))
	output, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput()
	assert.NilError(t, err, "%s", output)
}

func (c *cuttable) stop() {
	c.quit()
}

// start switches the machine on: systemd starts the enabled services, if its unit and program are
// there.
func (c *cuttable) start() {
	c.t.Helper()
	c.boots++
	c.runs, c.images, c.calls = map[string]string{}, slices.Clone(c.images), nil
	assert.NilError(c.t, errors.Join(os.RemoveAll(c.host.Path("/proc")), os.RemoveAll(c.host.Path("/run"))))
	c.clean()
	c.write("/proc/meminfo", "MemTotal:        4000000 kB\n")
	c.write("/proc/sys/kernel/random/boot_id", strings.Repeat("b", c.boots)+"\n")
	c.listensAt()
	if c.host.Exists(layout.SysctlFile) {
		c.write("/proc/sys/net/ipv4/ip_forward", "1\n")
	}
	for _, service := range []string{"containerd", "kubelet"} {
		needs := []string{layout.EnabledLink(service), layout.Unit(service), "/usr/local/bin/" + service}
		if service == "kubelet" {
			needs = append(needs, layout.KubeletConfig, layout.KubeletFlags)
		}
		if !slices.ContainsFunc(needs, func(name string) bool { return !c.host.Exists(name) }) {
			c.systemd([]string{"start", service + ".service"})
		}
	}
}

// cutAt has the power fail at the nth change of the operation, and reports whether it came so far, and at which.
func (c *cuttable) cutAt(kind spec.Kind, n int) (cut bool, at host.Change) {
	c.t.Helper()
	end := c.disk.CutAt(c.host, n, func() { c.killAfter = 0 })
	op := c.operation(kind)
	err := errors.Join(c.store.Prepare(op.ID), c.store.WriteOperation(op))
	var logged bytes.Buffer
	if err == nil {
		_, err = c.engine().Run(context.Background(), op.ID, context.Background(), &logged)
	}
	cut, at = end()
	c.killAfter = -1
	if cut {
		c.stop()
		c.disk.Restart()
		c.start()
	} else {
		assert.NilError(c.t, err, logged.String())
	}
	return cut, at
}

// intact makes sure that nothing on the disk is half: each file is as before the operation or as after it, or one
// that the operation may leave anywhere.
func (c *cuttable) intact(before, after map[string]file, at host.Change) {
	c.t.Helper()
	passing := []string{
		spec.BundlesDir, keptDir, keptBinaries(c.join), layout.Store(c.join.BinariesPath) + "/.",
		spec.PreviousFile, spec.KubeletFile, spec.RecordFile, spec.HooksFile,
		// The files of kubeadm, which syncs nothing.
		layout.KubeletDir, layout.KubernetesDir,
	}
	for name, is := range c.files() {
		if filepath.Base(name) == bundle.CompleteFile {
			// Every run has its own times in it.
			assert.Assert(c.t, json.Valid([]byte(is.content)), "after a cut at %s %s, %s holds %q",
				at.Op, at.Name, name, is.content)
			continue
		}
		unfinished := strings.HasSuffix(name, ".tmp") || slices.ContainsFunc(passing, func(prefix string) bool {
			return strings.HasPrefix(name, prefix)
		})
		if unfinished {
			continue
		}
		was, there := before[name]
		will, stays := after[name]
		assert.Assert(c.t, there && was.content == is.content || stays && will.content == is.content,
			"after a cut at %s %s, %s has %d bytes that it had neither before nor after",
			at.Op, at.Name, name, len(is.content))
	}
	for _, name := range []string{spec.RecordFile, spec.KubeletFile, spec.HooksFile, spec.PreviousFile} {
		if content, err := c.host.ReadFile(name); err == nil {
			assert.Assert(c.t, json.Valid(content), "after a cut at %s %s, %s holds %q",
				at.Op, at.Name, name, content)
		}
	}
	facts, err := inspect.Machine(c.t.Context(), c.host, c.store)
	assert.NilError(c.t, err)
	assert.Equal(c.t, len(facts.Unreadable), 0, "%v", facts.Unreadable)
	for name, content := range keptOwners {
		assert.Equal(c.t, c.read(name), content)
	}
	for name, content := range replacedOwners {
		c.hasOriginal(name, content)
	}
}

// hasOriginal makes sure that a file of the owner's is where it was, or where Argosy keeps it.
func (c *cuttable) hasOriginal(name, content string) {
	c.t.Helper()
	if is, err := c.host.ReadFile(name); err == nil && string(is) == content {
		return
	}
	note, err := original.Read(c.host)
	assert.NilError(c.t, err)
	entry := note.Entries[name]
	assert.Assert(c.t, entry != nil, "nothing is noted of %s", name)
	assert.Equal(c.t, c.read(filepath.Join(original.Dir, entry.Copy)), content)
}

// sweep cuts the power at every change of an operation that begins with the machine as it is, and runs it again.
func (c *cuttable) sweep(kind spec.Kind) {
	c.t.Helper()
	c.save()
	before := c.files()
	c.succeeds(kind)
	wanted := withoutTimes(c.beside())
	after := c.files()
	ops, ended := map[host.Op]int{}, map[string]int{}
	for n := 1; ; n++ {
		c.load()
		cut, at := c.cutAt(kind, n)
		if !cut {
			assert.Assert(c.t, n > 20, "%d changes", n)
			c.t.Logf("%s: power cut at each of %d changes %v; then the machine was %v; all went on to the end",
				kind, n-1, ops, ended)
			return
		}
		ops[at.Op]++
		c.intact(before, after, at)
		ended[c.stands(kind, before)]++
		closed := c.commandsClosed()
		c.resendBundle()
		status := c.runsKind(kind)
		assert.Equal(c.t, status.State, spec.Succeeded, "after a cut at change %d, %s %s: %s: %s",
			n, at.Op, at.Name, status.Phase, status.Message)
		assert.DeepEqual(c.t, withoutTimes(c.beside()), wanted)
		if again := c.called("sh -e " + c.store.Dir("join-1") + "/pre-install"); closed {
			assert.Equal(c.t, again, 0, "after a cut at change %d, %s %s", n, at.Op, at.Name)
		}
		assert.Equal(c.t, c.plan(kind).State, spec.Succeeded)
	}
}

// commandsClosed reports whether the machine is a node by now, or has noted its command before the installation, as
// far as is left of that after a loss of power: then the command must not run again.
func (c *cuttable) commandsClosed() bool {
	var note struct {
		Succeeded map[string][]string `json:"succeeded"`
	}
	_ = node.ReadState(c.host, spec.HooksFile, &note)
	return c.host.Exists(inspect.KubeletConf) || len(note.Succeeded["pre-install"]) > 0
}

// resendBundle sends a bundle that is not there any more, as the plugin does.
func (c *cuttable) resendBundle() {
	name := spec.BundlesDir + "/" + c.join.Bundle.SHA256 + ".tar.gz"
	if !c.host.Exists(name) {
		c.write(name, c.archives[c.join.Bundle.SHA256])
	}
}

// stands tells how a machine stands for the operation.
func (c *cuttable) stands(kind spec.Kind, before map[string]file) string {
	if c.plan(kind).State == spec.Succeeded {
		return "done"
	}
	if maps.Equal(withoutTimes(before), withoutTimes(c.files())) {
		return "as before"
	}
	return "in between"
}

// withoutTimes leaves out times, and which file a program's is.
func withoutTimes(files map[string]file) map[string]string {
	contents := map[string]string{}
	for name, one := range files {
		// A note that all is over need not tell that the machine has joined.
		if name == spec.HooksFile && strings.Contains(one.content, `"finished":true`) {
			continue
		}
		if name == spec.RecordFile || name == spec.KubeletFile || filepath.Base(name) == "kubelet-client-current.pem" {
			continue
		}
		contents[name] = one.mode.String() + " " + one.content
	}
	return contents
}

func TestPowerCutDuringJoinIsRepairedByTheNext(t *testing.T) {
	powercut.Run(t, func(t *testing.T) {
		newCuttable(t, func(m *machine) {
			m.join.Hooks = spec.Hooks{PreInstall: []string{"mkfs /dev/sdb"}, PostJoin: []string{"true"}}
		}).sweep(spec.KindJoin)
	})
}

func TestPowerCutDuringUpgradeIsRepairedByTheNext(t *testing.T) {
	powercut.Run(t, func(t *testing.T) {
		c := newCuttable(t)
		c.succeeds(spec.KindJoin)
		c.wantsNewer()
		c.sweep(spec.KindUpgrade)
	})
}

func TestPowerCutDuringRollbackIsRepairedByTheNext(t *testing.T) {
	powercut.Run(t, func(t *testing.T) {
		c := newCuttable(t)
		c.succeeds(spec.KindJoin)
		c.wantsNewer()
		c.succeeds(spec.KindUpgrade)
		c.sweep(spec.KindRollback)
	})
}
