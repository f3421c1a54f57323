package bypod

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/ssh"
)

// flooding is a simulated API server whose pods print without end on one stream of each command. It counts the bytes.
type flooding struct {
	stream  string
	printed atomic.Int64
	ended   chan struct{}
}

func (f *flooding) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := httpstream.Handshake(r, w, []string{"v4.channel.k8s.io"}); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden) // the client tries a WebSocket first
		return
	}
	type opened struct {
		httpstream.Stream
		replied <-chan struct{}
	}
	streams := make(chan opened, 8)
	take := func(s httpstream.Stream, replied <-chan struct{}) error {
		streams <- opened{s, replied}
		return nil
	}
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, take)
	if connection == nil {
		return
	}
	defer connection.Close()
	var flooded httpstream.Stream
	for range 3 { // errors of the command itself, its output and its standard error; a kubelet waits for all of them
		stream := <-streams
		<-stream.replied
		if stream.Headers().Get(corev1.StreamType) == f.stream {
			flooded = stream
		}
	}
	zeros := make([]byte, 32<<10)
	for {
		n, err := flooded.Write(zeros)
		f.printed.Add(int64(n))
		if err != nil {
			close(f.ended)
			return
		}
	}
}

func TestAPodThatPrintsWithoutEndIsCutOff(t *testing.T) {
	for stream, limit := range map[string]int64{corev1.StreamTypeStdout: 4 << 20, corev1.StreamTypeStderr: 16 << 20} {
		t.Run(stream, func(t *testing.T) {
			f := &flooding{stream: stream, ended: make(chan struct{})}
			server := httptest.NewServer(f)
			defer server.Close()
			config := &rest.Config{Host: server.URL}
			client, err := kubernetes.NewForConfig(config)
			assert.NilError(t, err)
			c := &connection{pods: &Pods{Client: client, Config: config}, pod: "p", node: "n1"}
			result, err := c.Run(t.Context(), ssh.Command{Argv: []string{"inspect"}})
			assert.ErrorIs(t, err, ssh.ErrFlood)
			assert.ErrorContains(t, err, "node n1")
			assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
			assert.Assert(t, int64(len(result.Stdout)+len(result.Stderr)) <= limit)
			<-f.ended
			// The sockets and the library hold bytes that are not read.
			assert.Assert(t, f.printed.Load() < limit+16<<20, "%d bytes", f.printed.Load())
		})
	}
}
