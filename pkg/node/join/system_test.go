package join

import (
	"context"
	"strings"
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
			m.join.Flannel = true
			m.write(kernel+"modules.dep", dep)
			m.write(kernel+"modules.builtin", builtin)
		}
	}
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
		"vxlan":              {check: checkVXLAN, change: vxlan("kernel/drivers/net/vxlan/vxlan.ko.xz: x\n", "")},
		"vxlan built in":     {check: checkVXLAN, change: vxlan("", "kernel/drivers/net/vxlan/vxlan.ko\n")},
		"vxlan of elsewhere": {check: checkVXLAN, change: func(m *machine) { m.join.Flannel = true }},
		"no vxlan, no flannel": {check: checkVXLAN, change: func(m *machine) {
			vxlan("", "")(m)
			m.join.Flannel = false
		}},
		"read-only folder": {
			check: checkBinariesPath, change: file("/proc/self/mounts", "/dev/a / ext4 rw 0 0\n/dev/b /usr ext4 "+
				"ro,relatime 0 0\n"),
			problem: "/usr/local/bin is on /usr, which is mounted read-only; set " +
				"privateNodes.autoUpgrade.binariesPath to " +
				"another folder, e.g. /opt/bin",
		},
		"noexec folder": {
			check: checkBinariesPath, change: file("/proc/self/mounts", "/dev/a / ext4 rw 0 0\n/dev/b /opt ext4 "+
				"rw,noexec 0 0\n"),
			problem: "/opt/cni/bin is on /opt, which is mounted noexec, so that no program runs from there; set " +
				"privateNodes.autoUpgrade.cniBinariesPath",
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
			remark: "the firewall firewalld; it has to let through TCP 10250 from the API server, UDP 8472",
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
	m.join.Flannel = true
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
