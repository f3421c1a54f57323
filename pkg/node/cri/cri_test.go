package cri

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"gotest.tools/v3/assert"
)

// fakeRuntime answers calls by their names.
type fakeRuntime map[string]func(request []byte) (answer []byte, code, message string)

func (f fakeRuntime) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	request, err := unframe(body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	call, known := f[filepath.Base(r.URL.Path)]
	if !known {
		// An answer of nothing but a header, as grpc-go gives for unknown calls.
		w.Header().Set("Grpc-Status", "12")
		w.Header().Set("Grpc-Message", "unknown method%20here")
		return
	}
	answer, code, message := call(request)
	if code == "0" {
		_, _ = w.Write(frame(answer))
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", code)
	w.Header().Set(http.TrailerPrefix+"Grpc-Message", message)
}

// serve starts a runtime and gives a client of it.
func serve(t *testing.T, handler http.Handler) *Client {
	t.Helper()
	// The name of a socket is short, and a test's folder is not.
	dir, err := os.MkdirTemp("", "cri")
	assert.NilError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	assert.NilError(t, err)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handler, Protocols: &protocols}
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = server.Serve(listener) }()
	client := New(socket)
	t.Cleanup(func() { client.Close(); _ = server.Close(); <-stopped })
	return client
}

func message(fields ...any) []byte {
	var b []byte
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

func answering(answer []byte) func([]byte) ([]byte, string, string) {
	return func([]byte) ([]byte, string, string) { return answer, "0", "" }
}

func TestARuntimeTellsItsVersion(t *testing.T) {
	client := serve(t, fakeRuntime{"Version": answering(message(1, "0.1.0", 2, "containerd", 3, "v2.1.4", 4, "v1", 9, 1.0, 10, 7))})
	for range 2 {
		version, err := client.Version(context.Background())
		assert.NilError(t, err)
		assert.Equal(t, version, Version{Name: "containerd", Version: "v2.1.4", API: "v1"})
	}
}

func TestARuntimeTellsItsStatusInDetail(t *testing.T) {
	condition := func(kind string, holds int, reason, text string) []byte {
		return message(1, kind, 2, holds, 3, reason, 4, text)
	}
	client := serve(t, fakeRuntime{"Status": func(request []byte) ([]byte, string, string) {
		assert.DeepEqual(t, request, message(1, 1))
		return message(
			1, message(1, condition("RuntimeReady", 0, "Starting", "plugins are loading"), 1, condition("NetworkReady", 0, "", "no network")),
			2, message(1, "config", 2, "{}"), 2, message(1, "golang", 2, `"go1.26"`),
		), "0", ""
	}})
	status, err := client.Status(context.Background())
	assert.NilError(t, err)
	assert.DeepEqual(t, status, Status{Message: "plugins are loading", Info: map[string]string{"config": "{}", "golang": `"go1.26"`}})
}

func TestTheCgroupDriverIsToldOrReadFromTheStatus(t *testing.T) {
	config := func(text string) fakeRuntime {
		return fakeRuntime{"Status": answering(message(1, message(1, message(1, "RuntimeReady", 2, 1)), 2, message(1, "config", 2, text)))}
	}
	for name, test := range map[string]struct {
		runtime fakeRuntime
		driver  string
	}{
		"told systemd":                     {fakeRuntime{"RuntimeConfig": answering(message(1, []byte{}))}, Systemd},
		"told cgroupfs":                    {fakeRuntime{"RuntimeConfig": answering(message(1, message(1, 1)))}, Cgroupfs},
		"not told":                         {fakeRuntime{"RuntimeConfig": answering(nil)}, ""},
		"read systemd":                     {config(`{"containerd":{"defaultRuntimeName":"runc","runtimes":{"runc":{"options":{"SystemdCgroup":true}}}}}`), Systemd},
		"read cgroupfs":                    {config(`{"containerd":{"defaultRuntimeName":"runc","runtimes":{"a":{"options":{"SystemdCgroup":true}},"runc":{"options":{"SystemdCgroup":false}}}}}`), Cgroupfs},
		"the default runtime says nothing": {config(`{"containerd":{"defaultRuntimeName":"kata","runtimes":{"kata":{"options":null},"runc":{"options":{"SystemdCgroup":true}}}}}`), Systemd},
		"nothing in it":                    {config(`{"containerd":{"runtimes":{"runc":{"options":{}}}}}`), ""},
		"no JSON":                          {config("level=info"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			driver, err := serve(t, test.runtime).CgroupDriver(context.Background())
			assert.NilError(t, err)
			assert.Equal(t, driver, test.driver)
		})
	}
}

func TestARuntimesErrorIsTold(t *testing.T) {
	client := serve(t, fakeRuntime{"Version": func([]byte) ([]byte, string, string) { return nil, "14", "server is not initialized yet" }})
	_, err := client.Version(context.Background())
	var call *CallError
	assert.Assert(t, errors.As(err, &call))
	assert.Equal(t, *call, CallError{Code: 14, Message: "server is not initialized yet"})
	assert.Assert(t, !IsUnimplemented(err))

	_, err = client.Status(context.Background())
	assert.Assert(t, IsUnimplemented(err))
	assert.ErrorContains(t, err, `"unknown method here"`)
}

func TestWhatIsNoRuntimeIsAnErrorAndNoMore(t *testing.T) {
	_, err := New("/nonexistent/socket").Version(context.Background())
	assert.ErrorIs(t, err, os.ErrNotExist)
	for name, handler := range map[string]http.HandlerFunc{
		"another server": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"no status":      func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) },
		"half a message": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte{0, 0, 0, 0, 9, 1})
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		},
		"no protobuf": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(frame([]byte{0xff}))
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := serve(t, handler).Version(context.Background())
			assert.Assert(t, err != nil)
		})
	}
	// One that speaks HTTP/1 only, as Docker's socket does.
	dir, err := os.MkdirTemp("", "cri")
	assert.NilError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", dir+"/s")
	assert.NilError(t, err)
	server := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	_, err = New(dir + "/s").Version(context.Background())
	assert.Assert(t, err != nil)
}

func FuzzAnAnswerIsReadOrRefused(f *testing.F) {
	f.Add(message(1, "a", 2, 3, 3, 1.5))
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(_ *testing.T, answer []byte) {
		status := Status{Info: map[string]string{}}
		_ = eachField(answer, func(one field) error { return errors.Join(status.condition(one), status.info(one.bytes)) })
	})
}
