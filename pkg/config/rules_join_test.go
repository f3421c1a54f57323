package config_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// Documents that are checked alike for all machines and for one, as the flow mapping of a section joinNode.
func TestJoinSettingsAreCheckedValueByValue(t *testing.T) {
	mirror := func(text string) string { return "{containerd: {registry: {mirrors: {docker.io: " + text + "}}}}" }
	login := func(text string) string { return "{containerd: {registry: {auth: {ghcr.io: " + text + "}}}}" }
	images := func(text string) string { return "{containerd: {importImages: ['" + text + "']}}" }
	const registry = "containerd.registry."
	for name, test := range map[string]struct{ join, key, want string }{
		"an empty command": {
			"{preInstallCommands: [date, ' ']}", "preInstallCommands[1]",
			"is empty; remove it",
		},
		"a NUL byte": {`{preJoinCommands: ["a\0b"]}`, "preJoinCommands[0]", "holds a NUL byte"},
		"a whole program": {
			"{postJoinCommands: ['" + strings.Repeat("x", 70_000) + "']}",
			"postJoinCommands[0]", "put the script on the machine",
		},
		"a mistyped phase":   {"{skipPhases: [preflght]}", "skipPhases[0]", `did you mean "preflight"?`},
		"a phase of init":    {"{skipPhases: [addon/coredns]}", "skipPhases[0]", "is not a phase of kubeadm join"},
		"half of a phase":    {"{skipPhases: [certs]}", "skipPhases[0]", "is not a phase of kubeadm join"},
		"the join itself":    {"{skipPhases: [kubelet-start]}", "skipPhases[0]", "no node has joined"},
		"a CA with a detour": {"{caCertPath: /etc/../ca.crt}", "caCertPath", "without detours"},
		"another name": {
			"{nodeRegistration: {kubeletExtraArgs: [{name: hostname-override, value: a}]}}",
			"nodeRegistration.kubeletExtraArgs[0].name", "set nodeName",
		},
		"a socket over TCP": {
			"{nodeRegistration: {criSocket: 'tcp://1.2.3.4:5'}}", "nodeRegistration.criSocket",
			"address of a socket",
		},
		"a relative config path": {
			"{containerd: {registry: {configPath: certs.d}}}", registry + "configPath",
			"not an absolute path",
		},
		"a mirror of a URL": {
			"{containerd: {registry: {mirrors: {'https://docker.io': {}}}}}",
			registry + `mirrors["https://docker.io"]`, "holds a scheme or a path",
		},
		"a mirror of a path": {
			"{containerd: {registry: {mirrors: {docker.io/library: {}}}}}",
			registry + `mirrors["docker.io/library"]`, "holds a scheme or a path",
		},
		"a mirror of a word": {
			"{containerd: {registry: {mirrors: {mirror: {}}}}}", registry + "mirrors.mirror",
			"has a dot or a port",
		},
		"a mirror of a port": {
			"{containerd: {registry: {mirrors: {'a:99999': {}}}}}",
			registry + `mirrors["a:99999"]`, "is not a port",
		},
		"a mirror of no host": {
			"{containerd: {registry: {mirrors: {'$(id).io': {}}}}}",
			registry + `mirrors["$(id).io"]`, "neither a host name nor an IP address",
		},
		"a server without scheme": {
			mirror("{server: mirror.example.com}"), registry + `mirrors["docker.io"].server`,
			"is not an http or https URL",
		},
		"a server with a login": {
			mirror("{server: 'https://u:hunter2@m.example.com'}"),
			registry + `mirrors["docker.io"].server`, "write user and password under containerd.registry.auth",
		},
		"a server with a quote": {
			mirror(`{server: "https://m/'x'"}`), registry + `mirrors["docker.io"].server`,
			"do not belong into a URL",
		},
		"a host without server": {
			mirror("{hosts: [{skipVerify: true}]}"),
			registry + `mirrors["docker.io"].hosts[0].server`, "is missing",
		},
		"a host twice": {
			mirror("{hosts: [{server: 'https://a.b'}, {server: 'https://a.b/'}]}"),
			registry + `mirrors["docker.io"].hosts[1].server`, "is that of hosts[0] too",
		},
		"a relative CA": {
			mirror("{caCert: [ca.crt]}"), registry + `mirrors["docker.io"].caCert[0]`,
			"not an absolute path",
		},
		"a CA for plain HTTP": {
			mirror("{server: 'http://a.b', caCert: [/etc/ca.crt]}"),
			registry + `mirrors["docker.io"].caCert`, "is asked without TLS",
		},
		"a capability": {
			mirror("{capabilities: [pull, pusch]}"),
			registry + `mirrors["docker.io"].capabilities[1]`, `did you mean "push"?`,
		},
		"no login": {login("{}"), registry + `auth["ghcr.io"]`, "holds no login"},
		"a login for all": {
			"{containerd: {registry: {auth: {_default: {username: a, password: b}}}}}",
			registry + "auth._default", "neither a host name",
		},
		"a user alone": {
			login("{username: me}"), registry + `auth["ghcr.io"].password`,
			"is missing beside username",
		},
		"a password alone": {
			login("{password: hunter2}"), registry + `auth["ghcr.io"].username`,
			"is missing beside password",
		},
		"a login twice": {
			login("{username: me, password: hunter2, auth: " +
				base64.StdEncoding.EncodeToString([]byte("me:hunter2")) + "}"), registry + `auth["ghcr.io"].auth`,
			"remove one of them",
		},
		"a login in clear": {
			login("{auth: 'me:hunter2'}"), registry + `auth["ghcr.io"].auth`,
			"not user:password in base64",
		},
		"a login without a colon": {
			login("{auth: " + base64.StdEncoding.EncodeToString([]byte("hunter2")) + "}"),
			registry + `auth["ghcr.io"].auth`, "not user:password in base64",
		},
		"no source": {images(""), "containerd.importImages[0]", "is empty"},
		"a relative file": {
			images("./app.tar"), "containerd.importImages[0]", `"./app.tar" is not an absolute path`,
		},
		"a path with a command": {images("/srv/$(id).tar"), "containerd.importImages[0]", "without detours"},
		"an image": {
			images("ghcr.io/example/app:v1"), "containerd.importImages[0]",
			`write "oci://ghcr.io/example/app:v1"`,
		},
		"an image with a space": {
			images("oci://ghcr.io/example/a b"), "containerd.importImages[0]",
			"not the name of an image",
		},
		"another scheme": {
			images("s3://bucket/app.tar"), "containerd.importImages[0]",
			"neither an absolute path",
		},
		"a URL of nothing": {
			images("https://files.example.com/"), "containerd.importImages[0]",
			"names no file",
		},
		"a URL with a login": {
			images("https://u:hunter2@files.example.com/app.tar"), "containerd.importImages[0]",
			"holds a user or password",
		},
		"a URL with a query": {
			images("https://files.example.com/app.tar?token=hunter2"),
			"containerd.importImages[0]", "a query",
		},
		"half a digest": {
			images("https://files.example.com/app.tar#sha256=abc"),
			"containerd.importImages[0]", "64 hexadecimal digits",
		},
		"another fragment": {
			images("https://files.example.com/app.tar#top"), "containerd.importImages[0]",
			"no digest",
		},
	} {
		t.Run(name, func(t *testing.T) {
			problems := problemsOf(t, "privateNodes: {enabled: true, joinNode: "+test.join+"}\n", goodFleet)
			only(t, problems, "privateNodes.joinNode."+test.key, test.want)
			assert.Assert(t, !strings.Contains(problems.Error(), "hunter2"))

			problems = problemsOf(t, goodVCluster, machine("{name: a, address: a, join: "+test.join+"}"))
			only(t, problems, "machines[0].join."+test.key, test.want)
			assert.Assert(t, !strings.Contains(problems.Error(), "hunter2"))
		})
	}
}

