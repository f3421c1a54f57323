package lab

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// agent is the way to QEMU's guest agent in a virtual machine. It takes one connection at a time; others wait. So
// every call has one of its own, and a command that takes long keeps no other from running.
type agent struct{ socket string }

const (
	// agentLimit is how long an agent that runs may take for an answer, also one that is emulated on a busy computer.
	agentLimit = 30 * time.Second
	// The pauses between two questions for the end of a command.
	agentFirstPause, agentLongestPause = 20 * time.Millisecond, time.Second
	// agentDelimiter precedes the answer to guest-sync-delimited, and is in no other one.
	agentDelimiter = 0xff
)

// agentRequest and agentAnswer are the shapes of the agent's protocol, one JSON object a line.
type agentRequest struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
}

type agentAnswer struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Description string `json:"desc"`
	} `json:"error"`
}

// execStatus is the agent's report of a command.
type execStatus struct {
	Exited   bool   `json:"exited"`
	ExitCode int    `json:"exitcode"`
	Signal   int    `json:"signal"`
	Output   []byte `json:"out-data"`
	Problems []byte `json:"err-data"`
}

// ping returns nil when the agent answers.
func (a agent) ping(ctx context.Context) error { return a.call(ctx, "guest-ping", nil, nil) }

// run runs argv in the guest and returns its standard output; the error is a *RunError if the command itself ended
// badly. It is killed when ctx ends.
func (a agent) run(ctx context.Context, stdin io.Reader, argv ...string) (string, error) {
	arguments := map[string]any{
		"path": "/usr/bin/env", "capture-output": true,
		"arg": append([]string{
			"--ignore-environment", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=/root", "LC_ALL=C.UTF-8",
		}, argv...),
	}
	if stdin != nil {
		input, err := io.ReadAll(stdin)
		if err != nil {
			return "", fmt.Errorf("reading the standard input of %s: %w", quoteArgv(argv), err)
		}
		arguments["input-data"] = base64.StdEncoding.EncodeToString(input)
	}
	var started struct {
		PID int `json:"pid"`
	}
	if err := a.call(ctx, "guest-exec", arguments, &started); err != nil {
		return "", fmt.Errorf("running %s: %w", quoteArgv(argv), err)
	}
	status, err := a.await(ctx, started.PID)
	if err != nil {
		return "", fmt.Errorf("running %s: %w", quoteArgv(argv), err)
	}
	return string(status.Output), status.problem(argv)
}

// await asks until the command has ended.
func (a agent) await(ctx context.Context, pid int) (execStatus, error) {
	for pause := agentFirstPause; ; pause = min(2*pause, agentLongestPause) {
		var status execStatus
		if err := a.call(ctx, "guest-exec-status", map[string]int{"pid": pid}, &status); err != nil {
			return status, err
		}
		if status.Exited {
			return status, nil
		}
		select {
		case <-ctx.Done():
			a.kill(context.WithoutCancel(ctx), pid)
			return status, ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (a agent) kill(ctx context.Context, pid int) {
	_ = a.call(ctx, "guest-exec", map[string]any{"path": "/bin/kill", "arg": []string{"-KILL", fmt.Sprint(pid)}}, nil)
}

func (s execStatus) problem(argv []string) error {
	if s.ExitCode == 0 && s.Signal == 0 {
		return nil
	}
	cause := fmt.Errorf("exit status %d", s.ExitCode)
	if s.Signal != 0 {
		cause = fmt.Errorf("signal %d", s.Signal)
	}
	return &RunError{Argv: argv, Output: string(s.Output) + string(s.Problems), Err: cause}
}

// call makes one call on a connection of its own. result may be nil.
func (a agent) call(ctx context.Context, execute string, arguments, result any) error {
	dialer := net.Dialer{Timeout: agentLimit}
	conn, err := dialer.DialContext(ctx, "unix", a.socket)
	if err != nil {
		return fmt.Errorf("reaching the guest agent: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(agentLimit)); err != nil {
		return fmt.Errorf("limiting the guest agent's answer: %w", err)
	}
	reader := bufio.NewReader(conn)
	if err := synchronize(conn, reader); err != nil {
		return fmt.Errorf("greeting the guest agent: %w", err)
	}
	return ask(conn, reader, agentRequest{execute, arguments}, result)
}

// synchronize skips the rest of an answer to an earlier connection, and has the agent forget half a request.
func synchronize(conn io.Writer, reader *bufio.Reader) error {
	if _, err := conn.Write([]byte{agentDelimiter}); err != nil {
		return err
	}
	id := rand.Int32()
	line, err := json.Marshal(agentRequest{"guest-sync-delimited", map[string]int32{"id": id}})
	if err != nil {
		return err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return err
	}
	for {
		if _, err := reader.ReadBytes(agentDelimiter); err != nil {
			return err
		}
		var answered int32
		if err := readAnswer(reader, &answered); err != nil {
			return err
		}
		if answered == id {
			return nil
		}
	}
}

func ask(conn io.Writer, reader *bufio.Reader, request agentRequest, result any) error {
	line, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encoding %q: %w", request.Execute, err)
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("asking the guest agent for %q: %w", request.Execute, err)
	}
	if err := readAnswer(reader, result); err != nil {
		return fmt.Errorf("asking the guest agent for %q: %w", request.Execute, err)
	}
	return nil
}

func readAnswer(reader *bufio.Reader, result any) error {
	line, err := reader.ReadBytes('\n')
	if err != nil {
		return err
	}
	var answer agentAnswer
	if err := json.Unmarshal(line, &answer); err != nil {
		return fmt.Errorf("decoding %q: %w", line, err)
	}
	if answer.Error != nil {
		return errors.New(answer.Error.Description)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Return, result)
}
