package inspect

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// fakePrograms answers every program with its version.
type fakePrograms struct{ calls int }

func (f *fakePrograms) Run(_ context.Context, c host.Command) ([]byte, error) {
	f.calls++
	return []byte(filepath.Base(c.Argv[0]) + " github.com/x/y v1.7.27 0123abc\n"), nil
}

func machine(t *testing.T, files map[string]string) (*host.Host, *fakePrograms) {
	t.Helper()
	programs := &fakePrograms{}
	h := &host.Host{Root: t.TempDir(), Runner: programs}
	for name, content := range files {
		assert.NilError(t, os.MkdirAll(filepath.Dir(h.Path(name)), 0o755))
		assert.NilError(t, os.WriteFile(h.Path(name), []byte(content), 0o755))
	}
	return h, programs
}

func TestACleanMachineIsDescribedByItsFiles(t *testing.T) {
	h, programs := machine(t, map[string]string{
		"/etc/os-release":            "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		"/proc/sys/kernel/hostname":  "m1\n",
		"/proc/sys/kernel/osrelease": "6.1.0\n", "/proc/meminfo": "MemTotal: 1024 kB\n", "/proc/1/comm": "systemd\n",
		"/run/systemd/system/x": "",
	})
	facts, err := Machine(context.Background(), h, node.NewStore(h))
	assert.NilError(t, err)
	assert.Equal(t, facts.OS, "Debian GNU/Linux 12 (bookworm)")
	assert.Equal(t, facts.Hostname, "m1")
	assert.Equal(t, facts.MemoryBytes, int64(1<<20))
	assert.Equal(t, facts.CgroupVersion, 1)
	assert.Assert(t, facts.Systemd)
	assert.DeepEqual(t, facts.Kubelet, spec.Kubelet{})
	assert.DeepEqual(t, facts.Containerd, spec.Containers{})
	assert.Assert(t, facts.Record == nil)
	assert.Equal(t, programs.calls, 0)
}

func TestAKubeletInAContainerIsNotTheMachines(t *testing.T) {
	for name, namespace := range map[string]string{"the machine's": "pid:[1]", "a container's": "pid:[2]"} {
		t.Run(name, func(t *testing.T) {
			h, _ := machine(t, map[string]string{
				"/etc/systemd/system/kubelet.service": Mark +
					"\n", "/proc/7/comm": "kubelet\n", "/proc/7/ns/x": "", "/proc/self/ns/x": "",
			})
			assert.NilError(t, os.Symlink("pid:[1]", h.Path("/proc/self/ns/pid")))
			assert.NilError(t, os.Symlink(namespace, h.Path("/proc/7/ns/pid")))
			assert.Equal(t, Kubelet(h, Processes(h), nil).Active, namespace == "pid:[1]")
		})
	}
}

func TestOnlyForeignContainerdIsAskedForItsVersion(t *testing.T) {
	h, programs := machine(t, map[string]string{
		"/lib/systemd/system/containerd.service": "[Unit]\n", "/usr/bin/containerd": "x",
		"/proc/7/comm": "containerd\n",
	})
	facts, err := Machine(context.Background(), h, node.NewStore(h))
	assert.NilError(t, err)
	assert.DeepEqual(t, facts.Containerd, spec.Containers{Present: true, Active: true, Version: "v1.7.27"})
	assert.Equal(t, programs.calls, 1)

	h, programs = machine(t, map[string]string{
		"/etc/systemd/system/containerd.service":        Mark + ": containerd\n",
		"/usr/local/bin/.argosy/abc/release/containerd": "x",
	})
	assert.NilError(t, os.Link(h.Path("/usr/local/bin/.argosy/abc/release/containerd"),
		h.Path("/usr/local/bin/containerd")))
	manifest, err := (&bundle.Manifest{Versions: map[string]string{"containerd": "v2.1.4"}}).Encode()
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(h.Path("/usr/local/bin/.argosy/abc/"+bundle.CompleteFile), manifest, 0o644))
	facts, err = Machine(context.Background(), h, node.NewStore(h))
	assert.NilError(t, err)
	assert.DeepEqual(t, facts.Containerd, spec.Containers{Present: true, Version: "v2.1.4", Ours: true})
	assert.Equal(t, programs.calls, 0)
}

func TestVersionsAreFoundInWhatProgramsSay(t *testing.T) {
	for output, want := range map[string]string{
		"Kubernetes v1.34.4\n": "v1.34.4", "containerd github.com/containerd/containerd/v2 v2.2.9 abc": "v2.2.9",
		"containerd containerd.io 1.7.27 05044ec": "v1.7.27", "nothing": "", "": "",
	} {
		assert.Equal(t, ParseVersion(output), want, output)
	}
}

func TestAnIPv6ListenerIsFound(t *testing.T) {
	h, _ := machine(t, map[string]string{
		"/proc/net/tcp": "  sl  local_address rem_address   st\n   0: 0100007F:280A 0100007F:9999 01 " +
			"00000000:00000000 00:00000000 00000000 0 0 1 1 0\n",
		"/proc/net/tcp6": "  sl  local_address rem_address   st\n   0: 00000000000000000000000000000000:280A " +
			"00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 55 1 0\n",
		"/proc/9/comm": "kubelet\n", "/proc/9/fd/x": "",
	})
	assert.Equal(t, Listener(h, 10250), "a process that is not visible here")
	assert.NilError(t, os.Symlink("socket:[55]", h.Path("/proc/9/fd/4")))
	assert.Equal(t, Listener(h, 10250), "kubelet (pid 9)")
	assert.Equal(t, Listener(h, 10251), "")
}
