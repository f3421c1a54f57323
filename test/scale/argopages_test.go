//go:build browser

package scale

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

const argoServer = "127.0.0.1:2746"

// startPages starts Argo's server, and returns the URL of its UI. The server that the lab builds has no pages inside:
// they are served here as that server would, and it answers their requests.
func (a *api) startPages() string {
	a.t.Helper()
	server := launch(a.t, a.folder, "argo-server", []string{
		"KUBECONFIG=" + a.kubeconfig("argo-server", apiServer, "argo"),
		// What Argo shows to those who use it for the first time would lie over the page.
		"FIRST_TIME_USER_MODAL=false", "FEEDBACK_MODAL=false", "NEW_VERSION_MODAL=false",
	}, filepath.Join(programsOfArgo(a.t), "argo"), "server", "--auth-mode=server", "--secure=false", "--loglevel=warn")
	target, err := url.Parse("http://" + argoServer)
	assert.NilError(a.t, err)
	await(a.t, "Argo's server", time.Minute, func() error {
		request, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, target.String()+"/api/v1/info", nil)
		assert.NilError(a.t, err)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})
	a.t.Cleanup(func() {
		if a.t.Failed() {
			a.t.Logf("Argo's server:\n%s", server.tail(20))
		}
	})
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1 // streams of events
	mux := http.NewServeMux()
	mux.Handle("/", pages{filepath.Dir(pagesOfArgo(a.t))})
	mux.Handle("/api/", proxy)
	front := httptest.NewServer(mux)
	a.t.Cleanup(front.Close)
	return front.URL
}

// pagesOfArgo returns the path of the first page.
func pagesOfArgo(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	assert.NilError(t, err)
	folder := filepath.Join(cache, "argosy")
	if own := os.Getenv("ARGOSY_CACHE"); own != "" {
		folder = own
	}
	found, err := filepath.Glob(filepath.Join(folder, "lab", "argo-pages", "*", "index.html"))
	assert.NilError(t, err)
	if len(found) == 0 {
		t.Fatalf("no pages of Argo's UI in %s: `bin/lab build --argo-pages` builds them, with Node.js and npm", folder)
	}
	return found[len(found)-1]
}

// pages serves a folder, and its first page wherever there is no file, as Argo's server does.
type pages struct{ folder string }

func (p pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; img-src 'self' data:")
	info, err := os.Stat(filepath.Join(p.folder, filepath.Clean("/"+r.URL.Path)))
	if err != nil || info.IsDir() {
		http.ServeFile(w, r, filepath.Join(p.folder, "index.html"))
		return
	}
	http.FileServer(http.Dir(p.folder)).ServeHTTP(w, r)
}
