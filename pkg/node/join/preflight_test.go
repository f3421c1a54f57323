package join

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// fakeAPI returns an API server that refuses every request, as a real one refuses anonymous ones, with a clock of its
// own.
func (m *machine) fakeAPI(ahead time.Duration) *httptest.Server {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	// It is not worth a line that some tests do not trust it.
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	m.t.Cleanup(server.Close)
	m.join.Server = server.URL
	m.join.CACert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	m.join.Requirements.MaxClockSkew = spec.Duration(30 * time.Second)
	return server
}

func TestPreflight(t *testing.T) {
	for name, test := range map[string]struct {
		change func(m *machine)
		// problem is part of the error; "" for none, then remark is part of the detail.
		problem string
		remark  string
		class   errclass.Class
	}{
		"all is well": {change: func(*machine) {}, remark: "the machine can become a node"},
		"no systemd": {
			change:  func(m *machine) { m.write("/proc/1/comm", "init\n") },
			problem: "systemd is not the machine's first process",
		},
		"too little memory": {
			change:  func(m *machine) { m.join.Requirements.MinMemoryBytes = 8 << 30 },
			problem: "The machine has 3.8 GiB of memory, but 8.0 GiB are asked for",
		},
		"memory ignored": {
			change: func(m *machine) { m.join.Requirements.MinMemoryBytes = 8 << 30; m.ignore("Mem") },
			remark: "Ignored, as ignorePreflightErrors says.",
		},
		"too little disk": {
			change:  func(m *machine) { m.join.Requirements.MinDiskBytes = 1 << 60 },
			problem: "free below /var/lib, but 1048576.0 TiB are asked for",
		},
		"cgroup v1, 1.34": {change: func(m *machine) { m.remove("/sys/fs/cgroup/cgroup.controllers") }},
		"cgroup v1, 1.35": {change: func(m *machine) {
			m.remove("/sys/fs/cgroup/cgroup.controllers")
			m.join.KubernetesVersion = "v1.35.0"
		}, problem: "The machine has cgroup v1, which kubelets refuse since 1.35"},
		"cgroup v1, allowed": {change: func(m *machine) {
			m.remove("/sys/fs/cgroup/cgroup.controllers")
			m.join.KubernetesVersion = "v1.35.0"
			m.ignore("SystemVerification")
		}, remark: "Ignored"},
		"port taken": {
			change:  func(m *machine) { m.listener(10250, "nginx") },
			problem: "Port 10250, which the kubelet needs, is held by nginx (pid 4711)",
		},
		"health port taken": {
			change:  func(m *machine) { m.listener(10248, "nginx") },
			problem: "Port 10248, at which the kubelet tells that it is healthy, is held by nginx (pid 4711)",
		},
		"health port moved": {change: func(m *machine) {
			m.listener(10248, "nginx")
			m.join.KubeletConfig = "healthzPort: 10300\n"
		}},
		"port of our kubelet": {change: func(m *machine) {
			m.listener(10250, "kubelet")
			m.write(layout.UnitsDir+"/kubelet.service", inspect.Mark)
		}},
		"port of another one's": {
			change:  func(m *machine) { m.listener(10250, "kubelet") },
			problem: "held by kubelet (pid 4711)",
		},
		"no host name": {
			change:  func(m *machine) { m.write("/proc/sys/kernel/hostname", "localhost\n") },
			problem: "The machine has no host name",
		},
		"host name known to the system": {
			change: func(m *machine) {
				m.write("/proc/sys/kernel/hostname", "NOWHERE\n")
				m.write("/etc/nsswitch.conf", "passwd: files\nhosts: files dns myhostname # itself\n")
			}, remark: "the machine can become a node",
		},
		"swap": {
			change:  func(m *machine) { m.write("/proc/swaps", "Filename Type\n/dev/sda2 partition\n") },
			problem: "Swap is on (/dev/sda2), and the kubelet does not start with it; turn it off",
		},
		"swap compressed in memory": {change: func(m *machine) {
			m.write("/proc/swaps", "Filename Type\n/dev/zram0 partition\n/swap\\040file file\n")
			m.join.KubeletConfig = "failSwapOn: true\n"
		}, problem: `Swap is on (/dev/zram0, /swap\040file)`},
		"swap ignored": {change: func(m *machine) {
			m.write("/proc/swaps", "Filename Type\n/dev/sda2 partition\n")
			m.ignore("swap")
		}, remark: "does not start with it; turn it off (swapoff --all, and remove it from /etc/fstab and from " +
			"systemd's swap units), or set failSwapOn: false in the cluster's kubelet configuration. Ignored, as"},
		"swap allowed by the kubelet's configuration": {change: func(m *machine) {
			m.write("/proc/swaps", "Filename Type\n/dev/sda2 partition\n")
			m.join.KubeletConfig = "failSwapOn: false\n"
		}, remark: "the machine can become a node"},
		"swap allowed by the kubelet's arguments": {change: func(m *machine) {
			m.write("/proc/swaps", "Filename Type\n/dev/sda2 partition\n")
			m.join.Registration.KubeletExtraArgs = []spec.Arg{{Name: "fail-swap-on", Value: "false"}}
		}, remark: "the machine can become a node"},
		"swap forbidden by the kubelet's arguments": {change: func(m *machine) {
			m.write("/proc/swaps", "Filename Type\n/dev/sda2 partition\n")
			m.join.KubeletConfig = "failSwapOn: false\n"
			m.join.Registration.KubeletExtraArgs = []spec.Arg{{Name: "fail-swap-on", Value: "true"}}
		}, problem: "Swap is on"},
		"swap that preInstallCommands turn off": {change: func(m *machine) {
			m.write("/proc/swaps", "Filename Type\n/dev/sda2 partition\n")
			m.join.Hooks.PreInstall = []string{"swapoff -a"}
		}, remark: "It is looked at again when preInstallCommands have run."},
		"foreign kubelet": {change: func(m *machine) {
			m.write("/usr/lib/systemd/system/kubelet.service",
				"[Unit]\n")
		}, problem: "A kubelet that Argosy did not install"},
		"k3s is enabled": {
			change: func(m *machine) { m.enable("k3s-agent.service") },
			problem: "another Kubernetes at its next boot: k3s (k3s-agent.service); if that is not needed, run " +
				"k3s-uninstall.sh",
		},
		"MicroK8s is enabled": {
			change:  func(m *machine) { m.enable("snap.microk8s.daemon-kubelite.service") },
			problem: "at its next boot: MicroK8s (snap.microk8s.daemon-kubelite.service)",
		},
		"k3s is enabled, ignored": {
			change: func(m *machine) { m.enable("k3s.service"); m.ignore("NodeRemains") },
			remark: "run k3s-uninstall.sh or k3s-agent-uninstall.sh. Ignored, as",
		},
		"k3s runs, ignored": {
			change: func(m *machine) {
				m.enable("k3s.service")
				m.runs(870, "k3s-server", "/usr/local/bin/k3s")
				m.ignore("all")
			},
			problem: "The machine is a node of another Kubernetes already: k3s (k3s.service, process k3s-server (pid " +
				"870))",
		},
		"k3s runs": {
			change:  func(m *machine) { m.runs(870, "k3s-server", "/usr/local/bin/k3s") },
			problem: "k3s (process k3s-server (pid 870))",
		},
		"RKE2 is enabled": {
			change:  func(m *machine) { m.enable("rke2-agent.service") },
			problem: "RKE2 (rke2-agent.service)",
		},
		"k0s is enabled": {
			change:  func(m *machine) { m.enable("k0sworker.service") },
			problem: "k0s (k0sworker.service)",
		},
		"k3s masked": {change: func(m *machine) {
			m.enable("k3s.service")
			m.remove("/etc/systemd/system/k3s.service")
			assert.NilError(m.t, os.Symlink("/dev/null", m.host.Path("/etc/systemd/system/k3s.service")))
		}, remark: "the machine can become a node"},
		"remains of k3s": {
			change: func(m *machine) { m.write("/var/lib/rancher/k3s/server/token", "x") },
			remark: "There are remains of k3s (/var/lib/rancher/k3s)",
		},
		"k3s that is masked": {change: func(m *machine) {
			m.write("/usr/lib/systemd/system/k3s.service", "[Unit]\n")
			wants := layout.UnitsDir + "/multi-user.target.wants/k3s.service"
			assert.NilError(m.t, m.host.Link("/usr/lib/systemd/system/k3s.service", wants))
			assert.NilError(m.t, m.host.Link(os.DevNull, layout.UnitsDir+"/k3s.service"))
		}, remark: "the machine can become a node"},
		"remains of a node": {change: func(m *machine) {
			m.write("/sys/class/net/cni0/operstate", "up")
			m.write("/sys/class/net/flannel.1/operstate", "up")
			m.write("/var/lib/cni/networks/cbr0/10.42.0.2", "x")
			m.write("/run/flannel/subnet.env", "x")
			m.write("/var/lib/kubelet/cpu_manager_state", "{}")
		}, problem: "An earlier node left link cni0, link flannel.1, /run/flannel, " +
			"/var/lib/kubelet/cpu_manager_state, /var/lib/cni/networks/cbr0, over which"},
		"remains of a node, ignored": {change: func(m *machine) {
			m.write("/sys/class/net/kube-ipvs0/operstate", "up")
			m.ignore("NodeRemains")
		}, remark: "add NodeRemains to ignorePreflightErrors. Ignored, as"},
		"notes of flannel's delegate": {change: func(m *machine) {
			m.write("/var/lib/cni/flannel/0123abc", "{}")
		}, problem: "An earlier node left /var/lib/cni/flannel, over which"},
		"notes of the kubelet's memory manager": {change: func(m *machine) {
			m.write("/var/lib/kubelet/memory_manager_state", "{}")
		}, problem: "An earlier node left /var/lib/kubelet/memory_manager_state, over which"},
		"leases that were given back": {change: func(m *machine) {
			m.write("/var/lib/cni/networks/cbr0/lock", "")
			m.write("/var/lib/cni/networks/cbr0/last_reserved_ip.0", "10.42.0.2")
		}, remark: "the machine can become a node"},
		"leases of podman's": {change: func(m *machine) {
			m.write("/var/lib/cni/networks/podman/10.88.0.2", "x")
		}, remark: "the machine can become a node"},
		"pods of an earlier node": {change: func(m *machine) {
			m.write("/var/lib/kubelet/pods/1/volumes/kubernetes.io~empty-dir/data/rows", "x")
		}, remark: "left /var/lib/kubelet/pods, which a later reset removes"},
		"remains beside our kubelet": {change: func(m *machine) {
			m.write(layout.UnitsDir+"/kubelet.service", inspect.Mark)
			m.write("/sys/class/net/cni0/operstate", "up")
		}, remark: "the machine can become a node"},
		"network configurations": {change: func(m *machine) {
			m.write("/etc/cni/net.d/87-podman-bridge.conflist", "{}")
			m.write("/etc/cni/net.d/10-calico.conflist", "{}")
		}, remark: "already: /etc/cni/net.d/10-calico.conflist, /etc/cni/net.d/87-podman-bridge.conflist. Of all"},
		"network configurations beside flannel": {change: func(m *machine) {
			m.join.Flannel = true
			m.write("/etc/cni/net.d/05-cilium.conflist", "{}")
			m.write("/etc/cni/net.d/10-flannel.conflist", "{}")
			m.write("/etc/cni/net.d/87-podman-bridge.conflist", "{}")
		}, problem: "There are network configurations of others than flannel: /etc/cni/net.d/05-cilium.conflist, " +
			"/etc/cni/net.d/87-podman-bridge.conflist. Of all that are in /etc/cni/net.d"},
		"network configurations beside flannel, ignored": {change: func(m *machine) {
			m.join.Flannel = true
			m.write("/etc/cni/net.d/10-calico.conflist", "{}")
			m.ignore("PodNetwork")
		}, remark: "add PodNetwork to ignorePreflightErrors. Ignored, as"},
		"links of Cilium beside flannel": {change: func(m *machine) {
			m.join.Flannel = true
			m.write("/sys/class/net/cilium_vxlan/operstate", "up")
			m.write("/sys/class/net/eth0/operstate", "up")
		}, problem: "There are links of another network of pods than flannel: cilium_vxlan; reboot"},
		"links of Cilium, the cluster's network": {change: func(m *machine) {
			m.write("/sys/class/net/cilium_vxlan/operstate", "up")
		}, remark: "the machine can become a node"},
		"static pods of a control plane": {change: func(m *machine) {
			m.write("/etc/kubernetes/manifests/kube-apiserver.yaml", "{}")
		}, problem: "/etc/kubernetes/manifests has kube-apiserver.yaml, which the kubelet would start"},
		"static pods, ignored": {change: func(m *machine) {
			m.write("/etc/kubernetes/manifests/kube-apiserver.yaml", "{}")
			m.ignore("DirAvailable--etc-kubernetes-manifests")
		}, remark: "Ignored, as"},
		"swap at the next boot": {change: func(m *machine) {
			m.write("/etc/fstab", "UUID=1 / ext4 defaults 0 1\n#/old none swap sw 0 0\n/swap.img none swap sw 0 0\n")
		}, remark: "Swap is off, and /etc/fstab (/swap.img) turns it on at the next boot"},
		"swap by a unit at the next boot": {change: func(m *machine) {
			m.write("/etc/systemd/system/swap.target.wants/dev-sdb.swap", "")
		}, remark: "Swap is off, and /etc/systemd/system/swap.target.wants/dev-sdb.swap turns it on"},
		"swap to memory at the next boot": {change: func(m *machine) {
			m.write("/usr/lib/systemd/zram-generator.conf", "[zram0]\nzram-size = min(ram, 8192)\n")
		}, remark: "Swap is off, and /usr/lib/systemd/zram-generator.conf turns it on"},
		"swap to memory that the owner turned off": {change: func(m *machine) {
			m.write("/usr/lib/systemd/zram-generator.conf", "[zram0]\n")
			m.write("/etc/systemd/zram-generator.conf", "")
		}, remark: "the machine can become a node"},
		"flannel's own configuration": {change: func(m *machine) {
			m.join.Flannel = true
			m.write("/etc/cni/net.d/10-flannel.conflist", "{}")
		}, remark: "the machine can become a node"},
		"left-over of this join": {change: func(m *machine) {
			m.write(layout.ClusterCA,
				m.join.CACert)
			m.write(layout.BootstrapConf, "x")
		}},
		"CA of another cluster": {
			change:  func(m *machine) { m.write(layout.ClusterCA, m.ca.PEM) },
			problem: "the certificate authority of another cluster in /etc/kubernetes/pki/ca.crt",
		},
		"node of another cluster": {
			change: func(m *machine) {
				m.joined(m.ca, "https://198.51.100.7:6443", "m1",
					time.Now().Add(time.Hour))
			},
			problem: "The machine is already a node of https://198.51.100.7:6443 and not of https://127.0.0.1:",
		},
		"unknown authority": {
			change:  func(m *machine) { m.join.CACert = m.ca.PEM },
			problem: "does not prove itself by the cluster's CA",
		},
		"CA is no PEM": {
			change:  func(m *machine) { m.join.CACert = "nonsense" },
			problem: "The cluster's CA is not a PEM certificate",
		},
		"nobody answers": {
			change:  func(m *machine) { m.join.Server = "https://" + freeAddress(m.t) },
			problem: "cannot be reached from the machine", class: errclass.Transient,
		},
		"another name": {change: func(m *machine) {
			m.join.Server = strings.Replace(m.join.Server, "127.0.0.1",
				"localhost", 1)
		}, problem: "is not for that name"},
		"dead name server": {
			change: func(m *machine) {
				m.write("/etc/resolv.conf",
					"nameserver "+silentResolver(m.t)+"\n")
			}, problem: "No name server of /etc/resolv.conf answers",
			class: errclass.Transient,
		},
		"one dead of two": {change: func(m *machine) {
			m.write("/etc/resolv.conf", "nameserver "+silentResolver(m.t)+"\nnameserver "+resolver(m.t)+"\n")
		}, remark: "does not answer"},
		"wrong binariesPath": {
			change:  func(m *machine) { m.join.BinariesPath = "/opt/$(reboot)" },
			problem: `The binariesPath "/opt/$(reboot)" is not a plain absolute path`, class: errclass.Configuration,
		},
		"wrong node name": {
			change: func(m *machine) { m.join.NodeName = "a\nb" }, problem: "is not a DNS subdomain",
			class: errclass.Configuration,
		},
		"wrong digest": {
			change:  func(m *machine) { m.join.Bundle.SHA256 = "../../etc" },
			problem: "is not 64 hex digits", class: errclass.Configuration,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.fakeAPI(0)
			test.change(m)
			holds, detail, err := checkPreflight(context.Background(), m.context)
			if test.problem == "" {
				assert.NilError(t, err)
				assert.Assert(t, holds)
				assert.Assert(t, strings.Contains(detail, test.remark), detail)
				return
			}
			assert.ErrorContains(t, err, test.problem)
			assert.Assert(t, !holds)
			want := test.class
			if want == "" {
				want = errclass.Permanent
			}
			assert.Equal(t, errclass.ClassOf(err), want)
		})
	}
}

