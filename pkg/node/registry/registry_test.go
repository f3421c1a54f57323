package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// mirrors are one of each kind.
var mirrors = map[string]spec.Mirror{
	"docker.io": {Hosts: []spec.MirrorHost{
		{Server: "https://z-first.example.com", CACert: []string{"/etc/pki/a.crt", `/etc/pki/b "c".crt`}},
		{Server: "http://10.0.0.2:5000", Capabilities: []string{"pull"}},
		{Server: "a-last.example.com/v2/proxy", OverridePath: true, SkipVerify: true},
	}},
	"registry.example.com:5000": {MirrorHost: spec.MirrorHost{
		Server: "https://registry.example.com:5000",
		CACert: []string{"/etc/pki/site.crt"},
	}},
	"plain.example.com:5000": {MirrorHost: spec.MirrorHost{SkipVerify: true}},
	"quay.io":                {MirrorHost: spec.MirrorHost{Capabilities: []string{"pull", "resolve", "push"}}},
	"_default": {
		MirrorHost: spec.MirrorHost{SkipVerify: true},
		Hosts:      []spec.MirrorHost{{Server: "10.0.0.2"}},
	},
}

func TestHostsFilesAreRendered(t *testing.T) {
	for registry, mirror := range mirrors {
		golden.Assert(t, string(render(registry, mirror)), folderName(registry)+".toml")
	}
	assert.Equal(t, len(Check(spec.Registry{Mirrors: mirrors})), 0)
}

func TestRegistriesHaveTheFoldersThatContainerdLooksFor(t *testing.T) {
	for registry, file := range map[string]string{
		"docker.io":                 "/etc/containerd/certs.d/docker.io/hosts.toml",
		"registry.example.com:5000": "/etc/containerd/certs.d/registry.example.com_5000_/hosts.toml",
		"[fd00::1]:5000":            "/etc/containerd/certs.d/[fd00::1]_5000_/hosts.toml",
		"_default":                  "/etc/containerd/certs.d/_default/hosts.toml",
	} {
		assert.Equal(t, hostsPath(spec.Registry{}, registry), file)
	}
	elsewhere := spec.Registry{ConfigPath: "/opt/registries"}
	assert.Equal(t, hostsPath(elsewhere, "quay.io"), "/opt/registries/quay.io/hosts.toml")
}

func TestEveryAuthorityIsNamedOnce(t *testing.T) {
	assert.DeepEqual(t, Authorities(spec.Registry{Mirrors: mirrors}),
		[]string{"/etc/pki/a.crt", `/etc/pki/b "c".crt`, "/etc/pki/site.crt"})
}

func TestWhatContainerdCouldNotReadIsRefused(t *testing.T) {
	for says, registry := range map[string]spec.Registry{
		`configPath "certs.d" is not a plain absolute path`:        {ConfigPath: "certs.d"},
		`configPath "/a:/b" is not a plain absolute path`:          {ConfigPath: "/a:/b"},
		`"../../etc" is not a host as images name it`:              {Mirrors: map[string]spec.Mirror{"../../etc": {}}},
		`"https://quay.io" is not a host as images name it`:        {Mirrors: map[string]spec.Mirror{"https://quay.io": {}}},
		`has the server "https://", which is not of the form`:      {Mirrors: map[string]spec.Mirror{"q": {MirrorHost: spec.MirrorHost{Server: "https://"}}}},
		`which is not of the form https://host:port`:               {Mirrors: map[string]spec.Mirror{"q": {MirrorHost: spec.MirrorHost{Server: "https://a:b@c"}}}},
		`Host 1 of the registry q has no server`:                   {Mirrors: map[string]spec.Mirror{"q": {Hosts: []spec.MirrorHost{{}}}}},
		`Host 2 of the registry q has the server "a" of one befor`: {Mirrors: map[string]spec.Mirror{"q": {Hosts: []spec.MirrorHost{{Server: "https://a"}, {Server: "a"}}}}},
		`has the capability "delete"; there are pull, resolve`:     {Mirrors: map[string]spec.Mirror{"q": {MirrorHost: spec.MirrorHost{Capabilities: []string{"delete"}}}}},
		`"ca.crt", which is not an absolute path`:                  {Mirrors: map[string]spec.Mirror{"q": {MirrorHost: spec.MirrorHost{CACert: []string{"ca.crt"}}}}},
	} {
		problems := Check(registry)
		assert.Equal(t, len(problems), 1, "%q", problems)
		assert.Assert(t, strings.Contains(problems[0], says), problems[0])
	}
}

