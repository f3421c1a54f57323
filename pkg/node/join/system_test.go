package join

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

func TestChecksOfTheSystem(t *testing.T) {
	type check = func(context.Context, *host.Host, *spec.Join, *findings)
	answers := func(output string) func(*machine) {
		return func(m *machine) {
			m.programs.answers["systemctl"] = func([]string) (string, error) { return output, nil }
		}
	}
	file := func(name, content string) func(*machine) { return func(m *machine) { m.write(name, content) } }
	const kernel = "/lib/modules/6.1.0-test/"
	vxlan := func(dep, builtin string) func(*machine) {
		return func(m *machine) {
			m.join.Flannel, m.join.VXLANPort = true, 8472
			m.write(kernel+"modules.dep", dep)
			m.write(kernel+"modules.builtin", builtin)
		}
	}
	nft := func(m *machine, rules string) {
		m.write("/sys/module/nf_tables/refcnt", "1\n")
		m.programs.answers["nft"] = func([]string) (string, error) { return rules, nil }
	}
	sshd := func(settings string) func(*machine) {
		return func(m *machine) {
			m.write("/usr/sbin/sshd", "")
			m.programs.answers["sshd"] = func(argv []string) (string, error) {
				assert.Equal(m.t, strings.Join(argv[1:3], " "), "-T -C")
				return settings, nil
			}
		}
	}
	evictionAt := func(level string) func(*machine) {
		return func(m *machine) { m.join.KubeletConfig = "evictionHard: {nodefs.available: \"" + level + "\"}\n" }
	}
	pods6 := func(m *machine) { m.join.PodNetworks = []string{"10.244.0.0/16", "fd00:10::/56"} }
	printed, err := os.ReadFile("testdata/ruleset.nft")
	assert.NilError(t, err)
	ruleset := string(printed)
	const proxies = "PATH=/usr/bin\nHTTPS_PROXY=http://user:word@proxy.example:3128\n"
	for name, test := range map[string]struct {
		check   check
		change  func(*machine)
		problem string
		remark  string
	}{
		"systemd 219": {check: checkSystemdVersion, change: answers("systemd 219\n+PAM"), problem: "has " +
			"systemd 219, and 236"},
		"systemd 235": {check: checkSystemdVersion, change: answers("systemd 235 " +
			"(235)\n"), problem: "has systemd 235"},
		"systemd 252":           {check: checkSystemdVersion, change: answers("systemd 252 (252.39-1~deb12u1)\n")},
		"systemd 257-rc1":       {check: checkSystemdVersion, change: answers("systemd 257~rc1\n")},
		"systemd of no version": {check: checkSystemdVersion, change: answers("")},
		"memory controller off": {
			check: checkMemoryController, change: file("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n"),
			problem: "add cgroup_enable=memory",
		},
		"memory controller off, cgroup v1": {check: checkMemoryController, change: func(m *machine) {
			m.remove("/sys/fs/cgroup/cgroup.controllers")
			m.write("/proc/cgroups", "#subsys_name hierarchy num_cgroups enabled\ncpu 1 1 1\nmemory 0 1 0\n")
		}, problem: "memory controller is off"},
		"memory controller on, cgroup v1": {check: checkMemoryController, change: func(m *machine) {
			m.remove("/sys/fs/cgroup/cgroup.controllers")
			m.write("/proc/cgroups", "memory 4 157 1\n")
		}},
		"no " +
			"vxlan": {
			check: checkVXLAN, change: vxlan("kernel/net/ipv4/udp_tunnel.ko:\n", ""),
			problem: "has no module vxlan",
		},
		"vxlan":          {check: checkVXLAN, change: vxlan("kernel/drivers/net/vxlan/vxlan.ko.xz: x\n", "")},
		"vxlan built in": {check: checkVXLAN, change: vxlan("", "kernel/drivers/net/vxlan/vxlan.ko\n")},
		"vxlan of elsewhere": {check: checkVXLAN, change: func(m *machine) {
			m.join.Flannel, m.join.VXLANPort = true, 8472
		}},
		"no vxlan, flannel's host-gw": {check: checkVXLAN, change: func(m *machine) {
			vxlan("", "")(m)
			m.join.VXLANPort = 0
		}},
		"read-only folder": {
			check: checkBinariesPath, change: file("/proc/self/mounts", "/dev/a / ext4 rw 0 0\n/dev/b /usr ext4 "+
				"ro,relatime 0 0\n"),
			problem: "/usr/local/bin is on /usr, which is mounted read-only; set " +
				"privateNodes.autoUpgrade.binariesPath, or join.binariesPath of the machine, to another folder, " +
				"e.g. /opt/bin.",
		},
		"noexec folder": {
			check: checkBinariesPath, change: file("/proc/self/mounts", "/dev/a / ext4 rw 0 0\n/dev/b /opt ext4 "+
				"rw,noexec 0 0\n"),
			problem: "/opt/cni/bin is on /opt, which is mounted noexec, so that no program runs from there; set " +
				"privateNodes.autoUpgrade.cniBinariesPath, or join.cniBinariesPath of the machine, to another " +
				"folder, e.g. /usr/local/lib/cni, or mount it with exec",
		},
		"mounted over": {check: checkBinariesPath, change: file("/proc/self/mounts",
			"/dev/a / ext4 ro 0 0\noverlay / overlay rw 0 0\n/dev/c /usr/lo ext4 ro 0 0\n")},
		"unmounted /var": {check: checkMounts, change: func(m *machine) {
			m.write("/proc/self/mounts", "/dev/a / ext4 rw 0 0\n")
			m.write("/etc/fstab", "# disks\nUUID=1 / ext4 defaults 0 1\nUUID=2 /var ext4 defaults 0 2\n")
		}, problem: "/etc/fstab mounts /var, and it is not mounted"},
		"unmounted folder of containerd": {check: checkMounts, change: func(m *machine) {
			m.write("/proc/self/mounts", "/dev/a / ext4 rw 0 0\n")
			m.write("/etc/fstab", "/dev/nvme0n1 /var/lib/containerd/ xfs defaults,nofail 0 2\n")
		}, problem: "/etc/fstab mounts /var/lib/containerd"},
		"unmounted folder of a unit": {check: checkMounts, change: func(m *machine) {
			m.write("/proc/self/mounts", "/dev/a / ext4 rw 0 0\n")
			m.write("/etc/systemd/system/var-lib-kubelet.mount", "[Mount]\nWhat=/dev/b\nWhere=/var/lib/kubelet\n")
			m.write("/etc/systemd/system/local-fs.target.wants/var-lib-kubelet.mount", "")
		}, problem: "The unit var-lib-kubelet.mount mounts /var/lib/kubelet at boot, and it is not mounted"},
		"unmounted folder of a unit that is off": {check: checkMounts, change: func(m *machine) {
			m.write("/proc/self/mounts", "/dev/a / ext4 rw 0 0\n")
			m.write("/etc/systemd/system/var.mount", "[Mount]\nWhere=/var\n")
		}},
		"mounted": {check: checkMounts, change: func(m *machine) {
			m.write("/proc/self/mounts", "/dev/a / ext4 rw 0 0\n/dev/b /var ext4 rw 0 0\n")
			m.write("/etc/fstab", "/dev/b /var ext4 defaults 0 2\n/dev/c /srv ext4 defaults 0 2\n"+
				"/dev/d /var/lib/kubelet ext4 noauto 0 2\n#/dev/e /var/lib ext4 defaults 0 2\n")
		}},
		"a proxy": {
			check: checkProxy, change: answers(proxies),
			problem: "has the proxy http://user:xxxxx@proxy.example:3128, through which kubeadm and the kubelet would",
		},
		"a proxy in lower case": {
			check: checkProxy, change: answers("https_proxy=http://proxy.example:3128\n"),
			problem: "proxy.example:3128",
		},
		"a proxy, not for the " +
			"server": {check: checkProxy, change: answers(proxies + "no_proxy=10.0.0.0/8,192.0.2.0/24\n")},
		"a proxy, quoted by " +
			"systemctl": {check: checkProxy, change: answers(proxies + "NO_PROXY=$'.example,192.0.2.9'\n")},
		"no proxy": {check: checkProxy, change: answers("PATH=/usr/bin\n")},
		"firewalld": {
			check: checkFirewall, change: func(m *machine) { m.runs(7, "firewalld", "/usr/bin/python3") },
			remark: "the firewall firewalld; it has to let through TCP 10250 from the API server, the ports of the " +
				"network plugin between nodes (flannel's VXLAN: UDP 8472), and the network of pods.",
		},
		"a firewall, with flannel's host-gw": {
			check: checkFirewall, change: func(m *machine) {
				m.join.Flannel = true
				m.runs(7, "firewalld", "/usr/bin/python3")
			},
			remark: "let through TCP 10250 from the API server, and the network of pods.",
		},
		"ufw": {
			check: checkFirewall, change: file("/etc/ufw/ufw.conf", "LOGLEVEL=low\nENABLED=yes\n"),
			remark: "firewall ufw;",
		},
		"ufw, off": {check: checkFirewall, change: file("/etc/ufw/ufw.conf", "ENABLED=no\n")},
		"nftables that drop": {check: checkFirewall, change: func(m *machine) {
			m.enable("nftables.service")
			m.write("/etc/nftables.conf", "table inet filter {\n chain input {\n  type filter hook input priority "+
				"0; policy drop;\n }\n}\n")
		}, remark: "firewall nftables (/etc/nftables.conf);"},
		"nftables that accept": {check: checkFirewall, change: func(m *machine) {
			m.enable("nftables.service")
			m.write("/etc/nftables.conf", "chain input { type filter hook input priority 0; policy accept; } # "+
				"policy drop\n")
		}},
		"live rules that drop": {check: checkFirewall, change: func(m *machine) {
			m.join.PodNetworks = []string{"10.244.0.0/16", "fd00:10::/56"}
			m.join.Flannel, m.join.VXLANPort = true, 4789
			nft(m, "table inet hard {\n\tset a {\n\t\ttype ipv4_addr\n\t}\n\tchain in {\n\t\ttype filter hook input "+
				"priority filter; policy drop;\n\t\ttcp dport 22 accept\n\t}\n}\n")
		}, remark: "firewall nftables (table inet hard, chain in); it has to let through TCP 10250 from the API " +
			"server, UDP 4789 (VXLAN) between nodes, and the network of pods (10.244.0.0/16, fd00:10::/56)."},
		"live rules that reject at the end": {check: checkFirewall, change: func(m *machine) {
			nft(m, "table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy accept;\n"+
				"\t\tct state established accept\n\t\tcounter packets 7 bytes 420 reject with icmp "+
				"host-prohibited\n\t}\n}\n")
		}, remark: "nftables (table ip filter, chain INPUT);"},
		"live rules that forward nothing": {check: checkFirewall, change: func(m *machine) {
			nft(m, "table inet x {\n\tchain fw {\n\t\ttype filter hook forward priority 0; policy drop;\n\t}\n}\n")
		}, remark: "nftables (table inet x, chain fw);"},
		"live rules, as nft prints them": {
			check: checkFirewall, change: func(m *machine) { nft(m, ruleset) },
			remark: "the firewall nftables (table inet hard, chain in) and nftables (table inet hard, chain in2) and " +
				"nftables (table inet hard, chain in3); it has",
		},
		"live rules of a module that is not loaded": {check: checkFirewall, change: func(m *machine) {
			nft(m, ruleset)
			m.remove("/sys/module/nf_tables/refcnt")
			m.remove("/sys/module/nf_tables")
			m.write("/lib/modules/6.1.0-test/modules.builtin", "kernel/net/ipv4/udp_tunnel.ko\n")
		}},
		"live rules of a kernel that has them built in": {check: checkFirewall, change: func(m *machine) {
			nft(m, ruleset)
			m.remove("/sys/module/nf_tables/refcnt")
			m.remove("/sys/module/nf_tables")
			m.write("/lib/modules/6.1.0-test/modules.builtin", "kernel/net/netfilter/nf_tables.ko\n")
		}, remark: "nftables (table inet hard, chain in)"},
		"live rules that accept": {check: checkFirewall, change: func(m *machine) {
			nft(m, "table inet x {\n\tchain in {\n\t\ttype filter hook input priority 0; policy accept;\n\t\tip saddr "+
				"192.0.2.1 drop\n\t}\n\tchain log {\n\t\tdrop\n\t}\n\tchain out {\n\t\ttype filter hook output "+
				"priority 0; policy drop;\n\t}\n}\n")
		}},
		"Docker's forward chain": {check: checkFirewall, change: func(m *machine) {
			nft(m, "table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n"+
				"\t\tcounter packets 0 bytes 0 jump DOCKER-USER\n\t}\n}\n")
		}},
		"iptables that drop": {check: checkFirewall, change: func(m *machine) {
			m.write("/proc/net/ip_tables_names", "nat\nfilter\n")
			m.programs.answers["iptables"] = func([]string) (string, error) {
				return "-P INPUT DROP\n-A INPUT -p tcp --dport 22 -j ACCEPT\n", nil
			}
		}, remark: "firewall iptables (chain INPUT);"},
		"iptables that reject at the end": {check: checkFirewall, change: func(m *machine) {
			m.write("/sys/module/nf_tables/refcnt", "1\n")
			m.programs.answers["nft"] = func([]string) (string, error) { return "", errors.New("not found") }
			m.programs.answers["iptables"] = func([]string) (string, error) {
				return "-P INPUT ACCEPT\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j REJECT --reject-with " +
					"icmp-host-prohibited\n", nil
			}
		}, remark: "firewall iptables (chain INPUT);"},
		"iptables not in use": {check: checkFirewall, change: func(m *machine) {
			m.write("/lib/modules/6.1.0-test/modules.builtin", "")
			m.programs.answers["iptables"] = func([]string) (string, error) { return "-P INPUT DROP\n", nil }
		}},
		"one session": {
			check: checkSessions, change: sshd("port 22\nmaxsessions 1\nmaxauthtries 6\n"),
			problem: "admits 1 session of a connection (MaxSessions), and a join needs 2",
		},
		"no session":                 {check: checkSessions, change: sshd("maxsessions 0\n"), problem: "(MaxSessions)"},
		"two sessions":               {check: checkSessions, change: sshd("maxsessions 2\n")},
		"sshd's default of sessions": {check: checkSessions, change: sshd("maxsessions 10\n")},
		"an sshd that tells nothing": {check: checkSessions, change: sshd("")},
		"another sshd":               {check: checkSessions, change: func(*machine) {}},
		"containerd on NFS": {
			check:   checkOverlay,
			change:  file("/proc/self/mounts", "/dev/a / ext4 rw 0 0\nnas:/c /var/lib/containerd nfs4 rw 0 0\n"),
			problem: "/var/lib/containerd is on /var/lib/containerd, a file system of type nfs4, on which",
		},
		"containerd elsewhere on VFAT": {check: checkOverlay, change: func(m *machine) {
			m.write("/proc/self/mounts", "/dev/a / ext4 rw 0 0\n/dev/b /mnt/usb vfat rw 0 0\n")
			m.write("/etc/containerd/conf.d/root.toml", "root = '/mnt/usb/containerd'\n")
		}, problem: "/mnt/usb/containerd is on /mnt/usb, a file system of type vfat"},
		"containerd on NFS without overlays": {check: checkOverlay, change: func(m *machine) {
			m.write("/proc/self/mounts", "nas:/c / nfs4 rw 0 0\n")
			m.write("/etc/containerd/conf.d/s.toml",
				"[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'native'\n")
		}},
		"another's runtime on NFS": {check: checkOverlay, change: func(m *machine) {
			m.write("/proc/self/mounts", "nas:/c / nfs4 rw 0 0\n")
			m.join.Containerd.External = true
		}},
		"a disk with room": {check: checkPressure, change: evictionAt("0%")},
		"a disk nearly full": {
			check: checkPressure, change: evictionAt("100%"),
			remark: "and below 100% (nodefs.available) the kubelet reports DiskPressure",
		},
		"IPv6 off": {check: checkIPv6, change: pods6, problem: "IPv6 is off on the machine"},
		"IPv6 disabled": {check: checkIPv6, change: func(m *machine) {
			pods6(m)
			m.write("/proc/sys/net/ipv6/conf/all/forwarding", "0\n")
			m.write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1\n")
		}, problem: "net.ipv6.conf.all.disable_ipv6 = 0"},
		"IPv6 on": {check: checkIPv6, change: func(m *machine) {
			pods6(m)
			m.write("/proc/sys/net/ipv6/conf/all/forwarding", "1\n")
		}},
		"pods without IPv6": {check: checkIPv6, change: func(*machine) {}},
		"a file that takes IPv6 forwarding back": {check: checkSysctls, change: func(m *machine) {
			pods6(m)
			m.write("/etc/sysctl.d/99-cis.conf", "net.ipv6.conf.all.forwarding = 0\n")
		}, problem: "/etc/sysctl.d/99-cis.conf sets net.ipv6.conf.all.forwarding = 0"},
		"IPv6 forwarding that no pod needs": {
			check:  checkSysctls,
			change: file("/etc/sysctl.d/99-cis.conf", "net.ipv6.conf.all.forwarding = 0\n"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.join.Server = "https://192.0.2.9:6443"
			test.change(m)
			found := findings{}
			test.check(t.Context(), m.host, m.join, &found)
			var problems []string
			for _, p := range found.problems {
				problems = append(problems, p.text)
			}
			assert.Equal(t, len(problems) > 0, test.problem != "", problems)
			assert.Equal(t, len(found.remarks) > 0, test.remark != "", found.remarks)
			assert.Assert(t, strings.Contains(strings.Join(problems, " "), test.problem), problems)
			assert.Assert(t, strings.Contains(strings.Join(found.remarks, " "), test.remark), found.remarks)
		})
	}
}