func (m *machine) ignore(names ...string) { m.join.Registration.IgnorePreflightErrors = names }

// listener makes a process listen on the port.
func (m *machine) listener(port int, name string) {
	m.write("/proc/net/tcp", fmt.Sprintf("  sl  local_address rem_address   st\n   0: 00000000:%04X 00000000:0000 0A "+
		"00000000:00000000 00:00000000 00000000 0 0 31337 1 0\n", port))
	m.write("/proc/4711/comm", name+"\n")
	assert.NilError(m.t, os.MkdirAll(m.host.Path("/proc/4711/fd"), 0o755))
	assert.NilError(m.t, os.Symlink("socket:[31337]", m.host.Path("/proc/4711/fd/3")))
}

func freeAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func silentResolver(t *testing.T) string {
	connection, err := net.ListenPacket("udp", "127.0.0.1:0")
	assert.NilError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	return connection.LocalAddr().String()
}

// resolver refuses every question, which is an answer.
func resolver(t *testing.T) string {
	connection, err := net.ListenPacket("udp", "127.0.0.1:0")
	assert.NilError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		packet := make([]byte, 512)
		for {
			n, from, err := connection.ReadFrom(packet)
			if err != nil {
				return
			}
			packet[2], packet[3] = 0x81, 0x05
			_, _ = connection.WriteTo(packet[:n], from)
		}
	}()
	t.Cleanup(func() { _ = connection.Close(); <-done })
	return connection.LocalAddr().String()
}

