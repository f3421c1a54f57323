package join

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

func TestFilesThatTakeKernelSettingsBackAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		// by begins the problem; "" for none.
		by string
	}{
		"none": {},
		"99-sysctl.conf": {
			map[string]string{"/etc/sysctl.d/99-sysctl.conf": "# CIS\nnet.ipv4.ip_forward = 0\n"},
			"/etc/sysctl.d/99-sysctl.conf sets net.ipv4.ip_forward = 0 at each boot",
		},
		"by the other name": {
			map[string]string{"/usr/lib/sysctl.d/99-hardening.conf": "net/ipv4/conf/all/forwarding=0\n"},
			"/usr/lib/sysctl.d/99-hardening.conf sets net.ipv4.ip_forward = 0",
		},
		"by a pattern": {
			map[string]string{"/run/sysctl.d/95-bridge.conf": "-net.bridge.bridge-nf-call-*tables = 0\n"},
			"/run/sysctl.d/95-bridge.conf sets net.bridge.bridge-nf-call-ip6tables = 0",
		},
		"by ufw": {
			map[string]string{
				"/etc/ufw/ufw.conf": "ENABLED=yes\n", "/etc/ufw/sysctl.conf": "net/ipv4/ip_forward=0\n",
			}, "/etc/ufw/sysctl.conf sets net.ipv4.ip_forward = 0",
		},
		"by a ufw that is off": {
			map[string]string{
				"/etc/ufw/ufw.conf": "ENABLED=no\n", "/etc/ufw/sysctl.conf": "net/ipv4/ip_forward=0\n",
			}, "",
		},
		"before Argosy's":  {map[string]string{"/etc/sysctl.d/10-network.conf": "net.ipv4.ip_forward=0\n"}, ""},
		"the wanted value": {map[string]string{"/etc/sysctl.d/99-k8s.conf": "net.ipv4.ip_forward=1\n"}, ""},
		"a comment": {map[string]string{"/etc/sysctl.d/99-a.conf": "#net.ipv4.ip_forward=0\n; " +
			"net.ipv4.ip_forward=0\n"}, ""},
		"another folder's file of the name is not read": {map[string]string{
			"/etc/sysctl.d/99-a.conf": "vm.swappiness=1\n", "/usr/lib/sysctl.d/99-a.conf": "net.ipv4.ip_forward=0\n",
		}, ""},
		"a later file puts it right": {map[string]string{
			"/usr/lib/sysctl.d/95-a.conf": "net.ipv4.ip_forward=0\n",
			"/etc/sysctl.d/99-b.conf":     "net.ipv4.ip_forward=1\n",
		}, ""},
		"a later file of a first folder wins": {map[string]string{
			"/etc/sysctl.d/95-a.conf":     "net.ipv4.ip_forward=1\n",
			"/usr/lib/sysctl.d/99-b.conf": "net.ipv4.ip_forward=0\n",
		}, "/usr/lib/sysctl.d/99-b.conf sets"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			for file, content := range test.files {
				m.write(file, content)
			}
			found := findings{}
			checkSysctls(t.Context(), m.host, m.join, &found)
			if test.by == "" {
				assert.Equal(t, len(found.problems), 0)
				return
			}
			assert.Assert(t, len(found.problems) > 0)
			assert.Assert(t, strings.HasPrefix(found.problems[0].text, test.by), found.problems[0].text)
		})
	}
}
