package join

import (
	"context"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/cri/critest"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// withRuntime is a machine with a container runtime of its own at socket.
func withRuntime(t *testing.T, answers critest.Runtime, socket string) *machine {
	t.Helper()
	m := newMachine(t)
	m.fakeAPI(0)
	m.join.Containerd.External = true
	if socket != layout.ContainerdSocket {
		m.join.Registration.CRISocket = "unix://" + socket
	}
	if answers != nil {
		critest.Serve(t, answers, m.host.Path(socket))
	}
	return m
}

func TestARuntimeThatIsThereIsLookedAt(t *testing.T) {
	without := func(name string) critest.Runtime {
		r := critest.New("containerd", "v2.1.4", 0)
		delete(r, name)
		return r
	}
	with := func(name string, call critest.Call) critest.Runtime {
		r := critest.New("containerd", "1.7.27", 0)
		r[name] = call
		return r
	}
	for name, test := range map[string]struct {
		runtime critest.Runtime
		problem string
		remark  string
		class   errclass.Class
	}{
		"fits":            {runtime: critest.New("containerd", "v2.1.4", 0)},
		"fits, of Debian": {runtime: critest.New("containerd", "1.7.24~ds1", 0)},
		"another runtime": {
			runtime: critest.New("cri-o", "1.30.2", 0),
			remark:  "is cri-o 1.30.2, of which Argosy only knows",
		},
		"none": {problem: "There is no container runtime at /run/own/s; install and start one"},
		"too old": {
			runtime: critest.New("containerd", "1.6.20~ds1", 0),
			problem: "The machine's containerd is 1.6.20~ds1, and 1.7 or later is needed",
		},
		"another driver": {
			runtime: critest.New("containerd", "v2.1.4", 1),
			problem: "cgroup driver is cgroupfs, and the kubelet's is systemd; make them agree, in containerd's " +
				"configuration by SystemdCgroup = true",
		},
		"plugin switched off": {runtime: critest.Runtime{}, problem: `take "cri" out of disabled_plugins`},
		"not ready": {
			runtime: with("Status", critest.Answer(critest.Message(1,
				critest.Message(1, critest.Message(1, "RuntimeReady", 2, 0, 4, "no runc"))))),
			problem: "is not ready: no runc", class: errclass.Transient,
		},
		"says no": {
			runtime: with("Version", critest.Fail("14", "starting")),
			problem: "does not report its version", class: errclass.Transient,
		},
		"silent of it": {
			runtime: without("RuntimeConfig"),
			remark:  "does not tell its cgroup driver; it has to be the kubelet's, systemd",
		},
		"without the call that 1.38 needs": {
			runtime: without("RuntimeConfig"),
			remark: "The container runtime containerd v2.1.4 lacks the call RuntimeConfig, which kubelets need from " +
				"1.38 on; upgrade it before then.",
		},
		"of an older API": {runtime: with("Version", critest.Answer(critest.Message(2, "containerd", 3, "v1.7.1", 4,
			"v1alpha2"))), problem: "speaks version v1alpha2 of the interface"},
	} {
		t.Run(name, func(t *testing.T) {
			m := withRuntime(t, test.runtime, "/run/own/s")
			for _, check := range []func() (bool, string, error){
				func() (bool, string, error) { return checkPreflight(context.Background(), m.context) },
				func() (bool, string, error) { return checkContainerd(context.Background(), m.context) },
			} {
				held, detail, err := check()
				if test.problem == "" {
					assert.NilError(t, err)
					assert.Assert(t, held)
					assert.Assert(t, strings.Contains(detail, test.remark), detail)
					continue
				}
				assert.ErrorContains(t, err, test.problem)
				want := test.class
				if want == "" {
					want = errclass.Permanent
				}
				assert.Equal(t, errclass.ClassOf(err), want)
			}
			m.ignore("CRI")
			assert.Assert(t, holds(t, m, checkPreflight) && holds(t, m, checkContainerd))
		})
	}
}

func TestARuntimeMayComeWithTheUsersCommands(t *testing.T) {
	m := withRuntime(t, nil, "/run/own/s")
	m.join.Hooks.PreInstall = []string{"install a runtime"}
	held, detail, err := checkPreflight(context.Background(), m.context)
	assert.NilError(t, err)
	assert.Assert(t, held)
	assert.Assert(t, strings.Contains(detail, "It is looked at again when preInstallCommands have run."), detail)
	assert.Assert(t, !holds(t, m, checkContainerd))
	critest.Serve(t, critest.New("containerd", "v2.1.4", 0), m.host.Path("/run/own/s"))
	apply(t, m, applyContainerd)
	assert.Assert(t, holds(t, m, checkContainerd))

	m.join.Containerd.CgroupDriver = "cgroupfs"
	_, err = applyContainerd(context.Background(), m.context)
	assert.ErrorContains(t, err, "cgroup driver is systemd, and the kubelet's is cgroupfs")
}

func TestOfARuntimeThatIsThereNothingIsTouched(t *testing.T) {
	m := withRuntime(t, critest.New("containerd", "v2.1.4", 0), layout.ContainerdSocket)
	files := bundleFiles()
	for _, name := range append([]string{"pause-image.txt", "pause-image.tar"}, runtimePrograms...) {
		delete(files, name)
	}
	m.join.Containerd.PauseImage = "registry.example.org/pause:1"
	m.join.Containerd.Registry.Mirrors = mirrorsOf("docker.io")
	m.context.Operation.Secrets.Registries = map[string]spec.RegistryLogin{"quay.io": {Username: "user"}}
	m.receive(m.archive(files))
	apply(t, m, applyBundle)
	assert.Assert(t, holds(t, m, checkBundle))
	apply(t, m, applyBinaries)
	for _, name := range []string{"registries", "containerd", "images"} {
		for _, phase := range Phases() {
			if phase.Name == name {
				assert.Assert(t, holds(t, m, phase.Check), name)
			}
		}
	}
	_, detail, err := checkRegistries(context.Background(), m.context)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(detail, "mirrors and logins of the documents are not written"), detail)
	for _, call := range m.programs.calls {
		assert.Assert(t, !strings.HasPrefix(call, "systemctl") && !strings.HasPrefix(call, "ctr"), call)
	}
	assert.DeepEqual(t, m.below("/etc/containerd"), []string(nil))
	for _, name := range runtimePrograms {
		assert.Assert(t, !m.host.Exists("/usr/local/bin/"+name), name)
	}

	m.join.Containerd.External = false
	_, _, err = checkBundle(context.Background(), m.context)
	assert.ErrorContains(t, err, "it lacks release/containerd, ")
}