func TestExceptionsOfTheProxy(t *testing.T) {
	for name, test := range map[string]struct {
		server, exceptions string
		without            bool
	}{
		"none":               {"192.0.2.9", "", false},
		"all":                {"192.0.2.9", "a, *", true},
		"the address":        {"192.0.2.9", "localhost,192.0.2.9", true},
		"its network":        {"192.0.2.9", "192.0.2.0/24", true},
		"another network":    {"192.0.2.9", "10.0.0.0/8", false},
		"IPv6":               {"fd00::9", "fd00::/8", true},
		"the name":           {"api.example.com", "API.example.com", true},
		"a domain":           {"api.example.com", ".example.com", true},
		"a bare domain":      {"api.example.com", "example.com", true},
		"a domain with star": {"api.example.com", "*.example.com", true},
		"part of a word":     {"api.anexample.com", "example.com", false},
		"with a port":        {"api.example.com", "api.example.com:6443", true},
		"loopback":           {"127.0.0.1", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, withoutProxy(test.server, test.exceptions), test.without)
		})
	}
}

func TestEveryCheckOfTheSystemIsPartOfPreflight(t *testing.T) {
	m := newMachine(t)
	m.fakeAPI(0)
	m.join.Flannel, m.join.VXLANPort = true, 8472
	m.programs.answers["systemctl"] = func(argv []string) (string, error) {
		if argv[1] == "--version" {
			return "systemd 219\n", nil
		}
		return "HTTPS_PROXY=http://proxy.example:3128\n", nil
	}
	m.join.Server = "https://api.example.invalid:6443" // a proxy is not asked for a loopback address
	m.write("/sys/fs/cgroup/cgroup.controllers", "cpu\n")
	m.write("/lib/modules/6.1.0-test/modules.dep", "")
	m.write("/proc/self/mounts", "/dev/a / ext4 ro 0 0\n")
	m.write("/etc/fstab", "/dev/b /var ext4 defaults 0 2\n")
	m.write("/etc/sysctl.d/99-a.conf", "net.ipv4.ip_forward=0\n")
	m.write(layout.CNIConf+"/10-calico.conflist", "{}")
	_, _, err := checkPreflight(t.Context(), m.context)
	for _, part := range []string{
		"systemd 219", "memory " +
			"controller", "vxlan", "read-only", "/etc/fstab", "proxy.example", "99-a.conf", "10-calico",
	} {
		assert.ErrorContains(t, err, part)
	}
}

