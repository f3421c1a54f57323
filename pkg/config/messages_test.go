package config_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/pkg/config"
)

// commandsOf is a vcluster.yaml with one command, at line 5.
func commandsOf(command string) string {
	return "privateNodes:\n  enabled: true\n  joinNode:\n    preJoinCommands:\n    - " + command + "\n"
}

func ofVersion(version string) string {
	return goodVCluster + "controlPlane: {distro: {k8s: {version: " + version + "}}}\n"
}

// Each document has one mistake, which is one problem: a second one would only follow from the first.
func TestOneMistakeIsOneProblemThatNamesTheCause(t *testing.T) {
	const (
		command = `vcluster.yaml:5:7: privateNodes.joinNode.preJoinCommands[0]: `
		version = `vcluster.yaml:3:40: controlPlane.distro.k8s.version: `
		colon   = `holds ": " or ends in ":", which YAML reads as a mapping; put the text in quotes`
	)
	for name, test := range map[string]struct{ vcluster, fleet, want string }{
		"a command with a colon":  {vcluster: commandsOf("echo note: hello"), want: command + colon},
		"a command ending in one": {vcluster: commandsOf("echo note:"), want: command + colon},
		"a quoted word with one":  {vcluster: commandsOf(`curl -H "Accept: a/b" http://x`), want: command + colon},
		"a command in brackets": {
			vcluster: commandsOf("[ -f /x ]"),
			want:     command + `begins with "[", which YAML reads as a list`,
		},
		"a command in braces": {
			vcluster: commandsOf("{a}"),
			want:     command + `begins with "{", which YAML reads as a mapping`,
		},
		"brackets with more behind": {
			vcluster: commandsOf("[ -f /x ] || touch /x"),
			want:     "put the whole text in quotes",
		},
		"quotes with more behind": {vcluster: commandsOf(`"a b" && c`), want: "put the whole text in quotes"},
		"a back quote": {
			vcluster: commandsOf("`date`"),
			want:     "a text that begins with \"`\" needs quotes",
		},
		"an at sign": {
			vcluster: commandsOf("@reboot x"),
			want:     `a text that begins with "@" needs quotes`,
		},
		"a value with a colon": {
			vcluster: goodVCluster + "  defaultProfile: a b: c\n", want: `a text that holds ": " needs quotes`,
		},
		"a mapping for text": {
			vcluster: "privateNodes:\n  enabled: true\n  autoUpgrade:\n    image:\n      a: b\n      c: d\n",
			want:     "privateNodes.autoUpgrade.image: must be text, not a mapping",
		},

		"a version without a number": {vcluster: ofVersion("latest"), want: version + `"latest" names no version`},
		"a channel": {
			vcluster: ofVersion("stable-1.34"),
			want:     version + `"stable-1.34" names no version`,
		},
		"a capital V": {
			vcluster: ofVersion("V1.34.4"),
			want:     version + `"V1.34.4" is not a Kubernetes version; write "v1.34.4"`,
		},
		"a version without a patch": {vcluster: ofVersion("v1.34"), want: version + `"v1.34" has no patch version`},
		"a word for a version":      {vcluster: ofVersion("one"), want: version + `"one" is not a Kubernetes version`},
		"a number for a version": {
			vcluster: ofVersion("1.34"),
			want:     version + `must be text, not a number, and "1.34" has no patch version`,
		},
		"a number for a name": {
			fleet: fleetHead + "machines: [{name: 1, address: b}]\n",
			want:  "argosy.yaml:5:19: machines[0].name: must be text, not a number; write it in quotes",
		},
		"a boolean for a name": {
			fleet: fleetHead + "machines: [{name: true, address: b}]\n",
			want:  "must be text, not a boolean; write it in quotes",
		},
		"a number for a key of two": {
			fleet: goodFleet + "bundles: {format: 1}\n",
			want:  `bundles.format: must be text, not a number, and "1" is not known; use tar.gz or tar.zst`,
		},
		"a number for an address": {
			fleet: fleetHead + "machines: [{name: a, address: 10.1}]\n",
			want:  `must be text, not a number, and "10.1" is neither a host name nor an IP address`,
		},

		"half a machine": {
			vcluster: "privateNodes: {enabled: true, autoUpgrade: {concurrency: 1.5}}\n",
			want:     `concurrency: "1.5" is neither a number of machines nor a percentage; write e.g. 3 or "25%"`,
		},
		"half a machine in quotes": {fleet: goodFleet + "upgrade: {waveSize: '1.5'}\n", want: `"1.5" is neither`},
		"half a budget":            {fleet: goodFleet + "upgrade: {failureBudget: 0.5}\n", want: `"0.5" is neither`},
		"half a percent":           {fleet: goodFleet + "upgrade: {maxUnavailable: 1.5%}\n", want: `"1.5%" is neither`},
		"a switch for an amount": {
			fleet: goodFleet + "upgrade: {waveSize: true}\n",
			want:  "must be a whole number or a percentage, not a boolean",
		},

		"a port with a point": {
			fleet: goodFleet + "ssh: {port: 22.0}\n",
			want: "argosy.yaml:8:13: ssh.port: must be a whole number, not one with a fraction or an " +
				"exponent; write 22",
		},
		"a port with a fraction": {
			fleet: goodFleet + "ssh: {port: 22.5}\n",
			want:  "must be a whole number, not one with a fraction",
		},
		"a port with an exponent": {fleet: goodFleet + "ssh: {port: 1e3}\n", want: "or an exponent; write 1000"},
		"a port of 20 digits": {
			fleet: goodFleet + "ssh: {port: 22222222222222222222}\n",
			want:  "ssh.port: is out of range",
		},
		"a port in quotes": {
			fleet: goodFleet + "ssh: {port: '22'}\n",
			want:  "must be a whole number, not text; write 22",
		},
		"a port in hexadecimal": {fleet: goodFleet + "ssh: {port: 0xfffff}\n", want: "0xfffff is not a port"},
		"a list for a port": {
			fleet: goodFleet + "ssh: {port: [22]}\n",
			want:  "must be a whole number, not a list",
		},
		"a number of seconds": {
			fleet: goodFleet + "ssh: {keepAlive: 30}\n",
			want:  `must be a duration, not a number; write "30s" for seconds`,
		},

		"a URL of SSH": {
			fleet: fleetHead + "machines: [{name: a, address: 'ssh://ops@192.0.2.1:2222'}]\n",
			want: `"ssh://ops@192.0.2.1:2222" is neither a host name nor an IP address; write the host alone ` +
				`("192.0.2.1") and put "ops" into ssh.user and put "2222" into ssh.port`,
		},
		"a URL of SSH without a port": {
			fleet: fleetHead + "machines: [{name: a, address: 'ssh://192.0.2.1'}]\n",
			want:  `write the host alone ("192.0.2.1")`,
		},
		"a URL of a bastion": {
			fleet: goodFleet + "ssh: {bastions: [{address: 'ssh://jump.example.com:2222/'}]}\n",
			want:  `write the host alone ("jump.example.com") and put "2222" into port`,
		},
		"a user and a port": {
			fleet: fleetHead + "machines: [{name: a, address: 'ops@h:2222'}]\n",
			want:  `write the host alone ("h") and put "ops" into ssh.user and put "2222" into ssh.port`,
		},
		"a URL among names": {
			vcluster: goodVCluster + "controlPlane: {proxy: {extraSANs: ['https://api.example.com:443/x']}}\n",
			want: `extraSANs[0]: "https://api.example.com:443/x" is neither a host name nor an IP address; write ` +
				`the host alone ("api.example.com")`,
		},
		"a URL as the endpoint": {
			vcluster: goodVCluster + "controlPlane: {endpoint: 'https://api.example.com:6443'}\n",
			want:     `"https://api.example.com:6443" is not host:port; write "api.example.com:6443"`,
		},
		"an endpoint without a port": {
			vcluster: goodVCluster + "controlPlane: {endpoint: 'fd00::1'}\n",
			want:     `"fd00::1" is not host:port; write it with its port, e.g. "[fd00::1]:6443"`,
		},

		"off": {
			vcluster: goodVCluster + "controlPlane: {distro: {k3s: {enabled: off}}}\n",
			want:     "k3s.enabled: must be true or false, not text; write false",
		},
		"no": {
			vcluster: goodVCluster + "sleepMode: {enabled: no}\n",
			want:     "sleepMode.enabled: must be true or false, not text; write false",
		},
		"a quoted false": {
			vcluster: goodVCluster + "sync: {toHost: {pods: {enabled: 'false'}}}\n",
			want:     "must be true or false, not text; remove the quotes",
		},
		"No, of a known type": {
			vcluster: "privateNodes: {enabled: true, vpn: {enabled: No}}\n",
			want:     "vpn.enabled: must be true or false, not text; write false",
		},
		"n of a platform": {
			vcluster: hostedVCluster + "external: {platform: {enabled: n}}\nplatform: {}\n",
			fleet:    hostedFleet, want: "must be true or false, not text; write false",
		},
		"off for a volume": {
			vcluster: goodVCluster + "controlPlane: {statefulSet: {persistence: {volumeClaim: {enabled: off}}}}\n",
			want:     "must be true, false or auto; write false",
		},
		"on for what is not possible": {
			vcluster: goodVCluster + "sleepMode: {enabled: on}\n",
			want:     "is not possible with private nodes",
		},

		"an anonymous registry": {vcluster: mirror(`"*"`), want: `"*" is not the name of a registry; write _default`},
		"a registry by a word": {
			vcluster: mirror("default"),
			want:     `"default" is not the name of a registry; write _default`,
		},
		"a relative archive": {
			vcluster: imported("images/app.tar"),
			want:     `"images/app.tar" is not an absolute path`,
		},
		"an archive above": {
			vcluster: imported("../app.tar.zst"),
			want:     `"../app.tar.zst" is not an absolute path`,
		},
		"an archive of a home": {vcluster: imported("~/images"), want: `"~/images" is not an absolute path`},
		"a folder":             {vcluster: imported("images"), want: `"images" is not an absolute path`},
		"an image":             {vcluster: imported("ghcr.io/a/b:v1.tar"), want: `write "oci://ghcr.io/a/b:v1.tar"`},

		"a no-break space before a key": {
			vcluster: "privateNodes:\n\u00a0\u00a0enabled: true\n",
			want:     "vcluster.yaml:2:1: holds a no-break space (U+00A0) in or before a key; type a plain one",
		},
		"a no-break space behind a value": {
			vcluster: "privateNodes: {enabled: true\u00a0}\n",
			want:     "it holds a no-break space (U+00A0)",
		},
		"a no-break space after a dash": {
			fleet: fleetHead + "machines:\n-\u00a0name: a\n  address: b\n",
			want:  "a no-break space (U+00A0)",
		},
		"a narrow space behind a version": {
			vcluster: ofVersion("v1.34.4\u202f"),
			want:     "it holds a space of another kind (U+202F)",
		},
		"an invisible space in a key": {
			vcluster: goodVCluster + "  auto\u200bUpgrade: {}\n",
			want:     "an invisible space (U+200B)",
		},
		"typographic quotes around a value": {
			vcluster: ofVersion("“v1.34.4”"),
			want:     "it holds a typographic quote (U+201C)",
		},
		"an ideographic space before a word": {
			vcluster: "privateNodes: {enabled:\u3000true}\n",
			want:     "a space of another kind (U+3000)",
		},

		"a misspelt required key": {
			fleet: fleetHead + "machines: [{name: a, adress: b}]\n",
			want:  `adress: unknown key; did you mean "address"?`,
		},
		"a machine that is text": {
			fleet: fleetHead + "machines: [a]\n",
			want:  "machines[0]: must be a mapping of keys to values, not text",
		},
		"a machine that is nothing": {
			fleet: fleetHead + "machines: [null]\n",
			want:  "machines[0]: is empty; remove it",
		},
		"machines that are a mapping": {
			fleet: fleetHead + "machines: {a: b}\n",
			want:  "machines: must be a list, not a mapping",
		},
		"a command that is nothing": {vcluster: commandsOf(""), want: "preJoinCommands[0]: is empty; remove it"},
		"a taint whose key is a number": {
			fleet: goodFleet + "  taints: [{key: 1, effect: NoSchedule}]\n",
			want:  "taints[0].key: must be text, not a number",
		},
		"a misspelt section": {
			vcluster: "privateNode: {enabled: true}\n",
			want:     `privateNode: unknown key; did you mean "privateNodes"?`,
		},

		"two directives of a version": {
			vcluster: "%YAML 2.0\n---\n" + goodVCluster,
			want:     `is not YAML: unknown YAML version "2.0"`,
		},
		"text in Latin-1": {
			vcluster: goodVCluster + "# M\xfcller\n",
			want: "vcluster.yaml:3:4: holds a byte that is no text: 0xfc is not UTF-8; save the file as text " +
				"in UTF-8",
		},
		"text in UTF-16": {
			vcluster: "\xff\xfea\x00",
			want:     "vcluster.yaml:1:1: is in UTF-16, not in UTF-8",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.vcluster == "" {
				test.vcluster = goodVCluster
			}
			if test.fleet == "" {
				test.fleet = goodFleet
			}
			problems := problemsOf(t, test.vcluster, test.fleet)
			assert.Equal(t, len(problems), 1, problems.Error())
			assert.Assert(t, cmp.Contains(problems[0].String(), test.want))
		})
	}
}

