package join

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

func TestLoginsAreReadAsDockerWritesThem(t *testing.T) {
	logins, err := ReadLogins([]byte(`{"auths": {
		"https://index.docker.io/v1/": {"username": "hub", "password": "h", "email": "x@example.com",
		"auth": "aHViOmg="},
		"registry.example.com:5000": {"auth": "dXNlcjpwYXNz"},
		"gcr.io": {"identitytoken": "t"},
		"https://quay.io/v2/": {"username": "all"}, "quay.io/team": {"username": "team"},
		"logged.out": {}
	}, "credsStore": "desktop"}`))
	assert.NilError(t, err)
	assert.DeepEqual(t, logins, map[string]spec.RegistryLogin{
		"docker.io":                 {Username: "hub", Password: "h", Auth: "aHViOmg="},
		"registry.example.com:5000": {Auth: "dXNlcjpwYXNz"},
		"gcr.io":                    {IdentityToken: "t"},
		"quay.io":                   {Username: "all"},
	})
}

func TestLoginsThatCannotBeUsedAreRefusedWithoutTheirContent(t *testing.T) {
	for says, content := range map[string]string{
		"it is not of the form":            `{"auths": "s3cret"}`,
		"it is not of the form {":          `s3cret`,
		"it is not of the form {\"auths\"": `{"registry.example.com": {"password": "s3cret"}}`,
		"containerd knows no " +
			"patterns": `{"auths": {"*.example.com": {"username": "u", "password": "s3cret"}}}`,
		"it is not the host of a " +
			"registry": `{"auths": {"https:///v1": {"username": "u", "password": "s3cret"}}}`,
		"its auth is not user:password in base64":      `{"auths": {"a.example.com": {"auth": "s3cret"}}}`,
		"it has neither username, identityToken nor a": `{"auths": {"a.example.com": {"password": "s3cret"}}}`,
	} {
		_, err := ReadLogins([]byte(content))
		assert.ErrorContains(t, err, says)
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		assert.Assert(t, !strings.Contains(err.Error(), "s3cret"), err)
	}
}

