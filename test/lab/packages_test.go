package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// The programs of a simulated computer, each a shell script.
const (
	noPackage    = "exit 1" // dpkg-query, where no package is installed
	everyPackage = "echo installed"
	isRoot       = "echo 0"
	isUser       = "echo 1000"
	apt          = `echo "$@ $("$POLICY_RC_D" ssh start || echo "services: $?")" >>"$APT"`
	// It installs nothing before it has been updated.
	aptWithoutLists = apt + `; [ "$1" = update ] && touch "$APT.lists"; [ -e "$APT.lists" ]`
)

func TestPackagesAreInstalledOrNamedInOneLine(t *testing.T) {
	for name, c := range map[string]struct {
		programs map[string]string
		wanted   string
		errors   string // what it prints to standard error, in part
		apt      []string
	}{
		"all there": {
			programs: map[string]string{"dpkg-query": everyPackage, "id": isUser, "apt-get": apt}, wanted: "test",
		},
		"missing, not root": {
			programs: map[string]string{"dpkg-query": noPackage, "id": isUser, "apt-get": apt},
			wanted:   "test", errors: "install them with: sudo apt-get install e2fsprogs",
		},
		"mkdocs missing, not root": {
			programs: map[string]string{"dpkg-query": noPackage, "id": isUser, "apt-get": apt},
			wanted:   "docs", errors: "install them with: sudo apt-get install mkdocs mkdocs-literate-nav",
		},
		"npm and Node.js missing, not root": {
			programs: map[string]string{"dpkg-query": noPackage, "id": isUser, "apt-get": apt},
			wanted:   "argo-pages", errors: "fonts-dejavu-core nodejs npm\n",
		},
		"a Node.js with npm of its own": {
			programs: map[string]string{"dpkg-query": noPackage, "id": isUser, "apt-get": apt, "npm": ""},
			wanted:   "argo-pages", errors: "fonts-dejavu-core nodejs\n",
		},
		"missing, as root": {
			programs: map[string]string{"dpkg-query": noPackage, "id": isRoot, "apt-get": apt},
			wanted:   "procps", apt: []string{"install procps services: 101"},
		},
		"missing, and apt has no lists": {
			programs: map[string]string{"dpkg-query": noPackage, "id": isRoot, "apt-get": aptWithoutLists},
			wanted:   "procps", apt: []string{"install procps", "update", "install procps"},
		},
		"no Debian, with the programs": {
			programs: map[string]string{
				"ip": "", "iptables": "", "mkfs.ext4": "", "mount": "", "ps": "", "ssh": "",
				"sshd": "", "sudo": "", "tcsh": "", "unshare": "",
			},
			wanted: "test",
		},
		"no Debian, without them": {wanted: "no-such-program", errors: "install those of no-such-program"},
	} {
		t.Run(name, func(t *testing.T) {
			installed, errors := packages(t, c.programs, c.wanted)
			if c.errors == "" {
				assert.Equal(t, errors, "")
			}
			assert.Assert(t, strings.Contains(errors, c.errors), errors)
			assert.Assert(t, strings.Count(errors, "\n") <= 1, errors)
			assert.Equal(t, len(installed), len(c.apt), "%q", installed)
			for i, want := range c.apt {
				for _, word := range strings.Fields(want) {
					assert.Assert(t, strings.Contains(installed[i], word), installed[i])
				}
			}
		})
	}
}

// packages runs packages.sh where only these programs are. It returns the calls of apt-get and the standard error.
func packages(t *testing.T, programs map[string]string, wanted string) (calls []string, errors string) {
	t.Helper()
	folder := t.TempDir()
	for name, script := range programs {
		assert.NilError(t, os.WriteFile(filepath.Join(folder, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	for _, tool := range []string{"chmod", "grep", "rm", "touch"} {
		path, err := exec.LookPath(tool)
		assert.NilError(t, err)
		assert.NilError(t, os.Symlink(path, filepath.Join(folder, tool)))
	}
	var stderr strings.Builder
	cmd := exec.Command("/bin/sh", "../packages.sh", wanted)
	policy := filepath.Join(folder, "policy-rc.d")
	cmd.Env = []string{"PATH=" + folder, "APT=" + filepath.Join(folder, "apt"), "POLICY_RC_D=" + policy}
	cmd.Stderr = &stderr
	err := cmd.Run()
	assert.Equal(t, err != nil, stderr.Len() > 0, "%v: %s", err, stderr.String())
	_, err = os.Stat(policy)
	assert.ErrorIs(t, err, os.ErrNotExist, "it forbids services beyond its end")
	log, err := os.ReadFile(filepath.Join(folder, "apt"))
	if err == nil {
		calls = strings.Split(strings.TrimSpace(string(log)), "\n")
	}
	return calls, stderr.String()
}
