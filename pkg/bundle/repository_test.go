package bundle_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/errclass"
)

const (
	bundlePath = "/k8s/v1.34.4/kubernetes-v1.34.4-amd64.tar.gz"
	sumsPath   = "/k8s/v1.34.4/SHA256SUMS"
	bundleName = "kubernetes-v1.34.4-amd64.tar.gz"
)

var content = bytes.Repeat([]byte("0123456789"), 10_000)

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// shelf is a repository in memory that counts requests.
type shelf struct {
	mu    sync.Mutex
	files map[string][]byte
	asked []string
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	file, found := s.files[r.URL.Path]
	s.mu.Unlock()
	if !found {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, r.URL.Path, time.Unix(1, 0), bytes.NewReader(file))
}

func (s *shelf) count(request string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, asked := range s.asked {
		if asked == request {
			n++
		}
	}
	return n
}

func serve(t *testing.T, handler http.Handler) *bundle.Repository {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &bundle.Repository{URL: server.URL + "/k8s/"}
}

func TestUsersDigestWinsOverSHA256SUMS(t *testing.T) {
	other := strings.Repeat("ab", 32)
	for name, test := range map[string]struct {
		sums string
		user map[string]string
		want string
	}{
		"published": {
			sums: other + "  something-else\n" + digestOf(content) + "  " + bundleName + "\n",
			want: digestOf(content),
		},
		"published, binary":    {sums: digestOf(content) + " *./" + bundleName + "\r\n", want: digestOf(content)},
		"published, uppercase": {sums: strings.ToUpper(digestOf(content)) + "  " + bundleName, want: digestOf(content)},
		"the user's wins": {
			sums: digestOf(content) + "  " + bundleName,
			user: map[string]string{bundleName: strings.ToUpper(other)}, want: other,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, &shelf{files: map[string][]byte{bundlePath: content, sumsPath: []byte(test.sums)}})
			r.SHA256 = test.user
			found, err := r.Locate(t.Context(), "v1.34.4", "amd64")
			assert.NilError(t, err)
			assert.Equal(t, found.SHA256, test.want)
			assert.Equal(t, found.Name, bundleName)
			assert.Equal(t, found.Size, int64(len(content)))
			assert.Assert(t, strings.HasSuffix(found.URL, bundlePath), found.URL)
		})
	}
}

func TestBundleWithoutDigestNeedsAllowUnverified(t *testing.T) {
	for name, sums := range map[string]string{"no sums": "", "sums of others": strings.Repeat("ab", 32) + "  other\n"} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{bundlePath: content}
			if sums != "" {
				files[sumsPath] = []byte(sums)
			}
			repository := &shelf{files: files}
			r := serve(t, repository)
			_, err := r.Locate(t.Context(), "v1.34.4", "amd64")
			assert.ErrorContains(t, err, "bundles.allowUnverified: true")
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			assert.Equal(t, repository.count("GET "+bundlePath), 0)

			r.AllowUnverified = true
			var group sync.WaitGroup
			for range 5 {
				group.Go(func() {
					found, err := r.Locate(t.Context(), "v1.34.4", "amd64")
					assert.Check(t, err)
					assert.Check(t, cmp.Equal(found.SHA256, digestOf(content)))
				})
			}
			group.Wait()
			assert.Equal(t, repository.count("GET "+bundlePath), 1)
		})
	}
}