func mirror(registry string) string {
	return "privateNodes: {enabled: true, joinNode: {containerd: {registry: {mirrors: {" + registry +
		": {server: 'https://m.example.com'}}}}}}\n"
}

func imported(source string) string {
	return "privateNodes: {enabled: true, joinNode: {containerd: {importImages: ['" + source + "']}}}\n"
}

// A value of a Kubernetes type is told at its own key, every one of them.
func TestValuesOfKubernetesTypesAreToldAtTheirKeys(t *testing.T) {
	problems := problemsOf(t, `privateNodes:
  enabled: true
  kubelet:
    config:
      maxPods: "200"
      podsPerCore: 1.5
      failSwapOn: off
      clusterDomain: 1
      imageGCHighThresholdPercent: 99999999999
      evictionHard: [memory]
      nodeStatusUpdateFrequency: 10
      syncFrequency: soon
      authentication:
        anonymous: {enabled: "no"}
        webhook: {cacheTTl: 1m}
      reservedMemory:
      - numaNode: 0
        limits: {memory: much}
      podPidsLimit: 100
      tlsCipherSuites: TLS_A
controlPlane: {distro: {k8s: {version: v1.34.4}}}
`, hostedFleet)
	var lines []string
	for _, p := range problems {
		lines = append(lines, fmt.Sprintf("%d:%d %s: %s; %s", p.Line, p.Column,
			strings.TrimPrefix(p.Key, "privateNodes.kubelet.config."), p.Text, p.Suggestion))
	}
	assert.DeepEqual(t, lines, []string{
		"5:16 maxPods: must be a whole number, not text; write 200",
		"6:20 podsPerCore: must be a whole number, not one with a fraction or an exponent; ",
		"7:19 failSwapOn: must be true or false, not text; write false",
		"8:22 clusterDomain: must be text, not a number; write it in quotes",
		"9:36 imageGCHighThresholdPercent: is out of range; ",
		"10:7 evictionHard: must be a mapping of keys to values, not a list; ",
		`11:34 nodeStatusUpdateFrequency: must be a duration, not a number; write "10s" for seconds`,
		`12:22 syncFrequency: "soon" is not a duration; write e.g. "30s" or "5m"`,
		"14:30 authentication.anonymous.enabled: must be true or false, not text; write false",
		`15:19 authentication.webhook.cacheTTl: unknown key in a Kubernetes KubeletConfiguration; ` +
			`did you mean "cacheTTL"?`,
		`18:26 reservedMemory[0].limits.memory: is not an amount of a resource; write e.g. "200m" ` +
			`for cpu or "256Mi" for memory`,
		"20:24 tlsCipherSuites: must be a list, not text; ",
	})
}

