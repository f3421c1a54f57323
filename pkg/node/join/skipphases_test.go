package join

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
)

// withKubeadm is a machine with a bundle whose kubeadm has this help.
func withKubeadm(t *testing.T, help string) *machine {
	t.Helper()
	m := newMachine(t).withBundle()
	m.programs.answers["kubeadm"] = func(argv []string) (string, error) {
		assert.DeepEqual(t, argv[1:], []string{"join", "--help"})
		return help, nil
	}
	return m
}

func TestPhasesToSkipAreThoseOfTheBundlesKubeadm(t *testing.T) {
	help, err := os.ReadFile("testdata/kubeadm-join-help.txt")
	assert.NilError(t, err)
	m := withKubeadm(t, string(help))
	m.programs.calls = nil
	assert.Assert(t, holds(t, m, checkBundle))
	assert.Equal(t, len(m.programs.calls), 0, "nothing to skip, nothing to ask")

	m.join.Registration.SkipPhases = []string{"preflight", "control-plane-prepare/certs", "kubelet-start"}
	assert.Assert(t, holds(t, m, checkBundle))

	m.join.Registration.SkipPhases = []string{"preflight", "prefligth", "certs"}
	_, _, err = checkBundle(context.Background(), m.context)
	assert.ErrorContains(t, err, `kubeadm v1.34.4 has no phase "prefligth" to skip; nearest are preflight, `)
	assert.ErrorContains(t, err, `no phase "certs"`)
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)

	m.joined(m.ca, m.join.Server, "m1", time.Now().Add(time.Hour))
	assert.Assert(t, holds(t, m, checkBundle), "on a node kubeadm does not run any more")
}

func TestSkippedPhasesAreCheckedWithTheBundle(t *testing.T) {
	m := newMachine(t)
	m.receive(m.archive(bundleFiles()))
	m.programs.answers["kubeadm"] = func([]string) (string, error) {
		return "The \"join\" command executes the following phases:\n```\npreflight  Run\n```\n", nil
	}
	m.join.Registration.SkipPhases = []string{"nothing"}
	_, err := applyBundle(context.Background(), m.context)
	assert.ErrorContains(t, err, `has no phase "nothing" to skip; nearest are preflight`)
	assert.Assert(t, m.host.Exists(bundleDir(m.join)), "the bundle is none the worse for it")
}

func TestAKubeadmThatListsNoPhasesIsTrusted(t *testing.T) {
	m := withKubeadm(t, "Usage: kubeadm join\n")
	m.join.Registration.SkipPhases = []string{"anything"}
	assert.Assert(t, holds(t, m, checkBundle))
	m.programs.answers["kubeadm"] = func([]string) (string, error) {
		return "exec format error",
			errors.New("exit status 126")
	}
	_, _, err := checkBundle(context.Background(), m.context)
	assert.ErrorContains(t, err, "asking kubeadm for its phases")
}

func TestPhasesAreReadFromTheHelp(t *testing.T) {
	help, err := os.ReadFile("testdata/kubeadm-join-help.txt")
	assert.NilError(t, err)
	assert.DeepEqual(t, kubeadmPhases(string(help)), []string{
		"preflight", "control-plane-prepare", "control-plane-prepare/download-certs", "control-plane-prepare/certs",
		"control-plane-prepare/kubeconfig", "control-plane-prepare/control-plane", "kubelet-start", "etcd-join",
		"control-plane-join",
		"control-plane-join/etcd", "control-plane-join/mark-control-plane", "wait-control-plane",
	})
	assert.Equal(t, len(kubeadmPhases("executes the following phases:\n```\npreflight")), 0)
}
