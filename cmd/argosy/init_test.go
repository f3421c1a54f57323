package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

// initialized runs a request in a folder of its own, with a person who types answers; nil is no terminal. It returns
// the output, and the file that was written, "" for none.
func initialized(t *testing.T, request initRequest, source, text string, answers []string, scan scanKey) (
	out, written string, err error,
) {
	t.Helper()
	request.cluster, request.folder = "team-a", filepath.Join(t.TempDir(), "new")
	request.files = map[string]*string{}
	for _, s := range sources {
		request.files[s.flag] = new(string)
	}
	if source != "" {
		*request.files[source] = filepath.Join(t.TempDir(), "machines")
		assert.NilError(t, os.WriteFile(*request.files[source], []byte(text), 0o600))
	}
	var shown bytes.Buffer
	err = request.run(t.Context(), dialog{
		in:  bufio.NewReader(strings.NewReader(strings.Join(answers, "\n") + "\n")),
		out: &shown, terminal: answers != nil,
	}, scan)
	content, _ := os.ReadFile(request.path())
	return shown.String(), string(content), err
}

// keysOf returns a scan that finds one key for each address, and fails for those that have none.
func keysOf(keys map[string]sshtest.Key) scanKey {
	return func(_ context.Context, address string, _ int) (ssh.HostKey, error) {
		key, found := keys[address]
		if !found {
			return ssh.HostKey{}, errors.New("connection refused")
		}
		return ssh.HostKey{Line: key.Line(), Fingerprint: key.Fingerprint()}, nil
	}
}

// parsed returns the cluster of a written file.
func parsed(t *testing.T, written string) *config.Cluster {
	t.Helper()
	folder := t.TempDir()
	assert.NilError(t, os.WriteFile(filepath.Join(folder, "cluster.yaml"), []byte(written), 0o600))
	cluster, err := config.Load(t.Context(), config.Dir{Path: folder}, "team-a")
	assert.NilError(t, err)
	return cluster
}

func TestInitWritesDocumentsWithKeysThatAPersonConfirmed(t *testing.T) {
	one, two := sshtest.NewKey(t), sshtest.NewKey(t)
	scan := keysOf(map[string]sshtest.Key{"192.0.2.1": one, "192.0.2.2": two})
	out, written, err := initialized(t, initRequest{}, "", "",
		[]string{"m1", "m1 192.0.2.1", "m2 192.0.2.2 ops 2222", "", "yes"}, scan)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, `"m1" is no machine`), out)
	for _, key := range []sshtest.Key{one, two} {
		assert.Assert(t, strings.Contains(out, key.Fingerprint()), out)
	}
	assert.Assert(t, strings.Contains(out, "argosy provision --namespace team-a"), out)
	machines := parsed(t, written).Fleet.Machines
	assert.Equal(t, len(machines), 2)
	assert.DeepEqual(t, machines[0].SSH.HostKeys, []string{one.Line()})
	assert.Assert(t, machines[1].SSH.User == "ops" && machines[1].SSH.Port == 2222)
}

func TestInitNeverAcceptsAKeyUnasked(t *testing.T) {
	key, other := sshtest.NewKey(t), sshtest.NewKey(t)
	scan := keysOf(map[string]sshtest.Key{"192.0.2.1": key})
	const table = "name,address\nm1,192.0.2.1\n"
	for name, test := range map[string]struct {
		accepted []string
		answers  []string
		says     string
	}{
		"no terminal":          {nil, nil, "no terminal to confirm host keys at"},
		"no":                   {nil, []string{"no"}, "the host keys were not confirmed"},
		"nothing":              {nil, []string{""}, "the host keys were not confirmed"},
		"another key":          {[]string{other.Fingerprint()}, []string{"yes"}, "not among --accept-host-key"},
		"one that no host has": {[]string{key.Fingerprint(), other.Fingerprint()}, nil, "no host has this key"},
		"its key":              {[]string{key.Fingerprint()}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, written, err := initialized(t, initRequest{accepted: test.accepted}, "csv", table, test.answers, scan)
			if test.says != "" {
				assert.ErrorContains(t, err, test.says)
				assert.ErrorContains(t, err, "nothing was written")
				assert.Equal(t, written, "")
				return
			}
			assert.NilError(t, err)
			assert.DeepEqual(t, parsed(t, written).Fleet.Machines[0].SSH.HostKeys, []string{key.Line()})
		})
	}
}

