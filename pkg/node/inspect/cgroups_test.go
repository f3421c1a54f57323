package inspect

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/host"
)

const (
	v1 = "30 20 0:30 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" +
		"31 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"32 30 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
		"33 30 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
	v2 = "30 20 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	// seen is how a container sees its host's groups where it has no namespace of its own for them.
	seen = "31 30 0:31 /docker/0123 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)

func TestOnlyPodsAtTheTopAreTheMachines(t *testing.T) {
	for name, test := range map[string]struct {
		mounts, self string
		// folders are beneath /sys/fs/cgroup, and groups are those of the process 901.
		folders []string
		groups  string
		pods    []string
		pod     string
	}{
		"version 1, driver cgroupfs": {
			v1, "4:memory:/\n3:cpu,cpuacct:/\n1:name=systemd:/",
			[]string{"memory/kubepods", "cpu,cpuacct/kubepods"},
			"4:memory:/kubepods/pod1/c1\n3:cpu,cpuacct:/kubepods/pod1/c1",
			[]string{
				"/sys/fs/cgroup/memory/kubepods",
				"/sys/fs/cgroup/cpu,cpuacct/kubepods",
			},
			"/kubepods/pod1/c1",
		},
		"version 1, driver systemd": {
			v1, "4:memory:/x\n1:name=systemd:/x",
			[]string{"systemd/kubepods.slice"},
			"1:name=systemd:/kubepods.slice/kubepods-pod1.slice/cri-containerd-c1.scope",
			[]string{"/sys/fs/cgroup/systemd/kubepods.slice"},
			"/kubepods.slice/kubepods-pod1.slice/cri-containerd-c1.scope",
		},
		"version 2": {
			v2, "0::/system.slice/argosy.service",
			[]string{"kubepods.slice"},
			"0::/kubepods.slice/kubepods-pod1.slice/c1.scope",
			[]string{"/sys/fs/cgroup/kubepods.slice"},
			"/kubepods.slice/kubepods-pod1.slice/c1.scope",
		},
		"kind in Docker, driver cgroupfs": {
			v1, "4:memory:/",
			[]string{"memory/docker/0123/kubelet/kubepods"},
			"4:memory:/docker/0123/kubelet/kubepods/pod1/c1", nil, "",
		},
		"kind in Docker, driver systemd": {
			v2, "0::/user.slice",
			[]string{"system.slice/docker-0123.scope/kubelet.slice/kubepods.slice"},
			"0::/system.slice/docker-0123.scope/kubelet.slice/kubepods.slice/pod1", nil, "",
		},
		"podman's containers": {
			v2, "0::/user.slice",
			[]string{"machine.slice"},
			"0::/machine.slice/libpod-0123.scope/kubepods/pod1", nil, "",
		},
		"a name that begins alike": {v2, "0::/x", []string{"kubepods-archive"}, "0::/kubepods-archive/job", nil, ""},
		"a machine that is a pod": {
			v2, "0::/kubepods.slice/pod7/c7",
			[]string{"kubepods.slice"},
			"0::/kubepods.slice/pod1/c1", nil, "",
		},
		"in a pod, on one hierarchy": {
			v1, "4:memory:/kubepods/pod7/c7\n1:name=systemd:/x",
			[]string{"memory/kubepods"},
			"4:memory:/kubepods/pod1/c1", nil, "",
		},
		"a container that sees its host's groups": {
			seen, "4:memory:/docker/0123/system.slice",
			[]string{"memory/kubepods"},
			"4:memory:/docker/0123/kubepods/pod1",
			[]string{"/sys/fs/cgroup/memory/kubepods"},
			"/docker/0123/kubepods/pod1",
		},
		"and the pods of that host": {
			seen, "4:memory:/docker/0123/system.slice", nil, "4:memory:/kubepods/pod1", nil,
			"",
		},
		"outside of the namespace": {v2, "0::/", nil, "0::/../../kubepods/pod1", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := machine(t, map[string]string{
				"/proc/self/mountinfo": test.mounts, "/proc/self/cgroup": test.self + "\n",
				"/proc/901/cgroup": test.groups + "\n",
			})
			for _, folder := range test.folders {
				assert.NilError(t, os.MkdirAll(h.Path(filepath.Join("/sys/fs/cgroup", folder)), 0o755))
			}
			assert.DeepEqual(t, ReadCgroups(h).Pods(), test.pods)
			assert.Equal(t, ReadCgroups(h).PodOf(901), test.pod)
		})
	}
}