func TestChecksAreRepeatedAfterPreInstallCommands(t *testing.T) {
	m := newMachine(t)
	m.fakeAPI(0)
	m.write("/proc/swaps", "Filename Type\n/dev/sda2 partition\n")
	m.join.Hooks.PreInstall = []string{"swapoff --all"}
	_, err := beforeInstall.apply(context.Background(), m.context)
	assert.ErrorContains(t, err, "also after preInstallCommands: Swap is on (/dev/sda2)")
	_, _, err = checkPreflight(context.Background(), m.context)
	assert.ErrorContains(t, err, "Swap is on", "the commands ran, and did not help")

	m.write("/proc/swaps", "Filename Type\n")
	_, err = beforeInstall.apply(context.Background(), m.context)
	assert.NilError(t, err)
}

func TestSlowLookupsOfTheHostNameAreProblems(t *testing.T) {
	for name, test := range map[string]struct {
		err             error
		problem, remark string
	}{
		"known": {},
		"unknown": {
			err:    &net.DNSError{Err: "no such host", IsNotFound: true},
			remark: `"Elsewhere" does not resolve`,
		},
		"refused":   {err: &net.DNSError{Err: "server misbehaving"}, remark: `"Elsewhere" does not resolve`},
		"timed out": {err: &net.DNSError{Err: "i/o timeout", IsTimeout: true}, problem: `"Elsewhere" got no answer`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.write("/proc/sys/kernel/hostname", "Elsewhere\n")
			found := findings{}
			explainLookup(t.Context(), m.host, func(_ context.Context, asked string) ([]string, error) {
				assert.Equal(t, asked, "elsewhere")
				return nil, test.err
			}, &found)
			var problems []string
			for _, p := range found.problems {
				problems = append(problems, p.text)
			}
			assert.Assert(t, (len(problems) > 0) == (test.problem != "") &&
				(len(found.remarks) > 0) == (test.remark != ""))
			assert.Assert(t, strings.Contains(strings.Join(problems, " "), test.problem), problems)
			assert.Assert(t, strings.Contains(strings.Join(found.remarks, " "), test.remark), found.remarks)
		})
	}
}

