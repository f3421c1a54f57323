package e2e_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// bootstrapToken matches kubeadm's tokens.
var bootstrapToken = regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`)

// TestNoSecretIsVisible joins the machine that needs a key and a sudo password, and then looks for them everywhere that
// another user may read.
func TestNoSecretIsVisible(t *testing.T) {
	resetMachines(t, "m3")
	w := mustSucceed(t, teamA(), "join", "machines=m3")

	key := strings.Split(readFile(t, env.Lab.KeyPath()), "\n")[2]
	password := strings.TrimSpace(readFile(t, filepath.Join(env.Lab.StateDir(), "secrets", "ops-password")))
	assert.Assert(t, len(key) > 20 && len(password) > 5)

	for where, text := range map[string]string{
		"the Workflow":        hostKubectl(t, teamA(), "get", "workflow", w.Name, "-o", "yaml"),
		"the WorkflowTaskSet": hostKubectl(t, teamA(), "get", "workflowtaskset", "-o", "yaml"),
		"the plugin's log": hostKubectl(t, teamA(), "logs", "-l",
			"workflows.argoproj.io/workflow="+w.Name, "-c", "argosy", "--tail=-1"),
		"the machine's journal":   runOn(t, "m3", "journalctl", "--no-pager", "-u", "argosy-*"),
		"the operation on disk":   runOn(t, "m3", "sh", "-c", "cat /var/lib/argosy/ops/*/*"),
		"the machine's processes": runOn(t, "m3", "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"),
		"files that others may read": runOn(t, "m3", "sh", "-c",
			"find /tmp /var/tmp /run /etc/kubernetes -xdev -type f -perm /044 -size -1M "+
				"-exec cat {} + 2>/dev/null; true"),
	} {
		assert.Assert(t, !strings.Contains(text, password), "the sudo password is in %s", where)
		assert.Assert(t, !strings.Contains(text, key), "the private key is in %s", where)
		assert.Equal(t, bootstrapToken.FindString(text), "", "a bootstrap token is in %s", where)
	}
}
