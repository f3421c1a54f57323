package cri

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/cri/critest"
)

// serve starts a runtime and gives a client of it.
func serve(t *testing.T, handler http.Handler) *Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "cri")
	assert.NilError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	critest.Serve(t, handler, dir+"/s")
	client := New(dir + "/s")
	t.Cleanup(client.Close)
	return client
}

var message = critest.Message

func TestARuntimeTellsItsVersion(t *testing.T) {
	client := serve(t, critest.Runtime{"Version": critest.Answer(message(1, "0.1.0", 2, "containerd", 3, "v2.1.4", 4,
		"v1", 9, 1.0, 10, 7))})
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
	client := serve(t, critest.Runtime{"Status": func(request []byte) ([]byte, string, string) {
		assert.DeepEqual(t, request, message(1, 1))
		return message(
			1, message(1, condition("RuntimeReady", 0, "Starting", "plugins are loading"), 1,
				condition("NetworkReady", 0, "", "no network")),
			2, message(1, "config", 2, "{}"), 2, message(1, "golang", 2, `"go1.26"`),
		), "0", ""
	}})
	status, err := client.Status(context.Background())
	assert.NilError(t, err)
	assert.DeepEqual(t, status, Status{
		Message: "plugins are loading",
		Info:    map[string]string{"config": "{}", "golang": `"go1.26"`},
	})
}

func TestTheCgroupDriverIsToldOrReadFromTheStatus(t *testing.T) {
	config := func(text string) critest.Runtime {
		return critest.Runtime{"Status": critest.Answer(message(1, message(1, message(1, "RuntimeReady", 2, 1)), 2,
			message(1, "config", 2, text)))}
	}
	for name, test := range map[string]struct {
		runtime critest.Runtime
		driver  string
	}{
		"told systemd": {
			critest.Runtime{"RuntimeConfig": critest.Answer(message(1, []byte{}))},
			Systemd,
		},
		"told cgroupfs": {critest.Runtime{"RuntimeConfig": critest.Answer(message(1,
			message(1, 1)))}, Cgroupfs},
		"not told":                         {critest.Runtime{"RuntimeConfig": critest.Answer(nil)}, ""},
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
	client := serve(t, critest.Runtime{"Version": critest.Fail("14", "server is not initialized yet")})
	_, err := client.Version(context.Background())
	var call *runtimeError
	assert.Assert(t, errors.As(err, &call))
	assert.Equal(t, *call, runtimeError{Code: 14, Message: "server is not initialized yet"})
	assert.Assert(t, !IsUnimplemented(err))

	_, err = client.Status(context.Background())
	assert.Assert(t, IsUnimplemented(err))
	assert.ErrorContains(t, err, `"unknown method here"`)
}

func TestPodsAreRemovedEvenIfTheyCannotBeStopped(t *testing.T) {
	var removed []string
	client := serve(t, critest.Runtime{
		"ListPodSandbox": critest.Answer(message(1, message(1, "one", 2, message(1, "web")), 1, message(1, "two"))),
		"StopPodSandbox": critest.Fail("2", "no plugin"),
		"RemovePodSandbox": func(request []byte) ([]byte, string, string) {
			if string(request) == string(message(1, "two")) {
				return nil, "2", "it is busy"
			}
			removed = append(removed, string(request))
			return nil, "0", ""
		},
	})
	pods, err := client.Pods(context.Background())
	assert.NilError(t, err)
	assert.DeepEqual(t, pods, []string{"one", "two"})
	assert.NilError(t, client.RemovePod(context.Background(), "one"))
	assert.DeepEqual(t, removed, []string{string(message(1, "one"))})
	err = client.RemovePod(context.Background(), "two")
	assert.ErrorContains(t, err, "it is busy")
	assert.ErrorContains(t, err, "no plugin")
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
			_, _ = w.Write(critest.Frame([]byte{0xff}))
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
		_ = eachField(answer, func(one field) error {
			return errors.Join(status.condition(one),
				status.info(one.bytes))
		})
	})
}