func TestAllProblemsAreToldAtOnce(t *testing.T) {
	m := newMachine(t)
	m.fakeAPI(0)
	m.write("/proc/1/comm", "init\n")
	m.join.Requirements.MinMemoryBytes = 8 << 30
	m.join.Server = "https://" + freeAddress(t)
	m.listener(10250, "nginx")
	_, _, err := checkPreflight(context.Background(), m.context)
	var failure *node.Failure
	assert.Assert(t, errors.As(err, &failure))
	assert.Equal(t, len(failure.Problems), 4)
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent, "a retry cannot help as long as one problem stays")
}

func TestClocksAreCompared(t *testing.T) {
	for name, test := range map[string]struct {
		ahead   time.Duration
		problem string
	}{
		"equal":    {0, ""},
		"a little": {20 * time.Second, ""},
		"server far ahead": {5 * time.Minute, "The machine's clock is 5m0s behind the API server's, more than the " +
			"allowed 30s"},
		"server behind": {-time.Hour, "The machine's clock is 1h0m0s ahead of the API server's"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.fakeAPI(test.ahead)
			found := &findings{}
			checkEndpoint(context.Background(), m.host, m.join, found)
			if test.problem == "" {
				assert.Equal(t, len(found.problems), 0)
				return
			}
			assert.Equal(t, len(found.problems), 1)
			// The header has whole seconds, so the last digit may be one off.
			got := found.problems[0].text
			assert.Assert(t, strings.Contains(got, test.problem) ||
				strings.Contains(strings.NewReplacer("4m59s", "5m0s", "1h0m1s", "1h0m0s").Replace(got), test.problem),
				got)
		})
	}
}

