package lab

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/addons"
	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/test/lab/build"
)

func TestMirrorIsThatOfTheMainArchive(t *testing.T) {
	for name, c := range map[string]struct{ targets, want string }{
		"the archive among others": {"bookworm-updates main http://a.example/debian/\nbookworm main " +
			"http://b.example/debian/\n", "http://b.example/debian/"},
		"another component": {"bookworm contrib http://b.example/debian/\n", ""},
		"another suite":     {"trixie main http://b.example/debian/\n", ""},
		"nothing":           {"", ""},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, mirrorOf(c.targets), c.want) })
	}
}

func TestCgroupsAreFoundWhereverTheyAreMounted(t *testing.T) {
	const mounts = `32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw,relatime shared:1 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 31 0:40 / /tmp rw - tmpfs tmpfs rw`
	const groups = "9:name=systemd:/\n4:memory:/docker/abc/inner\n3:cpuset:/nowhere\n1:cpu,cpuacct:/job\n0::/x\n"

	got := joinHierarchies(groups, mounts)

	assert.DeepEqual(t, folders(got), []string{
		"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/memory/inner", "/sys/fs/cgroup/cpu/job", "/sys/fs/cgroup/unified/x",
	})
	assert.Equal(t, cgroupVersion(got), 1)
	assert.Equal(t, cgroupVersion(joinHierarchies("0::/x\n", mounts)), 2)
}

func folders(trees []hierarchy) []string {
	var out []string
	for _, tree := range trees {
		out = append(out, tree.own)
	}
	return out
}

func TestQuotedWordsSurviveAShell(t *testing.T) {
	for _, word := range []string{"plain", "", "it's", "$(reboot)", "a b", "`x`", "line\nbreak", `back\slash`, "ä"} {
		out, err := exec.Command("sh", "-c", "printf %s "+quote(word)).Output()
		assert.NilError(t, err)
		assert.Equal(t, string(out), word)
	}
}

func TestAFailedCommandShowsItselfAndItsLastLines(t *testing.T) {
	_, err := run(t.Context(), "sh", "-c", "seq 30; echo worse >&2; exit 3")

	assert.ErrorContains(t, err, "running sh -c 'seq 30; echo worse >&2; exit 3': exit status 3")
	assert.ErrorContains(t, err, "30\nworse")
	assert.Assert(t, !strings.Contains(err.Error(), "\n1\n"))
	var exit *exec.ExitError
	assert.Assert(t, errors.As(err, &exit))
}

func TestMachineNamesAndAddressesAreUnique(t *testing.T) {
	seen := map[string]string{bastionBackAddress: "bastion"}
	for _, m := range machines() {
		for _, value := range []string{m.Name, m.Address, m.PodSubnet} {
			if value == "" {
				continue
			}
			assert.Equal(t, seen[value], "", "%s of %s", value, m.Name)
			seen[value] = m.Name
		}
		if m.Bastion != "" {
			assert.Equal(t, m.segment(), back())
		}
	}
}

func TestHostedOnlyLeavesOutMachines(t *testing.T) {
	assert.DeepEqual(t, names(UpOptions{HostedOnly: true}.machines()), []string{"host", "m1", "m2", "m3"})
	assert.DeepEqual(t, names(UpOptions{}.machines()), names(machines()))
}

func TestUnknownMachineErrorListsMachines(t *testing.T) {
	_, err := (&Lab{}).Spec("m9")
	assert.ErrorContains(t, err, `"m9"`)
	assert.ErrorContains(t, err, "m1 m2 m3")
}

func TestDiskIsRemadeOnlyWhenAnInputChanges(t *testing.T) {
	in := inputs{rootfs: "/r", binds: map[string]string{"/a": "/1", "/b": "/2"}}
	files := []file{{path: "/etc/x", mode: 0o644, data: "1"}}
	same := inputs{rootfs: "/r", binds: map[string]string{"/b": "/2", "/a": "/1"}}
	assert.Equal(t, stampOf(in, files), stampOf(same, files))

	for name, other := range map[string]string{
		"root":  stampOf(inputs{rootfs: "/s", binds: in.binds}, files),
		"bind":  stampOf(inputs{rootfs: "/r", binds: map[string]string{"/a": "/1", "/b": "/3"}}, files),
		"data":  stampOf(in, []file{{path: "/etc/x", mode: 0o644, data: "2"}}),
		"mode":  stampOf(in, []file{{path: "/etc/x", mode: 0o600, data: "1"}}),
		"owner": stampOf(in, []file{{path: "/etc/x", mode: 0o644, data: "1", owner: 1000}}),
	} {
		assert.Assert(t, other != stampOf(in, files), name)
	}
}

