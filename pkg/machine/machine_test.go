package machine_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/machine"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/secret"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

//go:embed testdata/fake-argosy-node
var fakeArgosyNode []byte

// fakeAgent carries fake-argosy-node, each architecture with a line of its own, so that their digests differ.
type fakeAgent struct{ missing string }

func (f fakeAgent) binary(arch string) ([]byte, string, error) {
	if arch == f.missing {
		return nil, "", errors.New("no argosy-node for " + arch)
	}
	data := append(bytes.Clone(fakeArgosyNode), "# "+arch+"\n"...)
	sum := sha256.Sum256(data)
	return data, hex.EncodeToString(sum[:]), nil
}

func (f fakeAgent) Program(arch string) (machine.Program, error) {
	data, digest, err := f.binary(arch)
	return programOf(data, digest), err
}

func programOf(data []byte, digest string) machine.Program {
	return machine.Program{SHA256: digest, Size: int64(len(data)), Source: ssh.FromBytes(data)}
}

func (f fakeAgent) file(binaries, arch string) string {
	_, digest, _ := f.binary(arch)
	return filepath.Join(binaries, "argosy-node-"+digest[:16])
}

// lab is one machine on a simulated SSH server.
type lab struct {
	*machine.Machine
	server   *sshtest.Simulated
	pool     *ssh.Pool
	binaries string
	state    string // what fake-argosy-node keeps
	connect  func(ctx context.Context) (machine.Connection, error)
}

func newLab(t *testing.T, options sshtest.Options, agent fakeAgent) *lab {
	t.Helper()
	key := sshtest.NewKey(t)
	options.Authorized = []sshtest.Key{key}
	l := &lab{server: sshtest.Start(t, options), pool: ssh.NewPool(), binaries: t.TempDir(), state: t.TempDir()}
	t.Setenv("FAKE_ARGOSY_NODE", l.state)
	t.Cleanup(func() { assert.NilError(t, l.pool.Close()) })
	l.connect = func(ctx context.Context) (machine.Connection, error) {
		return overSSH(l.pool.Get(ctx, ssh.Config{
			Name: "m1", Address: l.server.Address, Port: l.server.Port,
			Auth:     ssh.Auth{PrivateKey: secret.New(key.PEM(t, ""))},
			HostKeys: ssh.HostKeys{Pinned: []string{l.server.HostKey.Line()}},
			// A computer that tests many things at once may be slow.
			ConnectTimeout: 2 * time.Minute, KeepAlive: time.Minute,
		}))
	}
	l.Machine = machine.New("m1", l.connect, agent, l.binaries)
	return l
}

// overSSH is a connection, unless there is none.
func overSSH(client *ssh.Client, err error) (machine.Connection, error) {
	if err != nil {
		return nil, err
	}
	return machine.OverSSH(client), nil
}

func (l *lab) told(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.state, name))
	assert.NilError(t, err)
	return string(text)
}

// touch makes a file that fake-argosy-node looks for.
func (l *lab) touch(t testing.TB, name string) {
	assert.Check(t, os.WriteFile(filepath.Join(l.state, name), nil, 0o600))
}

func TestArgosyNodeNeedsFourExecsAndThenOne(t *testing.T) {
	l := newLab(t, sshtest.Options{}, fakeAgent{})
	question := spec.Question{Operations: map[string]spec.Operation{"amd64": {ID: "op1"}}}
	facts, err := l.Inspect(t.Context(), question)
	assert.NilError(t, err)
	assert.Equal(t, facts.Hostname, "fake")
	assert.Equal(t, len(l.server.Execs()), 4)

	var asked spec.Question
	assert.NilError(t, json.Unmarshal([]byte(l.told(t, "question")), &asked))
	assert.Equal(t, asked.Operations["amd64"].ID, "op1")

	_, err = l.Inspect(t.Context(), question)
	assert.NilError(t, err)
	assert.Equal(t, len(l.server.Execs()), 1)
	info, err := os.Stat(fakeAgent{}.file(l.binaries, "amd64"))
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o755))
}

func TestAnArgosyNodeWithAnotherDigestIsNeverRun(t *testing.T) {
	l := newLab(t, sshtest.Options{}, fakeAgent{})
	evil := "#!/bin/sh\ntouch " + filepath.Join(l.state, "evil") + "\n"
	file := fakeAgent{}.file(l.binaries, "amd64")
	assert.NilError(t, os.WriteFile(file, []byte(evil), 0o755))
	assert.NilError(t, os.WriteFile(file+".partial", []byte(evil), 0o755))
	_, err := l.Inspect(t.Context(), spec.Question{})
	assert.NilError(t, err)
	_, err = os.Stat(filepath.Join(l.state, "evil"))
	assert.Assert(t, os.IsNotExist(err))
}