func TestBrokenSHA256SUMSIsAnError(t *testing.T) {
	for name, test := range map[string]struct{ sums, want string }{
		"no digest": {"xyz  " + bundleName, "64 hexadecimal digits"},
		"two digests": {strings.Repeat("ab", 32) + "  " + bundleName + "\n" + strings.Repeat("cd", 32) + "  " +
			bundleName, "two digests"},
		"endless": {strings.Repeat("a", 2<<20), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, &shelf{files: map[string][]byte{bundlePath: content, sumsPath: []byte(test.sums)}})
			r.AllowUnverified = true
			_, err := r.Locate(t.Context(), "v1.34.4", "amd64")
			assert.ErrorContains(t, err, test.want)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}

func TestAnswersHaveAClass(t *testing.T) {
	for code, want := range map[int]errclass.Class{
		http.StatusNotFound:            errclass.Configuration,
		http.StatusUnauthorized:        errclass.Configuration,
		http.StatusForbidden:           errclass.Configuration,
		http.StatusInternalServerError: errclass.Transient,
		http.StatusServiceUnavailable:  errclass.Transient,
		http.StatusTooManyRequests:     errclass.Transient,
		http.StatusTeapot:              errclass.Permanent,
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
			_, err := r.Locate(t.Context(), "v1.34.4", "amd64")
			assert.ErrorContains(t, err, bundlePath)
			assert.Equal(t, errclass.ClassOf(err), want)
		})
	}
}

func TestUnreachableServerIsTransientAndCancelledCallIsNot(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	assert.NilError(t, listener.Close())
	r := &bundle.Repository{URL: "http://" + listener.Addr().String()}
	_, err = r.Locate(t.Context(), "v1.34.4", "amd64")
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Locate(ctx, "v1.34.4", "amd64")
	assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled)
}

func TestServerWithoutHEADGetsARequestForOneByte(t *testing.T) {
	for _, code := range []int{http.StatusMethodNotAllowed, http.StatusForbidden, http.StatusNotImplemented} {
		files := &shelf{files: map[string][]byte{bundlePath: content}}
		var sent atomic.Int64
		r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			if request.Method == http.MethodHead {
				w.WriteHeader(code)
				return
			}
			files.ServeHTTP(&counting{w, &sent}, request)
		}))
		r.SHA256 = map[string]string{bundleName: digestOf(content)}
		found, err := r.Locate(t.Context(), "v1.34.4", "amd64")
		assert.NilError(t, err)
		assert.Equal(t, found.Size, int64(len(content)))
		assert.Equal(t, sent.Load(), int64(1))
	}
}

// counting counts the bytes of a body.
type counting struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counting) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

func TestADownloadResumesWhetherTheServerKnowsRangesOrNot(t *testing.T) {
	plain := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(content)
		}
	})
	for name, handler := range map[string]http.Handler{
		"ranges": &shelf{files: map[string][]byte{bundlePath: content}}, "no ranges": plain,
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, handler)
			r.SHA256 = map[string]string{bundleName: digestOf(content)}
			found, err := r.Locate(t.Context(), "v1.34.4", "amd64")
			assert.NilError(t, err)
			for _, offset := range []int64{0, 1, 777, found.Size - 1, found.Size} {
				body, err := r.Open(t.Context(), found, offset)
				assert.NilError(t, err)
				got, err := io.ReadAll(body)
				assert.NilError(t, err)
				assert.NilError(t, body.Close())
				assert.Assert(t, bytes.Equal(got, content[offset:]), "offset %d", offset)
			}
			_, err = r.Open(t.Context(), found, found.Size+1)
			assert.ErrorContains(t, err, "from byte")
		})
	}
}

func TestABundleThatWasReplacedInBetweenIsNotResumed(t *testing.T) {
	repository := &shelf{files: map[string][]byte{bundlePath: content}}
	r := serve(t, repository)
	r.SHA256 = map[string]string{bundleName: digestOf(content)}
	found, err := r.Locate(t.Context(), "v1.34.4", "amd64")
	assert.NilError(t, err)
	repository.files[bundlePath] = content[:500]
	_, err = r.Open(t.Context(), found, 100)
	assert.ErrorContains(t, err, "it was replaced meanwhile")
}