func TestABundleIsPublishedOnceWithItsDigest(t *testing.T) {
	l := &Lab{state: t.TempDir()}
	sums := filepath.Join(l.HTTPDir(), "v1", "SHA256SUMS")

	assert.NilError(t, l.publish("v1", "a.tar.gz", "/cache/a", "11"))
	assert.NilError(t, l.publish("v1", "b.tar.gz", "/cache/b", "22"))
	assert.NilError(t, l.publish("v1", "a.tar.gz", "/cache/a2", "33"))

	text, err := os.ReadFile(sums)
	assert.NilError(t, err)
	assert.Equal(t, string(text), "22  b.tar.gz\n33  a.tar.gz\n")
	target, err := os.Readlink(filepath.Join(l.HTTPDir(), "v1", "a.tar.gz"))
	assert.NilError(t, err)
	assert.Equal(t, target, "/cache/a2")
}

func TestReusedProcessIDIsNotMistaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	self, err := thisProcess()
	assert.NilError(t, err)
	assert.NilError(t, self.write(path))
	_, ok := readProcess(path)
	assert.Assert(t, ok)

	assert.NilError(t, process{pid: self.pid, start: "1"}.write(path))
	_, ok = readProcess(path)
	assert.Assert(t, !ok)
}

func TestProcessIgnoringSIGTERMIsKilled(t *testing.T) {
	cmd := exec.Command("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
	out, err := cmd.StdoutPipe()
	assert.NilError(t, err)
	assert.NilError(t, cmd.Start())
	_, err = out.Read(make([]byte, 6))
	assert.NilError(t, err)
	p, err := processByID(cmd.Process.Pid)
	assert.NilError(t, err)

	assert.NilError(t, p.stop(50*time.Millisecond))

	assert.Assert(t, !p.alive())
	_ = cmd.Wait()
}

func TestTheManifestsFillForEveryClusterMachine(t *testing.T) {
	for _, m := range machines() {
		if !m.hasCluster() {
			continue
		}
		files, err := clusterFiles(m, "registry.k8s.io/pause:3.10.1")
		assert.NilError(t, err)
		config := ""
		for _, f := range files {
			if f.path == "/etc/lab/kubeadm.yaml" {
				config = f.data
			}
		}
		assert.Assert(t, strings.Contains(config, "advertiseAddress: "+m.Address), config)
		assert.Equal(t, strings.Contains(config, "taints: []"), m.Role == RoleHost)
	}
}

func TestMachineResetBareHasNoPodNetwork(t *testing.T) {
	l := &Lab{state: t.TempDir()}
	paths := func(m MachineSpec) []string {
		var out []string
		for _, f := range kubernetesSiteFiles(m) {
			out = append(out, f.path)
		}
		return out
	}
	const cni, registry = "/etc/cni/net.d/10-lab.conflist", "/etc/containerd/certs.d/10.117.0.1:5000/hosts.toml"
	m2, err := l.Spec("m2")
	assert.NilError(t, err)
	assert.Assert(t, slices.Contains(paths(m2), cni) && slices.Contains(paths(m2), registry), paths(m2))
	assert.Assert(t, strings.Contains(strings.Join(machineLinks(m2), "\n"), "10.244.1.0/24"))

	assert.NilError(t, l.disk(m2).setBare(true))
	m2, err = l.Spec("m2")
	assert.NilError(t, err)
	assert.Assert(t, !slices.Contains(paths(m2), cni) && slices.Contains(paths(m2), registry), paths(m2))
	assert.Assert(t, !strings.Contains(strings.Join(machineLinks(m2), "\n"), "10.244."))

	assert.NilError(t, l.disk(m2).setBare(false))
	m2, err = l.Spec("m2")
	assert.NilError(t, err)
	assert.Equal(t, m2.PodSubnet, "10.244.2.0/24")
}

func TestLimitIsRaisedOnceAndRestored(t *testing.T) {
	state := t.TempDir()
	one := limit{path: filepath.Join(state, "limit"), want: 100, saved: "limit.before"}
	for name, c := range map[string]struct{ before, meanwhile, during, after string }{
		"low":           {before: "7\n", during: "100", after: "7"},
		"high":          {before: "300", during: "300", after: "300"},
		"changed since": {before: "7", during: "100", meanwhile: "50", after: "50"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.NilError(t, os.WriteFile(one.path, []byte(c.before), 0o644))
			for range 2 {
				assert.NilError(t, one.raise(state))
			}
			now, err := os.ReadFile(one.path)
			assert.NilError(t, err)
			assert.Equal(t, string(now), c.during)
			if c.meanwhile != "" {
				assert.NilError(t, os.WriteFile(one.path, []byte(c.meanwhile), 0o644))
			}
			for range 2 {
				assert.NilError(t, one.restore(state))
			}
			now, err = os.ReadFile(one.path)
			assert.NilError(t, err)
			assert.Equal(t, string(now), c.after)
		})
	}
}