func TestValidJoinSettingsAreAccepted(t *testing.T) {
	for name, join := range map[string]string{
		"commands of several lines": `{preInstallCommands: ["set -x\napt-get install -y 'x'\n"], preJoinCommands: ["true"], postJoinCommands: ["echo $ARGOSY_MACHINE"]}`,
		"phases": "{skipPhases: [preflight, control-plane-prepare/download-certs, etcd-join, " +
			"kubelet-wait-bootstrap]}",
		"mirrors": `{containerd: {registry: {configPath: /etc/containerd/mirrors, mirrors: {_default: {server: 'https://all.example.com'}, 'localhost:5000': {skipVerify: true},
			'[fd00::1]:5000': {}, docker.io: {server: 'https://registry-1.docker.io', caCert: [/etc/ssl/ca.crt],
			capabilities: [pull, resolve, push],
			hosts: [{server: 'http://192.168.31.250:5000', skipVerify: true}, {server: 'https://m.example.com/v2/docker.io', overridePath: true}]}}}}}`,
		"logins": "{containerd: {registry: {auth: {ghcr.io: {username: me, password: x}, 'a:5000': {identityToken: " +
			"x}, quay.io: {auth: bWU6eA==}}}}}",
		"images": "{containerd: {importImages: [/srv/images, /srv/app.tar.zst, 'http://10.0.0.1:8080/app.tar', " +
			"'https://files.example.com/app.tar.gz#sha256=" +
			strings.Repeat("aB", 32) + "', 'oci://registry.example.com:5000/app:v1', 'oci://alpine']}}",
	} {
		t.Run(name, func(t *testing.T) {
			join = strings.ReplaceAll(join, "\n\t\t\t", " ")
			parse(t, "privateNodes: {enabled: true, joinNode: "+join+"}\n", goodFleet)
			parse(t, goodVCluster, machine("{name: a, address: a, join: "+join+"}"))
		})
	}
}

