package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"argosy.dev/argosy/pkg/node/spec"
)

// simulatedMachine is an SSH server in this process that answers as a clean machine with argosy-node would, and then
// works for ever: it takes a bundle slowly and reports progress. There is no machine behind it.
type simulatedMachine struct {
	listener net.Listener
	hostKey  string
	config   *ssh.ServerConfig
	// delay is how long everything is on its way, in each direction.
	delay time.Duration
	// execs counts the commands that it was given.
	execs atomic.Int64
}

// simulatedRate is how fast a simulated machine takes a bundle, in bytes a second.
const simulatedRate = 2 << 20

func newSimulatedMachine(delay time.Duration) (*simulatedMachine, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a host key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, fmt.Errorf("making a host key: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions,
		error,
	) {
		return nil, nil
	}}
	config.AddHostKey(signer)
	m := &simulatedMachine{
		listener: listener, hostKey: string(ssh.MarshalAuthorizedKey(signer.PublicKey())),
		config: config, delay: delay,
	}
	go m.serve()
	return m, nil
}

func (m *simulatedMachine) port() int { return m.listener.Addr().(*net.TCPAddr).Port }

func (m *simulatedMachine) serve() {
	for {
		connection, err := m.listener.Accept()
		if err != nil {
			return
		}
		go m.connection(delayed(connection, m.delay))
	}
}

func (m *simulatedMachine) connection(raw net.Conn) {
	_, channels, requests, err := ssh.NewServerConn(raw, m.config)
	if err != nil {
		return
	}
	go func() {
		for request := range requests {
			_ = request.Reply(true, nil)
		}
	}()
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err == nil {
			go m.session(channel, requests)
		}
	}
}

func (m *simulatedMachine) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	for request := range requests {
		isExec := request.Type == "exec"
		_ = request.Reply(isExec, nil)
		if !isExec {
			continue
		}
		m.execs.Add(1)
		var asked struct{ Command string }
		_ = ssh.Unmarshal(request.Payload, &asked)
		go func() {
			script := decodeScript(asked.Command)
			_, _ = io.WriteString(channel.Stderr(), script.beginErrors)
			_, _ = io.WriteString(channel, script.begin)
			execute(channel, script.command)
			_, _ = io.WriteString(channel, script.end+" 0]")
			_, _ = io.WriteString(channel.Stderr(), script.endErrors+" 0]")
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
			_ = channel.Close()
		}()
	}
}

// script is a command with the marks that enclose its output on each stream, as pkg/ssh sends it to login shells.
type script struct{ command, begin, end, beginErrors, endErrors string }

var (
	octal     = regexp.MustCompile(`\\0([0-7]{3})`)
	beginMark = regexp.MustCompile(`\[argosy begins [A-Z0-9]+\]`)
	endMark   = regexp.MustCompile(`\[argosy ends [A-Z0-9]+`)
)

// decodeScript reads a command line as sh would: its words are joined, and octal escapes are characters. A line without
// marks is its own command.
func decodeScript(line string) script {
	text := octal.ReplaceAllStringFunc(strings.ReplaceAll(line, "' '", ""), func(escape string) string {
		code, _ := strconv.ParseUint(escape[2:], 8, 8)
		return string([]byte{byte(code)})
	})
	begin, end := beginMark.FindAllString(text, 2), endMark.FindAllString(text, 2)
	if len(begin) != 2 || len(end) != 2 {
		return script{command: line}
	}
	_, command, _ := strings.Cut(text, "\n")
	if last := strings.LastIndex(command, "\nc=$?\n"); last >= 0 {
		command = command[:last]
	}
	return script{command: command, beginErrors: begin[0], begin: begin[1], end: end[0], endErrors: end[1]}
}

// execute tells the plugin's few commands apart by a part that is unique to each.
func execute(channel ssh.Channel, command string) {
	verb := strings.Trim(command[strings.LastIndexByte(command, ' ')+1:], "'")
	switch {
	case strings.Contains(command, "seek="):
		takeSlowly(channel)
	case strings.Contains(command, "command -v scp"):
		_, _ = io.WriteString(channel, "no 0 no\n")
	case strings.Contains(command, "watch"):
		reportForEver(channel)
	case verb == "inspect":
		answerQuestion(channel)
	default:
		_ = json.NewEncoder(channel).Encode(working(0))
	}
}

func answerQuestion(channel ssh.Channel) {
	var question spec.Question
	_ = json.NewDecoder(channel).Decode(&question)
	operation := question.Operations["amd64"]
	_ = json.NewEncoder(channel).Encode(spec.Facts{Arch: "amd64", OS: "simulated", Plan: &spec.Status{
		ID: operation.ID, Total: 9, Phases: []spec.Phase{
			{Name: "bundle", Outcome: spec.Wanted},
			{Name: "kubeadm", Outcome: spec.Wanted},
		},
	}})
}

func takeSlowly(channel ssh.Channel) {
	buffer := make([]byte, simulatedRate/10)
	for {
		if _, err := io.ReadFull(channel, buffer); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func reportForEver(channel ssh.Channel) {
	for i := int64(0); ; i++ {
		if json.NewEncoder(channel).Encode(working(i)) != nil {
			return
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func working(i int64) spec.Status {
	return spec.Status{
		State: spec.Running, Phase: "bundle", Index: 2, Total: 9, Message: "receiving",
		Progress: &spec.Progress{Done: i * simulatedRate / 4, Total: 111 << 20, Rate: simulatedRate},
	}
}

// delayed is a connection on which everything takes delay longer, in each direction. It bounds neither the rate nor
// data on its way.
func delayed(raw net.Conn, delay time.Duration) net.Conn {
	if delay == 0 {
		return raw
	}
	near, far := net.Pipe()
	go forward(far, raw, delay)
	go forward(raw, far, delay)
	return near
}

// forward copies data from one end to the other, each piece after delay, until either end closes.
func forward(to, from net.Conn, delay time.Duration) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer close(pieces)
		for {
			data := make([]byte, 32<<10)
			n, err := from.Read(data)
			if n > 0 {
				pieces <- piece{data[:n], time.Now().Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
}