func TestAWrongPartOfArgosyNodeIsReplaced(t *testing.T) {
	l := newLab(t, sshtest.Options{}, fakeAgent{})
	whole, _, _ := fakeAgent{}.binary("amd64")
	wrong := bytes.Repeat([]byte("x"), len(whole))
	assert.NilError(t, os.WriteFile(fakeAgent{}.file(l.binaries, "amd64")+".partial", wrong, 0o600))
	_, err := l.Inspect(t.Context(), spec.Question{})
	assert.NilError(t, err)
}

// withMachine makes a PATH on which uname -m answers machine.
func withMachine(t *testing.T, machine string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{
		"sh", "cat", "cut", "dd", "mkdir", "mv", "chmod", "rm", "sha256sum", "tr", "wc",
		"sleep",
	} {
		found, err := exec.LookPath(name)
		assert.NilError(t, err)
		assert.NilError(t, os.Symlink(found, filepath.Join(dir, name)))
	}
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "uname"), []byte("#!/bin/sh\necho "+machine+"\n"), 0o755))
	return dir
}

func TestEachArchitectureGetsItsOwnArgosyNode(t *testing.T) {
	l := newLab(t, sshtest.Options{Path: withMachine(t, "aarch64")}, fakeAgent{})
	_, err := l.Inspect(t.Context(), spec.Question{})
	assert.NilError(t, err)
	_, err = os.Stat(fakeAgent{}.file(l.binaries, "arm64"))
	assert.NilError(t, err)
	_, err = os.Stat(fakeAgent{}.file(l.binaries, "amd64"))
	assert.Assert(t, os.IsNotExist(err))
}

func TestAnArchitectureThatIsNotCarriedIsNamed(t *testing.T) {
	l := newLab(t, sshtest.Options{Path: withMachine(t, "riscv64")}, fakeAgent{})
	_, err := l.Inspect(t.Context(), spec.Question{})
	assert.ErrorContains(t, err, `"riscv64"`)
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)

	l = newLab(t, sshtest.Options{Path: withMachine(t, "arm64")}, fakeAgent{missing: "arm64"})
	_, err = l.Inspect(t.Context(), spec.Question{})
	assert.ErrorContains(t, err, "no argosy-node for arm64")
}

func TestSecretsOfAnOperationGoToStandardInputOnly(t *testing.T) {
	l := newLab(t, sshtest.Options{}, fakeAgent{})
	operation := spec.Operation{ID: "op1", Secrets: spec.Secrets{BootstrapToken: "abcdef.0123456789abcdef"}}
	status, err := l.Start(t.Context(), operation)
	assert.NilError(t, err)
	assert.Equal(t, status.State, spec.Running)

	var got spec.Operation
	assert.NilError(t, json.Unmarshal([]byte(l.told(t, "operation")), &got))
	assert.DeepEqual(t, got, operation)
	for _, line := range l.server.Execs() {
		assert.Assert(t, !strings.Contains(line, "0123456789abcdef"), "a secret is on a command line")
	}
}

func TestAnErrorOfArgosyNodeIsPassedOn(t *testing.T) {
	l := newLab(t, sshtest.Options{}, fakeAgent{})
	l.touch(t, "refuse")
	_, err := l.Start(t.Context(), spec.Operation{ID: "op1"})
	assert.ErrorContains(t, err, "argosy-node: no room")
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
}

func TestWatchShowsEachStatusUntilTheLast(t *testing.T) {
	l := newLab(t, sshtest.Options{}, fakeAgent{})
	var seen []spec.State
	last, err := l.Watch(t.Context(), "op1", func(status spec.Status) {
		seen = append(seen, status.State)
		l.touch(t, "done")
	})
	assert.NilError(t, err)
	assert.Equal(t, last.State, spec.Succeeded)
	assert.DeepEqual(t, seen, []spec.State{spec.Running, spec.Succeeded})
}

func TestWatchSurvivesLostConnections(t *testing.T) {
	l := newLab(t, sshtest.Options{}, fakeAgent{})
	cuts := 0
	last, err := l.Watch(t.Context(), "op1", func(spec.Status) {
		if cuts++; cuts <= 3 {
			go l.server.Cut()
			return
		}
		l.touch(t, "done")
	})
	assert.NilError(t, err)
	assert.Equal(t, last.State, spec.Succeeded)
	assert.Equal(t, l.server.Logins(), 4)
}

func TestAWatchEndsWithItsCaller(t *testing.T) {
	l := newLab(t, sshtest.Options{}, fakeAgent{})
	ctx, cancel := context.WithCancel(t.Context())
	last, err := l.Watch(ctx, "op1", func(spec.Status) { cancel() })
	assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled, err)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, last.State, spec.Running)
}

func TestAMachineThatWasNeverReachedIsNotWatched(t *testing.T) {
	refused := errclass.With(errclass.Configuration, &ssh.AuthError{Host: "m1", User: "root"})
	calls := 0
	m := machine.New("m1", func(context.Context) (machine.Connection, error) { calls++; return nil, refused },
		fakeAgent{}, "")
	_, err := m.Watch(t.Context(), "op1", nil)
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration, err)
	assert.Equal(t, calls, 1)
}

