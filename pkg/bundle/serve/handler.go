// Package serve is the node-bundle server of a control plane: it hands out the bundles of the full image's folder to
// machines that show a token which the cluster's API server knows. It writes nothing, and logs no token.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/secret"
)

// retryAfter is how long a client should wait for digests or the API server, in seconds.
const retryAfter = 2

// Authorizer decides which tokens may fetch bundles.
type Authorizer interface {
	// Authorize returns nil, ErrRefused, or the reason for which it has no decision.
	Authorize(ctx context.Context, token secret.Value) error
}

// errRefused means that the API server does not know the token, or that the token may not read the object that every
// joining machine reads. Asking again with the same token does not help.
var errRefused = errors.New("the token is not one of a joining machine or of an administrator")

// Handler answers
//
//	GET /<version>/kubernetes-<version>-<arch>.tar.gz   a bundle, also in ranges
//	GET /<version>/SHA256SUMS                           the digests of all bundles there
//	GET /healthz                                        200 if there is a bundle; needs no token
//
// which is the layout of a bundle repository. Nothing else in the folder can be fetched.
type Handler struct {
	folder     string
	authorizer Authorizer
	log        *slog.Logger

	mu     sync.Mutex
	sums   map[string]string // by file name; nil until known
	broken error
}

// New serves the bundles in folder. Until Index has run, a request for SHA256SUMS is asked to come back.
func New(folder string, authorizer Authorizer, log *slog.Logger) *Handler {
	return &Handler{folder: folder, authorizer: authorizer, log: log}
}

// ServeHTTP answers one request and logs it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		h.health(w)
		return
	}
	started := time.Now()
	counted := &answer{ResponseWriter: w, status: http.StatusOK}
	h.allowed(counted, r)
	h.log.Info("request", "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr,
		"status", counted.status, "bytes", counted.bytes, "seconds", time.Since(started).Seconds())
}

func (h *Handler) health(w http.ResponseWriter) {
	names, err := h.bundles()
	if err != nil || len(names) == 0 {
		http.Error(w, "there is no bundle in "+h.folder, http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// allowed authorizes the caller before it looks at the path: callers without a token do not learn which files exist.
func (h *Handler) allowed(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	token, shown := bearer(r)
	if !shown {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "a bearer token of the cluster is required", http.StatusUnauthorized)
		return
	}
	switch err := h.authorizer.Authorize(r.Context(), token); {
	case errors.Is(err, errRefused):
		http.Error(w, errRefused.Error(), http.StatusForbidden)
	case err != nil:
		h.log.Warn("asking the API server about a token", "error", err.Error())
		later(w, "the API server could not be asked about the token")
	default:
		h.serve(w, r)
	}
}

// bearer takes the token out of a request's header.
func bearer(r *http.Request) (secret.Value, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return secret.New(token), strings.EqualFold(scheme, "Bearer") && token != ""
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	version, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case name == bundle.SumsFile && h.has(version):
		h.serveSums(w, r)
	case versionOf(name) == version && version != "":
		h.serveBundle(w, r, name)
	default:
		http.NotFound(w, r)
	}
}

func (h *Handler) serveSums(w http.ResponseWriter, r *http.Request) {
	text, known, err := h.sumLines()
	switch {
	case err != nil:
		http.Error(w, "reading the digests of the bundles failed; the server's log has the cause",
			http.StatusInternalServerError)
	case !known:
		later(w, "the digests of the bundles are being computed")
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	}
}

func (h *Handler) serveBundle(w http.ResponseWriter, r *http.Request, name string) {
	root, err := os.OpenRoot(h.folder)
	if err != nil {
		h.unreadable(w, r, err)
		return
	}
	defer root.Close()
	file, err := root.Open(name)
	if err != nil {
		h.unreadable(w, r, err)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	if digest := h.sum(name); digest != "" {
		// With it a client that resumes notices that the bundle was replaced.
		w.Header().Set("ETag", `"`+digest+`"`)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", info.ModTime(), file)
}

func (h *Handler) unreadable(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, r)
		return
	}
	h.log.Error("opening a bundle", "path", r.URL.Path, "error", err.Error())
	http.Error(w, "the bundle can't be read; the server's log has the cause", http.StatusInternalServerError)
}

// later asks the client to come back.
func later(w http.ResponseWriter, text string) {
	w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	http.Error(w, fmt.Sprintf("%s; try again in %d seconds", text, retryAfter), http.StatusServiceUnavailable)
}

// answer counts the bytes sent, for the log.
type answer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader remembers the status.
func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Write counts.
func (a *answer) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