func TestAKubeletMayHaveItsPodsBeneathACgroupRoot(t *testing.T) {
	for name, test := range map[string]struct{ config, group, pod string }{
		"driver cgroupfs": {"cgroupRoot: /site/nodes\n", "/site/nodes/kubepods", "/pod1/c1"},
		"driver systemd": {
			"kind: X\ncgroupRoot: \"/site/nodes\"\n",
			"/site.slice/site-nodes.slice/site-nodes-kubepods.slice", "/pod1.slice",
		},
		"none": {"cgroupRoot: /\n", "/kubepods", "/pod1/c1"},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := machine(t, map[string]string{
				"/proc/self/mountinfo": v2, "/proc/self/cgroup": "0::/system.slice/argosy.service\n",
				"/proc/901/cgroup": "0::" + test.group + test.pod + "\n", "/proc/902/cgroup": "0::/site/nodes/other\n",
				"/var/lib/kubelet/config.yaml": test.config, "/sys/fs/cgroup" + test.group + "/cgroup.procs": "",
			})
			assert.DeepEqual(t, ReadCgroups(h).Pods(), []string{"/sys/fs/cgroup" + test.group})
			assert.Equal(t, ReadCgroups(h).PodOf(901), test.group+test.pod)
			assert.Equal(t, ReadCgroups(h).PodOf(902), "")
		})
	}
}

func TestGroupOfAnAncestorIsNotTheMachines(t *testing.T) {
	h, _ := machine(t, map[string]string{
		"/proc/self/mountinfo": v2, "/proc/self/cgroup": "0::/system.slice/argosy.service\n",
		"/proc/self/status": "Name:\targosy-node\nPPid:\t77\n",
		"/proc/77/status":   "PPid:\t1\n", "/proc/1/status": "PPid:\t0\n",
		"/proc/1/cgroup": "0::/kubepods/pod7\n", "/proc/901/cgroup": "0::/kubepods/pod1\n",
		"/sys/fs/cgroup/kubepods/cgroup.procs": "",
	})
	assert.DeepEqual(t, Ancestors(h), []int{77, 1})
	assert.Equal(t, len(ReadCgroups(h).Pods()), 0)
	assert.Equal(t, ReadCgroups(h).PodOf(901), "")
}

// TestThisComputersOwnGroupsAreRead makes real groups, which only root may.
func TestThisComputersOwnGroupsAreRead(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes control groups")
	}
	h := host.Local()
	groups := ReadCgroups(h)
	at := slices.IndexFunc(groups.hierarchies, func(one hierarchy) bool {
		_, err := os.Lstat(filepath.Join(one.point, "kubepods"))
		return os.IsNotExist(err) && one.key != "cpuset" // which takes no process before it is given CPUs
	})
	assert.Assert(t, at >= 0, "no hierarchy without pods: %v", groups.hierarchies)
	top := groups.hierarchies[at].point
	for _, dir := range []string{"kubepods", "argosy-test", "argosy-test/kubepods"} {
		path := filepath.Join(top, dir)
		assert.NilError(t, os.Mkdir(path, 0o755))
		t.Cleanup(func() { assert.NilError(t, os.Remove(path)) })
	}
	pods := groups.Pods()
	assert.Assert(t, slices.Contains(pods, filepath.Join(top, "kubepods")), "%v", pods)
	assert.Assert(t, !slices.Contains(pods, filepath.Join(top, "argosy-test/kubepods")), "%v", pods)
	for _, dir := range []string{"kubepods", "argosy-test/kubepods"} {
		process := exec.Command("sleep", "600")
		assert.NilError(t, process.Start())
		t.Cleanup(func() { _, _ = process.Process.Kill(), process.Wait() })
		pid := strconv.Itoa(process.Process.Pid)
		assert.NilError(t, os.WriteFile(filepath.Join(top, dir, "cgroup.procs"), []byte(pid), 0))
		assert.Equal(t, groups.PodOf(process.Process.Pid) != "", dir == "kubepods", dir)
	}
	assert.Equal(t, groups.PodOf(os.Getpid()), "")
	assert.Equal(t, Ancestors(h)[0], os.Getppid())
}
