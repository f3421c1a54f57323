package fetch_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/fetch"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
)

func TestAFileIsReadFromAnyByteWithTheToken(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer abc" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.ServeContent(w, r, "", time.Unix(1, 0), strings.NewReader("0123456789"))
	}))
	defer server.Close()

	client := &fetch.Client{Token: secret.New("abc")}
	found, err := client.Stat(t.Context(), server.URL)
	assert.NilError(t, err)
	assert.Equal(t, found.Size, int64(10))
	body, err := client.Open(t.Context(), server.URL, 7, found.Size)
	assert.NilError(t, err)
	got, err := io.ReadAll(body)
	assert.NilError(t, err)
	assert.NilError(t, body.Close())
	assert.Equal(t, string(got), "789")

	_, err = (&fetch.Client{}).Text(t.Context(), server.URL, 100)
	var status *fetch.StatusError
	assert.Assert(t, errors.As(err, &status) && status.Forbidden(), err)
}

// The server accepts token "new" alone; the client begins with "old". Renew gives
//
//	new      every request succeeds, and one renewal serves all
//	other    the request fails after one renewal
//	an error the request fails with it
func TestARefusedTokenIsRenewedOnce(t *testing.T) {
	for name, test := range map[string]struct {
		token string
		err   error
		want  string
	}{
		"new":      {token: "new"},
		"other":    {token: "other", want: "401"},
		"an error": {err: errors.New("no account"), want: "renewing the token"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
				if r.Header.Get("Authorization") != "Bearer new" {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				_, _ = io.WriteString(w, "text")
			}))
			defer server.Close()
			renewals := 0
			client := &fetch.Client{Token: secret.New("old"), Renew: func(context.Context) (secret.Value, error) {
				renewals++
				return secret.New(test.token), test.err
			}}
			_, err := client.Text(t.Context(), server.URL, 100)
			assert.Equal(t, renewals, 1)
			if test.want != "" {
				assert.ErrorContains(t, err, test.want)
				return
			}
			assert.NilError(t, err)
			_, err = client.Text(t.Context(), server.URL, 100)
			assert.NilError(t, err)
			assert.DeepEqual(t, asked, []string{"old", "new", "new"})
			assert.Equal(t, renewals, 1)
		})
	}
}

func TestATokenStaysWithItsHost(t *testing.T) {
	var seen string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter,
		r *http.Request,
	) {
		seen = r.Header.Get("Authorization")
	}))
	defer other.Close()
	// The same address by another name is another host.
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	server := httptest.NewServer(http.RedirectHandler(elsewhere, http.StatusFound))
	defer server.Close()

	_, err := (&fetch.Client{Token: secret.New("abc")}).Text(t.Context(), server.URL, 100)
	assert.NilError(t, err)
	assert.Equal(t, seen, "")
}

func TestAnAnswerHasAClass(t *testing.T) {
	for code, want := range map[int]errclass.Class{
		http.StatusNotFound:                     errclass.Configuration,
		http.StatusGone:                         errclass.Configuration,
		http.StatusUnauthorized:                 errclass.Configuration,
		http.StatusForbidden:                    errclass.Configuration,
		http.StatusTooManyRequests:              errclass.Transient,
		http.StatusRequestTimeout:               errclass.Transient,
		http.StatusServiceUnavailable:           errclass.Transient,
		http.StatusRequestedRangeNotSatisfiable: errclass.Permanent,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter,
			_ *http.Request,
		) {
			w.WriteHeader(code)
		}))
		_, err := (&fetch.Client{}).Open(t.Context(), server.URL, 0, 0)
		server.Close()
		assert.Equal(t, errclass.ClassOf(err), want, "%d", code)
	}
}

func TestATextThatIsTooLongIsRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("a", 11))
	}))
	defer server.Close()
	_, err := (&fetch.Client{}).Text(t.Context(), server.URL, 10)
	assert.ErrorContains(t, err, "more than 10 bytes")
	text, err := (&fetch.Client{}).Text(t.Context(), server.URL, 11)
	assert.NilError(t, err)
	assert.Equal(t, len(text), 11)
}
