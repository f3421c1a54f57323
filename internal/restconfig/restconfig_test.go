package restconfig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/restconfig"
	"argosy.dev/argosy/pkg/errclass"
)

// kubeconfig returns a kubeconfig with extra keys of its cluster and its user, and of a user in no context.
func kubeconfig(cluster, user, other string) []byte {
	return []byte(`apiVersion: v1
kind: Config
current-context: a
contexts: [{name: a, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443", ` + cluster + `}}]
users: [{name: u, user: {` + user + `}}, {name: other, user: {` + other + `}}]
`)
}

func TestACompleteKubeconfigIsRead(t *testing.T) {
	made, err := restconfig.Parse(kubeconfig("certificate-authority-data: QQ==", "token: mine", ""))
	assert.NilError(t, err)
	assert.Equal(t, made.Host, "https://192.0.2.1:6443")
	assert.Equal(t, made.BearerToken, "mine")
	assert.Equal(t, string(made.CAData), "A")
}

func TestAKubeconfigThatNeedsMoreThanItselfIsRefused(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	assert.NilError(t, os.WriteFile(token, []byte("secret of the plugin"), 0o600))
	started := filepath.Join(t.TempDir(), "started")
	const program = "exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: touch, " +
		"args: ["
	for name, one := range map[string]struct{ cluster, user, other, says string }{
		"token of the plugin":   {user: "tokenFile: " + token, says: `user "u" has tokenFile`},
		"program":               {user: program + started + "]}", says: `user "u" has exec`},
		"plugin":                {user: "auth-provider: {name: oidc}", says: `user "u" has auth-provider`},
		"certificate in a file": {user: "client-certificate: /a", says: `user "u" has client-certificate`},
		"key in a file":         {user: "client-key: /a", says: `user "u" has client-key`},
		"authority in a file":   {cluster: "certificate-authority: /a", says: `cluster "c" has certificate-authority`},
		"another context":       {other: "tokenFile: " + token, says: `user "other" has tokenFile`},
		"beside a token":        {user: "token: mine, tokenFile: " + token, says: `user "u" has tokenFile`},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := restconfig.Parse(kubeconfig(one.cluster, one.user, one.other))
			assert.ErrorContains(t, err, one.says)
			assert.ErrorContains(t, err, "kubectl config view --raw --flatten")
			assert.Assert(t, made == nil)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			assert.Assert(t, !strings.Contains(err.Error(), "secret of the plugin"))
		})
	}
	_, err := os.Stat(started)
	assert.Assert(t, os.IsNotExist(err), "the program was started")
}

func TestTextThatIsNoKubeconfigIsRefused(t *testing.T) {
	for _, text := range []string{"", "a: [", "kind: Config\ncurrent-context: none\n"} {
		_, err := restconfig.Parse([]byte(text))
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration, "%q", text)
	}
}