func TestFullBundleInstallsNoRuntimeBesideAForeignOne(t *testing.T) {
	m := newMachine(t)
	m.join.Containerd.External = true
	m.withBundle()
	apply(t, m, applyBinaries)
	assert.Assert(t, holds(t, m, checkBinaries))
	assert.DeepEqual(t, m.below("/usr/local/bin"), []string{".argosy", "kubeadm", "kubectl", "kubelet"})
	assert.DeepEqual(t, m.below("/opt/cni/bin"), []string{"bridge", "loopback"})
}

func TestAPauseImageThatIsNoImageNameIsRefused(t *testing.T) {
	for image, says := range map[string]string{
		"":                              "",
		"localhost:5000/pause":          "",
		"registry.k8s.io/pause:3.10:x":  "is not the name of an image",
		"registry.k8s.io/pause:3.10 ":   "is not the name of an image",
		"https://registry.k8s.io/pause": "is not the name of an image",
	} {
		m := newMachine(t)
		m.join.Containerd.PauseImage = image
		problems := strings.Join(validate(m.join), " ")
		assert.Assert(t, strings.Contains(problems, says) && (says != "" || problems == ""), "%s: %s", image, problems)
	}
}

func TestASocketThatNobodyServesIsRefused(t *testing.T) {
	for socket, says := range map[string]string{
		"unix:///run/crio/crio.sock": "the containerd that Argosy installs answers at " +
			"/run/containerd/containerd.sock",
		"unix://run/x": "is not the path of a socket",
		"unix:///var/run/containerd/containerd.sock":  "",
		"/run/containerd/containerd.sock":             "",
		"unix:///run/containerd/containerd.sock":      "",
		"unix:///run/containerd/it's/containerd.sock": "is not the path of a socket",
	} {
		m := newMachine(t)
		m.join.Registration.CRISocket = socket
		problems := strings.Join(validate(m.join), " ")
		assert.Assert(t, strings.Contains(problems, says) && (says != "" || problems == ""), "%s: %s", socket, problems)
	}
}