func TestABodyThatEndsEarlyIsTransient(t *testing.T) {
	r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		if request.Method == http.MethodGet {
			_, _ = w.Write(content[:1000])
		}
	}))
	r.SHA256 = map[string]string{bundleName: digestOf(content)}
	found, err := r.Locate(t.Context(), "v1.34.4", "amd64")
	assert.NilError(t, err)
	body, err := r.Open(t.Context(), found, 0)
	assert.NilError(t, err)
	got, err := io.ReadAll(body)
	assert.Equal(t, len(got), 1000)
	assert.Assert(t, errclass.IsTransient(err), err)
	assert.Assert(t, errors.Is(err, io.ErrUnexpectedEOF))
	assert.NilError(t, body.Close())
}

func TestABodyThatStallsIsTransient(t *testing.T) {
	r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		if request.Method == http.MethodGet {
			_, _ = w.Write(content[:1000])
			_ = http.NewResponseController(w).Flush()
			<-request.Context().Done()
		}
	}))
	r.SHA256 = map[string]string{bundleName: digestOf(content)}
	r.Stall = 20 * time.Millisecond
	found, err := r.Locate(t.Context(), "v1.34.4", "amd64")
	assert.NilError(t, err)
	body, err := r.Open(t.Context(), found, 0)
	assert.NilError(t, err)
	_, err = io.ReadAll(body)
	assert.ErrorContains(t, err, "stopped sending")
	assert.Assert(t, errclass.IsTransient(err))
	assert.NilError(t, body.Close())
}

func TestGzipContentEncodingDoesNotChangeTheDigest(t *testing.T) {
	r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content)
	}))
	r.SHA256 = map[string]string{bundleName: digestOf(content)}
	found, err := r.Locate(t.Context(), "v1.34.4", "amd64")
	assert.NilError(t, err)
	body, err := r.Open(t.Context(), found, 0)
	assert.NilError(t, err)
	got, err := io.ReadAll(body)
	assert.NilError(t, err)
	assert.Equal(t, digestOf(got), digestOf(content))
}

func TestTLSIsVerifiedAgainstTheGivenAuthority(t *testing.T) {
	server := httptest.NewTLSServer(&shelf{files: map[string][]byte{bundlePath: content}})
	defer server.Close()
	digests := map[string]string{bundleName: digestOf(content)}
	stranger := &bundle.Repository{URL: server.URL + "/k8s", SHA256: digests}
	_, err := stranger.Locate(t.Context(), "v1.34.4", "amd64")
	assert.ErrorContains(t, err, "bundles.caCert")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)

	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	friend := &bundle.Repository{URL: server.URL + "/k8s", SHA256: digests, CACert: authority}
	_, err = friend.Locate(t.Context(), "v1.34.4", "amd64")
	assert.NilError(t, err)

	nonsense := &bundle.Repository{URL: server.URL + "/k8s", SHA256: digests, CACert: []byte("nonsense")}
	_, err = nonsense.Locate(t.Context(), "v1.34.4", "amd64")
	assert.ErrorContains(t, err, "no PEM certificate")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

func TestARedirectDoesNotLeaveTLS(t *testing.T) {
	plain := httptest.NewServer(&shelf{files: map[string][]byte{bundlePath: content}})
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusFound)
	}))
	defer secure.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	r := &bundle.Repository{
		URL: secure.URL + "/k8s", CACert: authority,
		SHA256: map[string]string{bundleName: digestOf(content)},
	}
	_, err := r.Locate(t.Context(), "v1.34.4", "amd64")
	assert.ErrorContains(t, err, "redirected from https to http")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

func TestAVersionCannotLeaveTheRepository(t *testing.T) {
	repository := &shelf{}
	r := serve(t, repository)
	for _, version := range []string{"../../etc", "v1.34.4/..", "", "v1 34", "v1.34.4?x=1", "$(id)"} {
		_, err := r.Locate(t.Context(), version, "amd64")
		assert.ErrorContains(t, err, "not a file name", version)
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
	assert.Equal(t, len(repository.asked), 0)
}
