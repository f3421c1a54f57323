package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// fakeAgent answers as QEMU's guest agent does, for one command that ends at the second question for it.
type fakeAgent struct {
	t *testing.T
	// stale is the rest of an earlier answer, which it sends when a connection is made.
	stale  string
	status string
	asked  []agentRequest
	polled int
}

// serve returns an agent whose socket leads to the fake one.
func (f *fakeAgent) serve() agent {
	f.t.Helper()
	socket := filepath.Join(f.t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", socket)
	assert.NilError(f.t, err)
	f.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.answer(conn)
		}
	}()
	return agent{socket: socket}
}

func (f *fakeAgent) answer(conn net.Conn) {
	defer conn.Close()
	_, _ = conn.Write([]byte(f.stale))
	reader := bufio.NewReader(conn)
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			return
		}
		var request struct {
			Execute   string         `json:"execute"`
			Arguments map[string]any `json:"arguments"`
		}
		if json.Unmarshal(line[bytes.LastIndexByte(line, 0xff)+1:], &request) != nil {
			return
		}
		f.asked = append(f.asked, agentRequest{request.Execute, request.Arguments})
		_, _ = conn.Write([]byte(f.reply(request.Execute, request.Arguments) + "\n"))
	}
}

func (f *fakeAgent) reply(execute string, arguments map[string]any) string {
	switch execute {
	case "guest-sync-delimited":
		id, _ := json.Marshal(arguments["id"])
		return "\xff" + `{"return": ` + string(id) + `}`
	case "guest-exec":
		return `{"return": {"pid": 7}}`
	case "guest-exec-status":
		if f.polled++; f.polled < 2 {
			return `{"return": {"exited": false}}`
		}
		return `{"return": ` + f.status + `}`
	}
	return `{"error": {"class": "CommandNotFound", "desc": "no command ` + execute + `"}}`
}

func TestGuestAgentReturnsOutputOfCommand(t *testing.T) {
	fake := &fakeAgent{
		t: t, stale: "half an answer}\n\xff{\"return\": 1}\n",
		status: `{"exited": true, "exitcode": 0, "out-data": "aGVsbG8="}`,
	}
	out, err := fake.serve().run(t.Context(), strings.NewReader("in"), "cat", "-")
	assert.NilError(t, err)
	assert.Equal(t, out, "hello")
	var exec agentRequest
	for _, request := range fake.asked {
		if request.Execute == "guest-exec" {
			exec = request
		}
	}
	arguments := exec.Arguments.(map[string]any)
	assert.Equal(t, arguments["input-data"], "aW4=")
	argv := arguments["arg"].([]any)
	assert.DeepEqual(t, argv[len(argv)-2:], []any{"cat", "-"})
}

func TestGuestAgentTellsHowCommandEnded(t *testing.T) {
	for status, part := range map[string]string{
		`{"exited": true, "exitcode": 3, "err-data": "bm8gc3VjaCBmaWxl"}`: "running cat: exit status 3\nno such file",
		`{"exited": true, "signal": 9}`:                                   "running cat: signal 9",
	} {
		_, err := (&fakeAgent{t: t, status: status}).serve().run(t.Context(), nil, "cat")
		var ended *RunError
		assert.Assert(t, errors.As(err, &ended), "%v", err)
		assert.ErrorContains(t, err, part)
	}
}

func TestGuestAgentPassesOnItsOwnErrors(t *testing.T) {
	err := (&fakeAgent{t: t}).serve().ping(t.Context())
	assert.ErrorContains(t, err, "no command guest-ping")
}

func TestCommandInGuestIsKilledWhenContextEnds(t *testing.T) {
	fake := &fakeAgent{t: t, status: `{"exited": false}`}
	ctx, cancel := context.WithCancel(t.Context())
	served := fake.serve()
	go func() {
		for range 3 {
			_ = served.call(t.Context(), "guest-exec-status", map[string]int{"pid": 7}, nil)
		}
		cancel()
	}()
	_, err := served.run(ctx, nil, "sleep", "inf")
	assert.ErrorIs(t, err, context.Canceled)
	last := fake.asked[len(fake.asked)-1]
	assert.Equal(t, last.Execute, "guest-exec")
	assert.DeepEqual(t, last.Arguments.(map[string]any)["arg"], []any{"-KILL", "7"})
}