func TestInitTakesFingerprintsAlone(t *testing.T) {
	for _, given := range []string{"yes", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "MD5:16:27:ac:a5", "SHA256:short"} {
		_, code, err := run(t, "init", "--cluster", "a", "--csv", "/nowhere", "--accept-host-key", given)
		assert.ErrorContains(t, err, "--accept-host-key")
		assert.ErrorContains(t, err, "give a fingerprint as ssh-keygen -l shows it")
		assert.Equal(t, code, program.ExitConfiguration)
	}
}

func TestInitReadsMachinesBehindABastion(t *testing.T) {
	key := sshtest.NewKey(t)
	out, written, err := initialized(t, initRequest{kubeconfig: "admin", user: "root"}, "ssh-config",
		"Host m1 m2\n  ProxyJump jump@gate.example.com\nHost *\n  User root\n", []string{"yes"},
		keysOf(map[string]sshtest.Key{"gate.example.com": key}))
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, "machine m2 is behind a bastion: add its ssh.hostKeys"), out)
	assert.Assert(t, strings.Contains(out, "argosy plan --namespace team-a"), out)
	cluster := parsed(t, written)
	assert.Equal(t, cluster.Fleet.Cluster.KubeconfigSecret, "admin")
	for _, machine := range cluster.Fleet.Machines {
		assert.DeepEqual(t, machine.SSH.Bastions[0].HostKeys, []string{key.Line()})
	}
}

func TestInitWritesNothingWhereItCannotFinish(t *testing.T) {
	scan := keysOf(map[string]sshtest.Key{"192.0.2.1": sshtest.NewKey(t)})
	for name, test := range map[string]struct{ source, text, says string }{
		"a machine that does not answer": {"csv", "name,address\nm1,192.0.2.1\nm2,192.0.2.2\n", "m2: connection"},
		"two machines of one address":    {"csv", "name,address\nm1,192.0.2.1\nm2,192.0.2.1\n", "192.0.2.1"},
		"no machines":                    {"ansible", "[gpu]\n", "it has no hosts"},
		"a name that is no label":        {"csv", "name,address\n-m,192.0.2.1\n", `naming the machine of host "-m"`},
		"a file that is no table":        {"csv", "m1,192.0.2.1\n", "unknown column"},
	} {
		t.Run(name, func(t *testing.T) {
			_, written, err := initialized(t, initRequest{}, test.source, test.text, []string{"yes"}, scan)
			assert.ErrorContains(t, err, test.says)
			assert.Equal(t, written, "")
		})
	}
	_, _, err := initialized(t, initRequest{}, "", "", nil, scan)
	assert.ErrorContains(t, err, "there is no terminal to ask for machines at")
	assert.Assert(t, program.IsUsage(err))
}

func TestInitReplacesNoFile(t *testing.T) {
	folder := t.TempDir()
	name := filepath.Join(folder, "cluster.yaml")
	assert.NilError(t, os.WriteFile(name, []byte("mine"), 0o600))
	_, code, err := run(t, "init", "--cluster", "team-a", "--folder", folder, "--csv", "none")
	assert.ErrorContains(t, err, "exists, and is not replaced")
	assert.Equal(t, code, program.ExitConfiguration)
	assert.ErrorIs(t, writeNew(name, []byte("ours")), os.ErrExist)
	content, err := os.ReadFile(name)
	assert.NilError(t, err)
	assert.Equal(t, string(content), "mine")
}

func TestInitTakesOneSource(t *testing.T) {
	_, code, err := run(t, "init", "--cluster", "a", "--csv", "x", "--ansible", "y")
	assert.ErrorContains(t, err, "give one of --ssh-config, --ansible and --csv")
	assert.Equal(t, code, program.ExitConfiguration)
}
