package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/store"
)

// asProgram has a process of this test be the program.
const asProgram = "ARGOSY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestAMemberBecomesEtcdWithItsArguments(t *testing.T) {
	data := t.TempDir()
	assert.NilError(t, os.MkdirAll(filepath.Join(data, "member", "wal"), 0o700))
	assert.NilError(t, os.WriteFile(filepath.Join(data, "member", "wal", "0.wal"), nil, 0o600))
	own, err := os.Executable()
	assert.NilError(t, err)
	for _, state := range []string{store.MemberFounds, store.MemberJoins} {
		const founders = "a=https://a.invalid:2380,b=https://b.invalid:2380"
		command := exec.CommandContext(t.Context(), own, "store", "run-member", "--", "sh", "-c",
			`echo "$$ $ETCD_INITIAL_CLUSTER_STATE $@"`, "etcd", "--name=a", "--data-dir="+data,
			"--initial-cluster="+founders)
		command.Env = append(os.Environ(), asProgram+"=1", store.InitialClusterState+"="+state)
		out, err := command.CombinedOutput()
		assert.NilError(t, err, string(out))
		assert.Equal(t, string(out), fmt.Sprintf("%d %s --name=a --data-dir=%s --initial-cluster=%s\n",
			command.Process.Pid, state, data, founders), "it is the same process")
	}
}
