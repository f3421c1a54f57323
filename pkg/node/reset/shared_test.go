package reset

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// ownProcess has the test run in a process with mounts of its own, which only root may, and reports whether it is that
// process. A thread with its own mounts would not do: /proc/self shows those of the process.
func ownProcess(t *testing.T) bool {
	t.Helper()
	const variable = "ARGOSY_TEST_OWN_PROCESS"
	if os.Getenv(variable) == t.Name() {
		assert.NilError(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("only root has mounts of its own")
	}
	command := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), variable+"="+t.Name())
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	output, err := command.CombinedOutput()
	assert.NilError(t, err, string(output))
	assert.Assert(t, strings.Contains(string(output), "--- PASS: "+t.Name()), string(output))
	return false
}

// mounter makes real mounts.
type mounter struct{ t *testing.T }

func (m mounter) disk(dir string) {
	assert.NilError(m.t, os.MkdirAll(dir, 0o755))
	assert.NilError(m.t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	assert.NilError(m.t, os.WriteFile(filepath.Join(dir, "file"), []byte("the owner's"), 0o600))
}

func (m mounter) shared(dir string) {
	assert.NilError(m.t, unix.Mount("", dir, "", unix.MS_SHARED, ""))
}

func (m mounter) bind(from, to string) {
	assert.NilError(m.t, os.MkdirAll(to, 0o755))
	assert.NilError(m.t, unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""))
}

// unmountPods runs the phase on this process's own mounts.
func unmountPods(t *testing.T) {
	t.Helper()
	h := &host.Host{Runner: host.Processes{}}
	var log bytes.Buffer
	n := &node.Context{Operation: &spec.Operation{ID: "reset-1"}, Host: h, Store: node.NewStore(h), Log: &log}
	c := &cleaner{kernel: linux{}, goneTimeout: goneTimeout, node: true}
	_, err := c.unmount(t.Context(), n)
	assert.NilError(t, err, log.String())
	left, err := podMounts(h)
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0, "%v", left)
}

func TestOwnersMountsOutlivePodsThatBindThem(t *testing.T) {
	if !ownProcess(t) {
		return
	}
	m := mounter{t}
	// A machine's /var/lib and /srv of this process alone.
	m.disk("/var/lib")
	m.shared("/var/lib")
	m.disk("/srv")
	m.shared("/srv")
	const pod = "/var/lib/kubelet/pods/1/volumes/kubernetes.io~"
	m.disk("/srv/before")
	m.bind("/srv", pod+"local/whole")
	m.bind("/srv/before", pod+"local/part")
	m.bind(pod+"local/whole", "/var/lib/kubelet/pods/2/volumes/again")
	// A mount on one of the peers is on all.
	m.disk("/srv/after")
	m.disk("/srv/after/beneath")
	m.disk(pod + "empty-dir/memory")
	for _, seen := range []string{
		pod + "local/whole/after/beneath/file",
		"/var/lib/kubelet/pods/2/volumes/again/after/file",
	} {
		_, err := os.Stat(seen)
		assert.NilError(t, err, "the mounts are not shared, so this shows nothing")
	}

	unmountPods(t)

	for _, dir := range []string{"/srv", "/srv/before", "/srv/after", "/srv/after/beneath"} {
		content, err := os.ReadFile(filepath.Join(dir, "file"))
		assert.NilError(t, err, fmt.Sprintf("%s is unmounted", dir))
		assert.Equal(t, string(content), "the owner's")
	}
}

func TestMountsUponMountsOfPodsAllGo(t *testing.T) {
	if !ownProcess(t) {
		return
	}
	m := mounter{t}
	m.disk("/var/lib")
	m.shared("/var/lib")
	for range 3 {
		m.disk("/var/lib/kubelet/pods/1/volumes/x")
		m.shared("/var/lib/kubelet/pods/1/volumes/x")
		m.disk("/var/lib/kubelet/pods/1/volumes/x/y")
	}
	unmountPods(t)
}

func TestHiddenMountsAreThePods(t *testing.T) {
	if !ownProcess(t) {
		return
	}
	m := mounter{t}
	m.disk("/var/lib")
	m.shared("/var/lib")
	m.disk("/srv")
	m.shared("/srv")
	m.disk("/srv/own")
	// A volume that was mounted again, as after a kubelet's restart, hides the first one with the owner's disk in it.
	const volume = "/var/lib/kubelet/pods/1/volumes/local"
	m.bind("/srv", volume)
	m.disk(volume)
	unmountPods(t)
	content, err := os.ReadFile("/srv/own/file")
	assert.NilError(t, err, "the owner's disk is unmounted")
	assert.Equal(t, string(content), "the owner's")
}

func TestManyMountsUponEachOtherAllGo(t *testing.T) {
	if !ownProcess(t) {
		return
	}
	m := mounter{t}
	m.disk("/var/lib")
	m.shared("/var/lib")
	for range 2 * mountRounds {
		m.disk("/var/lib/kubelet/pods/1/volumes/x")
		m.shared("/var/lib/kubelet/pods/1/volumes/x")
	}
	unmountPods(t)
}
