package machine

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/ssh"
)

// local runs commands on this computer.
type local struct{ Connection }

func (local) Run(ctx context.Context, command ssh.Command) (ssh.Result, error) {
	out, err := exec.CommandContext(ctx, command.Argv[0], command.Argv[1:]...).Output()
	return ssh.Result{Stdout: out}, err
}

// operation writes the folder of an operation, which changed at a time.
func operation(t *testing.T, folder, id, status, log string, changed time.Time) {
	t.Helper()
	of := filepath.Join(folder, id)
	assert.NilError(t, os.MkdirAll(of, 0o700))
	for name, text := range map[string]string{"status.json": status, "log": log} {
		if text != "" {
			assert.NilError(t, os.WriteFile(filepath.Join(of, name), []byte(text), 0o600))
		}
	}
	assert.NilError(t, os.Chtimes(of, changed, changed))
}

func TestTheLogOfTheNewestOperationIsReadInParts(t *testing.T) {
	folder, now := t.TempDir(), time.Now()
	operation(t, folder, "join-1", "{\"state\": \"failed\",\n\"id\": \"join-1\"}\n", "it failed\n", now.Add(-time.Hour))
	operation(t, folder, "reset-2", `{"state":"running"}`, "one\ntwo\n", now)
	log, err := readLog(t.Context(), local{}, folder, "", 0)
	assert.NilError(t, err)
	assert.Equal(t, log.ID, "reset-2")
	assert.Equal(t, string(log.Text), "one\ntwo\n")
	assert.Assert(t, !log.Complete())

	operation(t, folder, "reset-2", `{"state":"succeeded"}`, "one\ntwo\nthree", now)
	log, err = readLog(t.Context(), local{}, folder, log.ID, log.Next)
	assert.NilError(t, err)
	assert.Equal(t, string(log.Text), "three")
	assert.Assert(t, log.Complete())

	log, err = readLog(t.Context(), local{}, folder, "join-1", 0)
	assert.NilError(t, err)
	assert.Equal(t, string(log.Text), "it failed\n")
	assert.Equal(t, log.Status.State, spec.Failed)
}

func TestAMachineWithoutOperationsHasNoLog(t *testing.T) {
	folder := t.TempDir()
	operation(t, folder, "join-1", "", "", time.Now())
	for _, test := range []struct{ folder, id, want string }{
		{filepath.Join(folder, "none"), "", ""},
		{t.TempDir(), "", ""},
		{folder, "join-2", ""},
		{folder, "$(touch hacked)", ""},
		{folder, "", "join-1"},
	} {
		log, err := readLog(t.Context(), local{}, test.folder, test.id, 0)
		assert.NilError(t, err)
		assert.Equal(t, log.ID, test.want)
		assert.Assert(t, len(log.Text) == 0 && !log.Complete())
	}
	_, err := os.Stat(filepath.Join(folder, "hacked"))
	assert.Assert(t, os.IsNotExist(err))
}

func TestALongLogIsReadInSeveralParts(t *testing.T) {
	folder := t.TempDir()
	whole := strings.Repeat("0123456789abcdef", maxLog/16) + "the end"
	operation(t, folder, "join-1", `{"state":"succeeded"}`, whole, time.Now())
	var read bytes.Buffer
	for parts := 0; parts < 2; parts++ {
		log, err := readLog(t.Context(), local{}, folder, "join-1", int64(read.Len()))
		assert.NilError(t, err)
		read.Write(log.Text)
		assert.Equal(t, log.Complete(), parts == 1)
	}
	assert.Equal(t, read.String(), whole)
}