// The table of checkRuntimes.
func TestContainerdSettingsAreRefusedWhereNoMachineHasArgosysContainerd(t *testing.T) {
	const (
		settings = "pauseImage: a.b/pause:1"
		off      = "enabled: false"
		on       = "enabled: true"
		all      = "privateNodes.joinNode.containerd.pauseImage"
		own      = "machines[0].join.containerd.pauseImage"
	)
	for _, test := range []struct{ all, own, refused string }{
		{settings, settings, ""},
		{settings, off, ""},
		{on, off + ", " + settings, own},
		{settings + ", " + off, "", all},
		{off, settings, own},
		{settings + ", " + off, on, ""},
		{off, on + ", " + settings, ""},
		{off, off, ""},
	} {
		// A second machine without settings of its own has those of all machines.
		vcluster := "privateNodes: {enabled: true, joinNode: {containerd: {" + test.all + "}}}\n"
		fleet := machine("{name: a, address: a, join: {containerd: {" + test.own + "}}}")
		if test.all == settings && test.own == off {
			fleet += "- {name: b, address: b}\n"
		}
		t.Run(test.all+" / "+test.own, func(t *testing.T) {
			if test.refused == "" {
				parse(t, vcluster, fleet)
				return
			}
			only(t, problemsOf(t, vcluster, fleet), test.refused, "containerd.enabled is false")
		})
	}
	for key, text := range map[string]string{
		"registry.configPath": "registry: {configPath: /a}", "registry.mirrors": "registry: {mirrors: {docker.io: {}}}",
		"registry.auth": "registry: {auth: {a.b: {identityToken: x}}}",
	} {
		only(t, problemsOf(t, "privateNodes: {enabled: true, joinNode: {containerd: {enabled: false, "+text+"}}}\n",
			goodFleet),
			"privateNodes.joinNode.containerd."+key, "never touched; remove it")
	}
}

func TestPathsOfAMachineAreChecked(t *testing.T) {
	only(t, problemsOf(t, goodVCluster, machine("{name: a, address: a, join: {binariesPath: opt}}")),
		"machines[0].join.binariesPath", `write "/opt"`)
	only(t, problemsOf(t, goodVCluster, machine("{name: a, address: a, join: {cniBinariesPath: /opt/}}")),
		"machines[0].join.cniBinariesPath", `write "/opt"`)

	fleet := hostedFleet + "machines:\n- {name: a, address: a, join: {cniBinariesPath: /opt/cni}}\n"
	only(t, problemsOf(t, hostedVCluster, fleet), "machines[0].join.cniBinariesPath",
		"is not the folder /opt/cni/bin, into which flannel installs its plugin on every node")
	parse(t, hostedVCluster+"deploy: {cni: {flannel: {enabled: false}}}\n", fleet)
	parse(t, goodVCluster, machine("{name: a, address: a, join: {cniBinariesPath: /opt/cni}}"))
}

func TestRegistriesOfThePluginAreChecked(t *testing.T) {
	for name, test := range map[string]struct{ fleet, key, want string }{
		"a Secret elsewhere": {"registries: {secret: a/b}", "registries.secret", "name that Kubernetes allows"},
		"no certificate":     {"registries: {caCert: hello}", "registries.caCert", "not a PEM certificate"},
		"a URL": {
			"registries: {plainHTTP: ['http://a:5000']}", "registries.plainHTTP[0]",
			"holds a scheme",
		},
		"a host twice": {
			"registries: {plainHTTP: ['a:5000', 'a:5000']}", "registries.plainHTTP[1]",
			"is a duplicate",
		},
		"no time for a hook":  {"join: {commandTimeout: 0s}", "join.commandTimeout", "more than 0"},
		"a negative timeout":  {"join: {commandTimeout: -1m}", "join.commandTimeout", "more than 0"},
		"a number for a time": {"join: {commandTimeout: 300}", "join.commandTimeout", "must be a duration"},
	} {
		t.Run(name, func(t *testing.T) {
			only(t, problemsOf(t, goodVCluster, goodFleet+test.fleet+"\n"), test.key, test.want)
		})
	}
	parse(t, goodVCluster, goodFleet+"registries: {secret: logins, plainHTTP: ['10.0.0.1:5000', localhost]}\njoin: "+
		"{commandTimeout: 90s}\n")
}
