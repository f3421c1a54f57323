package upgrade

import (
	"os"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// logins are those of one registry.
func logins(registry, password string) map[string]spec.RegistryLogin {
	return map[string]spec.RegistryLogin{registry: {Username: "u", Password: password}}
}

func TestRollbackUsesPresentLoginsAndKeepsNone(t *testing.T) {
	old, hub := logins("quay.io", "old"), logins("docker.io", "old")
	for name, test := range map[string]struct {
		before, after map[string]spec.RegistryLogin
		// change happens after the upgrade.
		change func(m *machine)
		has    string
	}{
		"unchanged":           {before: old, after: old, has: "password = 'old'"},
		"changed":             {before: old, after: logins("quay.io", "new"), has: "password = 'new'"},
		"removed":             {before: old, has: "[plugins.'io.containerd.grpc.v1.cri'.registry.configs]"},
		"of another registry": {before: old, after: logins("gcr.io", "new"), has: "registry.configs]"},
		"of Docker Hub":       {before: hub, after: logins("docker.io", "new"), has: "'registry-1.docker.io'.auth]"},
		"damaged since": {
			before: old, after: logins("quay.io", "new"), change: (*machine).damageLogins, has: "password = 'new'",
		},
		"as older versions did": {before: old, change: (*machine).keepLogins, has: "password = 'old'"},
	} {
		t.Run(name, func(t *testing.T) {
			// The earlier containerd is 1.x, whose form of the file is another.
			m := newNode(t, func(m *machine) { m.logins, m.containerd = test.before, "1.7.27" })
			m.logins = test.after
			before, record := m.beside(), m.record()
			m.succeeds(spec.KindUpgrade)
			m.assertNoLoginIn(keptDir, "old")
			if test.change != nil {
				test.change(m)
			}
			m.succeeds(spec.KindRollback)
			if test.after != nil && test.has != "registry.configs]" {
				m.same(before, m.beside())
			}
			content := m.read(layout.RegistryLogins)
			assert.Assert(t, strings.Contains(content, test.has), content)
			assert.Assert(t, strings.Contains(m.read(layout.ContainerdConfig), layout.RegistryLogins))
			assert.Equal(t, m.record(), record)
			m.allHeld(spec.KindRollback)
			if test.change == nil {
				m.assertNoLoginIn(spec.Root, "password")
			}
		})
	}
}

// damageLogins empties the file as a loss of power does that was not synced.
func (m *machine) damageLogins() { m.write(layout.RegistryLogins, "\x00\x00") }

// keepLogins makes the kept file as earlier versions of Argosy left it.
func (m *machine) keepLogins() {
	known, err := readKept(m.host)
	assert.NilError(m.t, err)
	kept := known.find(layout.RegistryLogins).Copy
	content := m.read(kept)
	const place = "configs.'quay.io'.auth]\n"
	assert.Assert(m.t, strings.Contains(content, place), content)
	m.write(kept, strings.Replace(content, place, place+"password = 'old'\n", 1))
}

// assertNoLoginIn makes sure that no file below the folder holds the word.
func (m *machine) assertNoLoginIn(dir, word string) {
	m.t.Helper()
	entries, err := os.ReadDir(m.host.Path(dir))
	assert.NilError(m.t, err)
	for _, entry := range entries {
		if name := dir + "/" + entry.Name(); entry.IsDir() {
			m.assertNoLoginIn(name, word)
		} else {
			assert.Assert(m.t, !strings.Contains(m.read(name), word), "%s: %s", name, m.read(name))
		}
	}
}