func TestOnlyArgosysOwnFilesAreFoundWhereverContainerdWasTold(t *testing.T) {
	h := &host.Host{Root: t.TempDir()}
	write := func(name, content string) {
		assert.NilError(t, os.MkdirAll(filepath.Dir(h.Path(name)), 0o755))
		assert.NilError(t, os.WriteFile(h.Path(name), []byte(content), 0o600))
	}
	write("/etc/containerd/certs.d/a/hosts.toml", inspect.Mark+"\n")
	write("/etc/containerd/certs.d/b/hosts.toml", "server = \"theirs\"\n")
	write("/opt/registries/c_5000_/hosts.toml", inspect.Mark+"\n")
	assert.DeepEqual(t, Written(h, Folders(h)...), []string{"/etc/containerd/certs.d/a/hosts.toml"})

	const named = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = " +
		"'/opt/registries'\n[plugins.'other']\nregistry = {}\n"
	write(layout.ContainerdConfig, named)
	assert.Equal(t, len(Folders(h)), 1, "somebody else's configuration says nothing of Argosy's files")
	write(layout.ContainerdConfig, inspect.Mark+"\n"+named)
	assert.DeepEqual(t, Written(h, Folders(h)...), []string{
		"/etc/containerd/certs.d/a/hosts.toml",
		"/opt/registries/c_5000_/hosts.toml",
	})
}

// parsed is a hosts.toml as containerd reads it.
type parsed struct {
	parsedHost
	Server string                `toml:"server"`
	Hosts  map[string]parsedHost `toml:"host"`
}

type parsedHost struct {
	Capabilities []string `toml:"capabilities"`
	CA           []string `toml:"ca"`
	SkipVerify   bool     `toml:"skip_verify"`
	OverridePath bool     `toml:"override_path"`
}

// order is that of the tables of hosts, which is the order in which they are asked.
func order(text []byte) []string {
	var hosts []string
	parser := unstable.Parser{}
	parser.Reset(text)
	for parser.NextExpression() {
		expression := parser.Expression()
		if expression.Kind != unstable.Table {
			continue
		}
		var parts []string
		for key := expression.Key(); key.Next(); {
			parts = append(parts, string(key.Node().Data))
		}
		if len(parts) == 2 && parts[0] == "host" {
			hosts = append(hosts, parts[1])
		}
	}
	return hosts
}

func FuzzWhatIsRenderedIsRead(f *testing.F) {
	f.Add("docker.io", "https://a", "b:5000", "/etc/\"ca\".crt", "pull", true, false)
	f.Add("_default", "", "a\nb", "\\", "x\x00", false, true)
	f.Fuzz(func(t *testing.T, registry, first, second, ca, capability string, skip, override bool) {
		clean := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
		registry, first, second, ca, capability = clean(registry), clean(first), clean(second), clean(ca),
			clean(capability)
		if strings.ContainsAny(registry, "\n\r") || !registryForm.MatchString(registry) ||
			address(first, false) == address(second, skip) {
			t.Skip()
		}
		mirror := spec.Mirror{
			MirrorHost: spec.MirrorHost{Server: first, CACert: []string{ca}, SkipVerify: skip},
			Hosts: []spec.MirrorHost{
				{Server: second, SkipVerify: skip, OverridePath: override, CACert: []string{ca, ca}},
				{Server: first, Capabilities: []string{capability, "push"}},
			},
		}
		text := render(registry, mirror)
		var got parsed
		assert.NilError(t, toml.Unmarshal(text, &got), "%s", text)
		assert.DeepEqual(t, order(text), []string{address(second, skip), address(first, false)})
		assert.Equal(t, got.Server, server(registry, mirror.MirrorHost))
		assert.DeepEqual(t, got.CA, []string{ca})
		assert.Equal(t, got.SkipVerify, skip)
		assert.DeepEqual(t, got.Hosts, map[string]parsedHost{
			address(second, skip): {
				Capabilities: []string{"pull", "resolve"}, CA: []string{ca, ca}, SkipVerify: skip,
				OverridePath: override,
			},
			address(first, false): {Capabilities: []string{capability, "push"}},
		})
		assert.Assert(t, strings.HasPrefix(string(text), fmt.Sprintf("%s: how containerd reaches the registry %s.\n",
			inspect.Mark, registry)))
	})
}