func FuzzLogins(f *testing.F) {
	f.Add([]byte(`{"auths": {"https://index.docker.io/v1/": {"auth": "dXNlcjpwYXNz"}}}`))
	f.Add([]byte(`{"auths": {"a\n": {"username": "b"}}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		logins, err := ReadLogins(content)
		if err != nil {
			assert.Equal(t, len(logins), 0)
			return
		}
		for host, login := range logins {
			again, err := registryHost(host)
			assert.NilError(t, err, "%q", host)
			assert.Equal(t, again, host)
			assert.NilError(t, checkLogin(login))
		}
	})
}

// newJoiner makes a Joiner of a cluster with these settings of machines that join.
func newJoiner(t *testing.T, joinNode, fleet string) *Joiner {
	t.Helper()
	cluster, err := config.Parse("team-a", []byte("privateNodes:\n  enabled: true\n  joinNode: "+joinNode+"\n"),
		[]byte("apiVersion: argosy.dev/v1alpha1\nkind: Fleet\ncluster: {kubeconfigSecret: k}\nmachines: [{name: m1, "+
			"address: 192.0.2.1}]\n"+fleet))
	assert.NilError(t, err)
	return &Joiner{
		Cluster: cluster, Version: "v1.34.4", Repository: &bundle.Repository{},
		Target: &Target{Server: "https://192.0.2.9:6443", UID: "uid", CgroupDriver: "systemd"},
	}
}

// operation of its only machine.
func (j *Joiner) operation(t *testing.T) spec.Operation {
	t.Helper()
	j.bundles.found = map[string]spec.Bundle{"amd64": {
		Name:   "kubernetes-v1.34.4-amd64.tar.gz",
		SHA256: strings.Repeat("0", 64),
	}}
	question, _, err := j.question(t.Context(), j.Cluster.Fleet.Machines[0], spec.KindJoin)
	assert.NilError(t, err)
	return question.Operations["amd64"]
}

func TestADocumentsLoginWinsAndIsOutsideTheIdentity(t *testing.T) {
	joiner := newJoiner(t, `{containerd: {registry: {auth: {index.docker.io: {username: mine, password: p}, `+
		`quay.io: {identityToken: t}}}}}`,
		"")
	joiner.Logins = map[string]spec.RegistryLogin{
		"docker.io": {Username: "of-the-secret"},
		"gcr.io":    {Auth: "dXNlcjpwYXNz"},
	}
	op := joiner.operation(t)
	assert.DeepEqual(t, op.Secrets.Registries, map[string]spec.RegistryLogin{
		"docker.io": {Username: "mine", Password: "p"}, "quay.io": {IdentityToken: "t"},
		"gcr.io": {Auth: "dXNlcjpwYXNz"},
	})
	assert.Equal(t, len(joiner.Logins), 2, "the Secret's stay what they are")
	joiner.Logins["gcr.io"] = spec.RegistryLogin{Auth: "dXNlcjpvdGhlcg=="}
	assert.Equal(t, joiner.operation(t).ID, op.ID)
	assert.Assert(t, !strings.Contains(fmt.Sprintf("%v %+v %#v", op.Secrets, op.Secrets.Registries,
		op.Secrets.Registries), "mine"))

	joiner.Cluster.VCluster.PrivateNodes.JoinNode.Containerd.Enabled = false
	assert.Equal(t, len(joiner.operation(t).Secrets.Registries), 0, "a runtime that is not Argosy's gets none")
}

func TestSettingsBecomeWhatTheMachineIsAsked(t *testing.T) {
	joiner := newJoiner(t, `
    preInstallCommands: [a]
    postJoinCommands: [b, c]
    containerd:
      pauseImage: registry.example.com/pause:1
      registry:
        configPath: /opt/registries
        mirrors:
          docker.io:
            server: https://registry-1.docker.io
            caCert: [/etc/ca.crt]
            overridePath: true
            hosts:
              - {server: "http://10.0.0.1:5000", skipVerify: true, capabilities: [pull]}
              - {server: "https://mirror"}`, "join: {commandTimeout: 90s}\n")
	j := joiner.operation(t).Join
	got, err := json.Marshal(map[string]any{"hooks": j.Hooks, "containerd": j.Containerd})
	assert.NilError(t, err)
	assert.Equal(t, string(got), `{"containerd":{"pauseImage":"registry.example.com/pause:1","cgroupDriver":"systemd",`+
		`"registry":{"configPath":"/opt/registries","mirrors":{"docker.io":{"server":"https://registry-1.docker.io","caCert":["/etc/ca.crt"],"overridePath":true,`+
		`"hosts":[{"server":"http://10.0.0.1:5000","skipVerify":true,"capabilities":["pull"]},{"server":"https://mirror"}]}}}},`+
		`"hooks":{"preInstall":["a"],"postJoin":["b","c"],"timeout":"1m30s"}}`)

	own := newJoiner(t, `{containerd: {enabled: false}, nodeRegistration: {criSocket: "unix:///run/crio/crio.sock"}}`,
		"").operation(t).Join
	assert.Assert(t, own.Containerd.External)
	assert.Equal(t, own.Registration.CRISocket, "unix:///run/crio/crio.sock")
}

func TestCommandsMakeATokenLastAsLongAsItsOperation(t *testing.T) {
	joiner := newJoiner(t, "{}", "limits: {machineTimeout: 1h}\n")
	op := joiner.operation(t)
	assert.Equal(t, op.Join.Hooks.Timeout, spec.Duration(0),
		"without commands their limit is no part of what is wanted")
	assert.Equal(t, tokenLife(op), tokenLifetime)
	op.Join.Hooks.PreJoin = []string{"a"}
	assert.Equal(t, tokenLife(op), joiner.Cluster.Fleet.Limits.MachineTimeout.Duration)
}