func TestProblemsBeyondTheListAreCounted(t *testing.T) {
	var fleet strings.Builder
	fleet.WriteString(fleetHead + "machines:\n")
	for i := range 5000 {
		fmt.Fprintf(&fleet, "- {name: M%d, address: 10.0.%d.%d}\n", i, i/250, i%250)
	}
	problems := problemsOf(t, goodVCluster, fleet.String())
	assert.Equal(t, len(problems), 101)
	assert.Equal(t, problems[100].String(),
		"argosy.yaml: has 4900 further problems, which are not listed; correct those above first")
	assert.Assert(t, strings.HasPrefix(problems.Error(), "5000 problems:\n"))
}

func TestTheDirectiveOfYAMLVersion12IsAccepted(t *testing.T) {
	for _, head := range []string{
		"%YAML 1.2\n---\n", "# a\n\n%YAML 1.2 # b\n--- # c\n", "\ufeff%YAML 1.2\r\n---\r\n", "%YAML 1.1\n---\n",
	} {
		parse(t, head+goodVCluster, goodFleet)
	}
	c := parse(t, commandsOf("|\n      cat <<E\n      %YAML 1.2\n      E"), goodFleet)
	assert.Assert(t, cmp.Contains(c.VCluster.PrivateNodes.JoinNode.PreJoinCommands[0], "%YAML 1.2"))
}