func TestLevelsOfTheKubeletAreReadAsSharesAndAmounts(t *testing.T) {
	for level, want := range map[string]int64{
		"10%": 1000, "0%": 0, "2.5%": 250, "1Ki": 1024, "1k": 1000, "500": 500, "1Gi": 1 << 30, "": 0, "much": 0,
	} {
		assert.Equal(t, eviction(level, 10_000), want, level)
	}
}

func TestFileSystemsWithoutFileTypesAreNamed(t *testing.T) {
	assert.Assert(t, hasFileTypes(t.TempDir()))
	if os.Geteuid() != 0 {
		t.Skip("it mounts a file system, which needs root; CI runs it as root")
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	assert.NilError(t, os.WriteFile(image, nil, 0o600))
	assert.NilError(t, os.Truncate(image, 8<<20))
	output, err := exec.Command("mkfs.ext4", "-q", "-O", "^filetype", image).CombinedOutput()
	assert.NilError(t, err, "%s", output)
	m := newMachine(t)
	root := m.host.Path("/var/lib/containerd")
	assert.NilError(t, os.MkdirAll(root, 0o755))
	output, err = exec.Command("mount", "-o", "loop", image, root).CombinedOutput()
	assert.NilError(t, err, "%s", output)
	t.Cleanup(func() { assert.Check(t, syscall.Unmount(root, 0)) })
	for kind, problem := range map[string]string{
		"ext4": "a file system without the types of files in its folders (d_type)",
		"xfs":  "an xfs that was made with ftype=0",
	} {
		m.write("/proc/self/mounts", "/dev/a / ext4 rw 0 0\n/dev/b /var/lib/containerd "+kind+" rw 0 0\n")
		found := findings{}
		checkOverlay(t.Context(), m.host, m.join, &found)
		assert.Equal(t, len(found.problems), 1)
		assert.Assert(t, strings.Contains(found.problems[0].text, problem), found.problems[0].text)
	}
}
