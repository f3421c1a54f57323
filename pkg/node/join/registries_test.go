package join

import (
	"context"
	"os"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

const (
	hubFile   = "/etc/containerd/certs.d/docker.io/hosts.toml"
	plainFile = "/etc/containerd/certs.d/plain.example.org_5000_/hosts.toml"
)

func mirrorsOf(hosts ...string) map[string]spec.Mirror {
	mirrors := map[string]spec.Mirror{}
	for _, host := range hosts {
		mirrors[host] = spec.Mirror{Hosts: []spec.MirrorHost{{Server: "http://192.0.2.9:5000"}}}
	}
	return mirrors
}

func TestRegistriesAreSetUpWithoutARestart(t *testing.T) {
	m := newMachine(t).withBundle()
	m.socket()
	apply(t, m, applyContainerd)
	m.write(hubFile, "# the owner's\n")
	m.join.Containerd.Registry.Mirrors = mirrorsOf("docker.io", "plain.example.org:5000")
	changes := m.differences(checkRegistries)
	assert.Equal(t, len(changes), 2)
	assert.Equal(t, changes[0].What, hubFile)
	assert.Equal(t, changes[0].Effect, spec.NoRestart)
	assert.Assert(t, strings.Contains(changes[0].Diff, "-# the owner's\n"), changes[0].Diff)

	m.programs.calls = nil
	detail := apply(t, m, applyRegistries)
	assert.Equal(t, detail, "2 written, 0 removed")
	assert.Equal(t, m.before(hubFile), "# the owner's\n")
	assert.Assert(t, holds(t, m, checkRegistries))
	assert.Assert(t, holds(t, m, checkContainerd), "nothing that containerd has to be restarted for")
	assert.Equal(t, len(m.programs.calls), 0)
	assert.Assert(t, strings.HasPrefix(m.read(plainFile), inspect.Mark))
	info, err := os.Stat(m.host.Path(plainFile))
	assert.NilError(t, err)
	assert.Equal(t, info.Mode(), os.FileMode(0o644))

	m.join.Containerd.Registry.Mirrors = nil
	assert.Equal(t, len(m.differences(checkRegistries)), 2)
	apply(t, m, applyRegistries)
	assert.Assert(t, holds(t, m, checkRegistries))
	assert.Equal(t, m.read(hubFile), "# the owner's\n", "what was there before comes back")
	assert.DeepEqual(t, m.below(layout.RegistriesDir), []string{"docker.io"})
}

func TestRegistriesMoveToAnotherFolderAndContainerdIsTold(t *testing.T) {
	m := newMachine(t).withBundle()
	m.socket()
	m.join.Containerd.Registry = spec.Registry{ConfigPath: "/opt/one", Mirrors: mirrorsOf("docker.io")}
	apply(t, m, applyRegistries)
	apply(t, m, applyContainerd)
	m.join.Containerd.Registry.ConfigPath = "/opt/two"
	assert.Assert(t, !holds(t, m, checkContainerd))
	apply(t, m, applyRegistries)
	apply(t, m, applyContainerd)
	assert.Assert(t, holds(t, m, checkRegistries) && holds(t, m, checkContainerd))
	assert.DeepEqual(t, m.below("/opt/one"), []string(nil))
	assert.DeepEqual(t, m.below("/opt/two"), []string{"docker.io"})
	assert.Assert(t, strings.Contains(m.read(layout.ContainerdConfig), "config_path = '/opt/two'"))
}

func TestMissingAuthorityFailsBeforeAnyChange(t *testing.T) {
	m := newMachine(t)
	m.join.Containerd.Registry.Mirrors = map[string]spec.Mirror{
		"quay.io": {MirrorHost: spec.MirrorHost{CACert: []string{"/etc/pki/site.crt"}}},
	}
	_, _, err := checkRegistries(context.Background(), m.context)
	assert.ErrorContains(t, err, "The certificate authority /etc/pki/site.crt, which registry.mirrors names, is not "+
		"on the machine")
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)

	m.join.Hooks.PreInstall = []string{"fetch"}
	assert.Assert(t, !holds(t, m, checkRegistries), "the user's commands may bring it")
	_, err = applyRegistries(context.Background(), m.context)
	assert.ErrorContains(t, err, "/etc/pki/site.crt")
	m.write("/etc/pki/site.crt", "a certificate")
	apply(t, m, applyRegistries)
	assert.Assert(t, holds(t, m, checkRegistries))
}