func TestAddressesWithPasswordsAreNotShown(t *testing.T) {
	for key, documents := range map[string][2]string{
		"machines[0].address": {
			goodVCluster, fleetHead + "machines: [{name: a, address: 'ssh://root:hunter2@192.0.2.1'}]\n",
		},
		"ssh.bastions[0].address": {goodVCluster, goodFleet + "ssh: {bastions: [{address: 'root:hunter2@jump'}]}\n"},
		"controlPlane.endpoint": {
			goodVCluster + "controlPlane: {endpoint: 'https://a:hunter2@api.example.com:6443'}\n", goodFleet,
		},
	} {
		problems := problemsOf(t, documents[0], documents[1])
		only(t, problems, key, "holds a password, which would be seen in messages")
		assert.Assert(t, !strings.Contains(problems.Error(), "hunter2"))
	}
}

// Look-alikes mean something in text that is not ours to judge.
func TestLookalikesInTextAreKept(t *testing.T) {
	c := parse(t, commandsOf(`"echo a`+"\u00a0"+`b"`), goodFleet+"  labels: {'zone': a}\n")
	assert.Equal(t, c.VCluster.PrivateNodes.JoinNode.PreJoinCommands[0], "echo a\u00a0b")
}

// kubectl puts a file that is not UTF-8 into binaryData.
func TestADocumentInBinaryDataIsReadAndItsByteNamed(t *testing.T) {
	folder := t.TempDir()
	text := base64.StdEncoding.EncodeToString([]byte("privateNodes: {enabled: true} # M\xfcller\n"))
	manifest := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: team-a}\nbinaryData: {vcluster.yaml: "+
		"%s}\n"+
		"data:\n  argosy.yaml: |\n    %s", text, strings.ReplaceAll(goodFleet, "\n", "\n    "))
	assert.NilError(t, os.WriteFile(filepath.Join(folder, "a.yaml"), []byte(manifest), 0o600))
	_, err := config.Load(context.Background(), config.Dir{Path: folder}, "team-a")
	assert.Error(t, err, `reading cluster "team-a": vcluster.yaml:1:34: holds a byte that is no `+
		"text: 0xfc is not UTF-8; "+
		"save the file as text in UTF-8")
}
