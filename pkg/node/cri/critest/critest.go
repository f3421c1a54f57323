// Package critest is a container runtime for tests: it answers the Container Runtime Interface's calls as it is told.
package critest

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"gotest.tools/v3/assert"
)

// Call answers one call: with a message, or with another code than "0" and a text.
type Call func(request []byte) (answer []byte, code, text string)

// Runtime has calls by their names. Those that it has not are unimplemented.
type Runtime map[string]Call

// Answer is a call that always gives this message.
func Answer(answer []byte) Call {
	return func([]byte) ([]byte, string, string) { return answer, "0", "" }
}

// Fail is a call that always ends with an error.
func Fail(code, text string) Call {
	return func([]byte) ([]byte, string, string) { return nil, code, text }
}

// New is a runtime that is ready, of this name and version, with the cgroup driver of this number: 0 for systemd, 1 for
// cgroupfs.
func New(name, version string, driver int) Runtime {
	return Runtime{
		"Version":       Answer(Message(1, "0.1.0", 2, name, 3, version, 4, "v1")),
		"Status":        Answer(Message(1, Message(1, Message(1, "RuntimeReady", 2, 1)))),
		"RuntimeConfig": Answer(Message(1, Message(1, driver))),
	}
}

// ServeHTTP speaks gRPC as far as a call of one message and one answer needs.
func (r Runtime) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil || request.ProtoMajor != 2 || request.Header.Get("Te") != "trailers" || len(body) < 5 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	call, known := r[filepath.Base(request.URL.Path)]
	if !known {
		// An answer of nothing but a header, as is usual for unknown calls.
		w.Header().Set("Grpc-Status", "12")
		w.Header().Set("Grpc-Message", "unknown method%20here")
		return
	}
	answer, code, text := call(body[5:])
	if code == "0" {
		_, _ = w.Write(Frame(answer))
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", code)
	w.Header().Set(http.TrailerPrefix+"Grpc-Message", text)
}

// Frame puts gRPC's header before a message.
func Frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// Message is a protobuf message of numbers and fields in turn: an int, a string, a []byte, or a float64 as fixed64.
func Message(fields ...any) []byte {
	b := []byte{}
	for i := 0; i < len(fields); i += 2 {
		number := protowire.Number(fields[i].(int))
		switch value := fields[i+1].(type) {
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), value)
		case []byte:
			b = protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), value)
		case int:
			b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(value))
		case float64:
			b = protowire.AppendFixed64(protowire.AppendTag(b, number, protowire.Fixed64Type), uint64(value))
		}
	}
	return b
}

// Serve answers with handler at socket, a path of any length, until the test ends.
func Serve(t testing.TB, handler http.Handler, socket string) {
	t.Helper()
	assert.NilError(t, os.MkdirAll(filepath.Dir(socket), 0o755))
	// The name that a socket is made by is short, and a test's folder may not be.
	above := ""
	if strings.HasPrefix(socket, "/dev/shm/") {
		above = "/dev/shm" // the socket is renamed, which has to stay on one file system
	}
	dir, err := os.MkdirTemp(above, "cri")
	assert.NilError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	assert.NilError(t, err)
	assert.NilError(t, os.Rename(filepath.Join(dir, "s"), socket))
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handler, Protocols: &protocols}
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-stopped })
}