func TestFirewallBlocksKubeletsOfAllMachines(t *testing.T) {
	l := &Lab{state: t.TempDir()}
	rules, err := l.kubeletRules()
	assert.NilError(t, err)
	text := ""
	for _, rule := range rules {
		text += strings.Join(rule, " ") + "\n"
	}
	for _, m := range l.Members() {
		for _, source := range []string{"10.117.0.10", "10.245.0.0/16"} {
			assert.Assert(t, strings.Contains(text,
				"--ip-source "+source+" --ip-destination "+m.Address+" --ip-protocol tcp --ip-destination-port 10250"),
				text)
		}
	}
}

func TestBuildResultIsReusedUntilSourcesChange(t *testing.T) {
	l := &Lab{source: t.TempDir(), cache: t.TempDir()}
	source, built := filepath.Join(l.source, "test/lab/build/x.go"), filepath.Join(t.TempDir(), "built")
	for _, path := range []string{source, filepath.Join(l.source, "pkg/bundle/y.go"), built} {
		assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		assert.NilError(t, os.WriteFile(path, []byte("1"), 0o644))
	}
	made := 0
	ask := func() {
		t.Helper()
		got, err := cached(t.Context(), l, "thing", func(path string) []string { return []string{path} },
			func() (string, error) {
				made++
				return built, nil
			})
		assert.NilError(t, err)
		assert.Equal(t, got, built)
	}
	ask()
	ask()
	assert.Equal(t, made, 1)

	assert.NilError(t, os.WriteFile(strings.TrimSuffix(source, ".go")+"_test.go", nil, 0o644))
	ask()
	assert.Equal(t, made, 1, "a test decides nothing")

	assert.NilError(t, os.WriteFile(source, []byte("2"), 0o644))
	ask()
	assert.Equal(t, made, 2, "a source has changed")

	assert.NilError(t, os.Remove(built))
	ask()
	assert.Equal(t, made, 3, "what was built is gone")
}

func TestWhereProgramsComeFromIsASetting(t *testing.T) {
	for setting, official := range map[string]bool{"": false, "compiled": false, "official": true} {
		t.Setenv("ARGOSY_LAB_PROGRAMS", setting)
		l, err := Open()
		assert.NilError(t, err)
		builder, err := l.builder()
		assert.NilError(t, err)
		assert.Equal(t, builder.Official != nil, official, setting)
	}
	t.Setenv("ARGOSY_LAB_PROGRAMS", "fetched")
	_, err := Open()
	assert.ErrorContains(t, err, `reading ARGOSY_LAB_PROGRAMS: "fetched" is neither compiled nor official`)
}

// The notes of builds are apart, or one run would use the programs of the other.
func TestResultsFromReleasesAreRememberedApart(t *testing.T) {
	made := 0
	compiled := &Lab{source: t.TempDir(), cache: t.TempDir()}
	official := &Lab{source: compiled.source, cache: compiled.cache, official: &build.Official{}}
	for _, folder := range []string{"test/lab", "pkg/bundle"} {
		assert.NilError(t, os.MkdirAll(filepath.Join(compiled.source, folder), 0o755))
	}
	for _, l := range []*Lab{compiled, official, compiled, official} {
		_, err := cached(t.Context(), l, "thing", func(string) []string { return nil }, func() (string, error) {
			made++
			return "built", nil
		})
		assert.NilError(t, err)
	}
	assert.Equal(t, made, 2)
}

func TestArgosVersionIsASetting(t *testing.T) {
	for setting, want := range map[string]string{
		"": "v4.1.4", "3.7": "v3.7.18", "v3.7.18": "v3.7.18", "4.1": "v4.1.4", "4": "v4.1.4",
	} {
		t.Setenv("ARGOSY_LAB_ARGO", setting)
		version, err := ArgoVersion()
		assert.NilError(t, err)
		assert.Equal(t, version, want, setting)
	}
	for _, setting := range []string{"4.2", "latest", "v4.1.40", "3.7.1"} {
		t.Setenv("ARGOSY_LAB_ARGO", setting)
		_, err := ArgoVersion()
		assert.ErrorContains(t, err, "the lab can build Argo v3.7.18 and v4.1.4")
	}
}

// The host cluster's own pods run images that are made for provisioned clusters, and would find none under another tag.
func TestImagesOfTheHostClusterAreMadeForAddons(t *testing.T) {
	defaults := config.Defaults()
	images, err := addons.Images(&defaults, Version)
	assert.NilError(t, err)
	var made []string
	for _, image := range images {
		made = append(made, image.Reference)
	}
	own := storageImagesOf()
	for _, image := range []string{dnsImage, own.Provisioner, own.Helper} {
		assert.Assert(t, slices.Contains(made, image), "%s is not among %v", image, made)
	}
}

func TestTheLabHasEverySupportedMinorVersion(t *testing.T) {
	var newest []string
	for _, row := range components.Rows() {
		newest = append(newest, "v"+row.Newest)
	}
	assert.DeepEqual(t, Versions, newest)
}