func TestJoinedMachineSkipsChecksOfNewOnes(t *testing.T) {
	m := newMachine(t)
	m.join.Server = "https://" + freeAddress(t)
	m.joined(m.ca, m.join.Server+"/", "m1", time.Now().Add(time.Hour))
	m.write("/proc/1/comm", "init\n")
	holds, detail, err := checkPreflight(context.Background(), m.context)
	assert.NilError(t, err)
	assert.Assert(t, holds)
	assert.Equal(t, detail, "the machine is node m1 of this cluster already")
}

func TestAJoinDoesNotChangeANodesVersion(t *testing.T) {
	m := newMachine(t)
	m.joined(m.ca, m.join.Server, "m1", time.Now().Add(time.Hour))
	assert.NilError(t, m.context.Store.WriteRecord(&spec.Record{Version: "v1.33.13"}))
	_, _, err := checkPreflight(context.Background(), m.context)
	assert.ErrorContains(t, err, "at v1.33.13; a join does not change its version to v1.34.4")
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
}

func TestANodeOfThisClusterByAnotherNameIsRefused(t *testing.T) {
	m := newMachine(t)
	m.fakeAPI(0)
	m.join.CACert += m.ca.PEM
	m.joined(m.ca, m.join.Server, "other", time.Now().Add(time.Hour))
	_, _, err := checkPreflight(context.Background(), m.context)
	assert.ErrorContains(t, err, `The machine is already node "other" of this cluster, not "m1"`)
}