func TestLoginsAreForRootAloneAndRestartContainerd(t *testing.T) {
	const password = "s3cret-of-the-registry"
	m := newMachine(t).withBundle()
	m.socket()
	login := func(password string) {
		m.context.Operation.Secrets.Registries = map[string]spec.RegistryLogin{"quay.io": {
			Username: "user",
			Password: password,
		}}
	}
	login(password)
	for _, change := range m.differences(checkContainerd) {
		assert.Assert(t, !strings.Contains(change.Diff, password), change.What)
	}
	apply(t, m, applyContainerd)
	assert.Assert(t, holds(t, m, checkContainerd))
	info, err := os.Stat(m.host.Path(layout.RegistryLogins))
	assert.NilError(t, err)
	assert.Equal(t, info.Mode(), os.FileMode(0o600))
	assert.Assert(t, strings.Contains(m.read(layout.RegistryLogins), password))
	assert.Assert(t, !strings.Contains(m.read(layout.ContainerdConfig)+m.read(spec.Root+"/containerd.applied"),
		password))

	assert.NilError(t, os.Chmod(m.host.Path(layout.RegistryLogins), 0o644))
	assert.Assert(t, !holds(t, m, checkContainerd), "others can read it")
	apply(t, m, applyContainerd)
	assert.Assert(t, holds(t, m, checkContainerd))

	login("another")
	changes := m.differences(checkContainerd)
	assert.Equal(t, len(changes), 1)
	assert.DeepEqual(t, changes[0], spec.Change{What: layout.RegistryLogins, Effect: spec.RestartsContainerd})
	m.programs.calls = nil
	apply(t, m, applyContainerd)
	assert.Assert(t, m.programs.called("systemctl restart containerd.service"))

	m.context.Operation.Secrets.Registries = nil
	assert.Assert(t, !holds(t, m, checkContainerd))
	apply(t, m, applyContainerd)
	assert.Assert(t, holds(t, m, checkContainerd))
	assert.Assert(t, !m.host.Exists(layout.RegistryLogins))
	assert.Assert(t, !strings.Contains(m.read(layout.ContainerdConfig), layout.RegistryLogins))
}

func TestAResumedJoinHasItsLoginsFromTheOperation(t *testing.T) {
	m := newMachine(t).withBundle()
	m.socket()
	op := *m.context.Operation
	op.Secrets.Registries = map[string]spec.RegistryLogin{"quay.io": {Username: "user", Password: "p"}}
	assert.NilError(t, m.context.Store.Prepare(op.ID))
	assert.NilError(t, m.context.Store.WriteOperation(&op))
	engine := &node.Engine{
		Host: m.host, Store: m.context.Store,
		Phases: map[spec.Kind][]node.Phase{spec.KindJoin: {{
			Name: "containerd", Check: checkContainerd,
			Apply: applyContainerd,
		}}},
	}
	status, err := engine.Run(context.Background(), op.ID, context.Background(), &strings.Builder{})
	assert.NilError(t, err)
	assert.Equal(t, status.State, spec.Succeeded, status.Message)
	assert.Assert(t, m.host.Exists(layout.RegistryLogins))
	assert.Assert(t, !strings.Contains(m.read("/var/lib/argosy/ops/op/spec.json"), "quay.io"),
		"the operation's file forgets its secrets")

	op.Secrets = spec.Secrets{Registries: map[string]spec.RegistryLogin{"quay.io": {Username: "user", Password: "p"}}}
	plan, err := engine.Plan(context.Background(), &op)
	assert.NilError(t, err)
	assert.Equal(t, plan.State, spec.Succeeded, "the next question carries them again, and they are there")
}