func TestALoginRefusedWhileTheMachineBootsIsTriedAgain(t *testing.T) {
	l := newLab(t, sshtest.Options{}, fakeAgent{})
	_, err := l.Inspect(t.Context(), spec.Question{})
	assert.NilError(t, err)
	key := sshtest.NewKey(t)
	server := sshtest.Start(t, sshtest.Options{Authorized: []sshtest.Key{key}})
	refusals := 0
	connect := func(ctx context.Context) (machine.Connection, error) {
		if logins := server.Logins(); logins == 1 && refusals < 2 {
			refusals++
			return nil, errclass.With(errclass.Configuration, &ssh.AuthError{Host: "m1", User: "ops"})
		}
		return overSSH(l.pool.Get(ctx, ssh.Config{
			Name: "m1", Address: server.Address, Port: server.Port,
			Auth:     ssh.Auth{PrivateKey: secret.New(key.PEM(t, ""))},
			HostKeys: ssh.HostKeys{Pinned: []string{server.HostKey.Line()}},
		}))
	}
	seen := 0
	last, err := machine.New("m1", connect, fakeAgent{}, l.binaries).Watch(t.Context(), "op1", func(spec.Status) {
		if seen++; seen == 1 {
			go server.Cut()
		} else {
			l.touch(t, "done")
		}
	})
	assert.NilError(t, err)
	assert.Equal(t, last.State, spec.Succeeded)
	assert.Equal(t, refusals, 2)
}

func TestCancelReachesArgosyNodeAsArguments(t *testing.T) {
	l := newLab(t, sshtest.Options{}, fakeAgent{})
	assert.NilError(t, l.Cancel(t.Context(), "op1"))
	assert.NilError(t, l.Cancel(t.Context(), "$(id); 'x"))
	assert.Equal(t, l.told(t, "calls"), "cancel --id op1\ncancel --id $(id); 'x\n")
}

func TestABundleIsPushedToTheWaitingOperation(t *testing.T) {
	l := newLab(t, sshtest.Options{}, fakeAgent{})
	dir := filepath.Join(t.TempDir(), "bundles")
	l.KeepBundlesIn(dir)
	data := bytes.Repeat([]byte("bundle "), 500_000)
	sum := sha256.Sum256(data)
	bundle := spec.Bundle{
		Name: "kubernetes-v1.34.4-amd64.tar.zst", SHA256: hex.EncodeToString(sum[:]),
		Size: int64(len(data)),
	}
	var done int64
	assert.NilError(t, l.PushBundle(t.Context(), bundle, ssh.FromBytes(data), func(sent, _ int64) { done = sent }))
	assert.Equal(t, done, int64(len(data)))
	got, err := os.ReadFile(filepath.Join(dir, bundle.SHA256+".tar.zst.partial"))
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(got, data))
	info, err := os.Stat(dir)
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o700))
}

func TestABundleWithABadNameIsRefusedBeforeConnecting(t *testing.T) {
	unreachable := func(context.Context) (machine.Connection, error) { return nil, errors.New("it was dialled") }
	m := machine.New("m1", unreachable, fakeAgent{}, "")
	for name, bundle := range map[string]spec.Bundle{
		"is not a sha256":            {Name: "b.tar.gz", SHA256: "../../etc/passwd"},
		"neither in .tar.gz nor in ": {Name: "b.zip", SHA256: strings.Repeat("a", 64)},
	} {
		err := m.PushBundle(t.Context(), bundle, ssh.FromBytes(nil), nil)
		assert.ErrorContains(t, err, name)
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
}

// echoAgent carries echo for argosy-node: a script cannot be busy, a program can.
type echoAgent struct{ program []byte }

func (e echoAgent) Program(string) (machine.Program, error) {
	sum := sha256.Sum256(e.program)
	return programOf(e.program, hex.EncodeToString(sum[:])), nil
}

func TestAnArgosyNodeThatIsStillWrittenIsWaitedFor(t *testing.T) {
	echo, err := os.ReadFile("/bin/echo")
	assert.NilError(t, err)
	agent := echoAgent{echo}
	program, err := agent.Program("")
	assert.NilError(t, err)
	binaries := t.TempDir()
	file := filepath.Join(binaries, "argosy-node-"+program.SHA256[:16])
	assert.NilError(t, os.WriteFile(file, echo, 0o755))
	writer, err := os.OpenFile(file, os.O_WRONLY, 0)
	assert.NilError(t, err)

	execs := 0
	l := newLab(t, sshtest.Options{OnExec: func(string) {
		if execs++; execs == 3 {
			assert.Check(t, writer.Close())
		}
	}}, fakeAgent{})
	_, err = machine.New("m1", l.connect, agent, binaries).Inspect(t.Context(), spec.Question{})
	assert.ErrorContains(t, err, `"inspect\n"`) // what echo answers
	assert.Equal(t, execs, 3)
}