func TestNodeWithOldAddressIsRefusedUnlessItAnswers(t *testing.T) {
	// The cluster's own answers at the first address; a machine has joined, and now the cluster is said to be at
	// another one.
	m := newMachine(t)
	server := m.fakeAPI(0)
	m.join.CACert += m.ca.PEM
	first := m.join.Server
	m.joined(m.ca, first, "m1", time.Now().Add(time.Hour))
	m.join.Server = "https://192.0.2.10:443"
	holds, detail, err := checkPreflight(context.Background(), m.context)
	assert.NilError(t, err)
	assert.Assert(t, holds)
	assert.Equal(t, detail,
		"the machine is node m1 of this cluster already, which it knows at "+first+
			"; its address is https://192.0.2.10:443 now, and it answers at both")
	holds, detail, err = checkKubeadm(context.Background(), m.context)
	assert.NilError(t, err)
	assert.Assert(t, holds)
	assert.Equal(t, detail, "node m1 has its credentials for "+first)

	server.Close()
	_, _, err = checkPreflight(context.Background(), m.context)
	assert.ErrorContains(t, err, "which it knows at "+first+", and the cluster is at https://192.0.2.10:443 now")
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
}

// enable has a unit of another installer start at boot.
func (m *machine) enable(unit string) {
	m.write("/etc/systemd/system/"+unit, "[Unit]\n")
	assert.NilError(m.t, m.host.Link("/etc/systemd/system/"+unit, "/etc/systemd/system/multi-user.target.wants/"+unit))
}

// runs has a process of another installer's program.
func (m *machine) runs(pid int, name, program string) {
	dir := fmt.Sprintf("/proc/%d", pid)
	m.write(dir+"/comm", name+"\n")
	assert.NilError(m.t, os.Symlink(program, m.host.Path(dir+"/exe")))
}
