package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"argosy.dev/argosy/internal/sources"
	"argosy.dev/argosy/pkg/errclass"
)

// StatusError is the error of a response whose status is not a success.
type StatusError struct {
	URL string
	// Code is HTTP's.
	Code int
}

func (s *StatusError) Error() string {
	return fmt.Sprintf("%s answered %d %s", s.URL, s.Code, http.StatusText(s.Code))
}

// Missing reports whether there is no such file.
func (s *StatusError) Missing() bool {
	return s.Code == http.StatusNotFound || s.Code == http.StatusGone
}

// Forbidden reports whether the server refused access.
func (s *StatusError) Forbidden() bool {
	return s.Code == http.StatusUnauthorized || s.Code == http.StatusForbidden
}

// class returns the class of a status: a missing or forbidden file needs a change by the user, an overloaded or broken
// server may recover.
func (s *StatusError) class() errclass.Class {
	switch {
	case s.Missing(), s.Forbidden():
		return errclass.Configuration
	case s.Code >= 500, s.Code == http.StatusTooManyRequests, s.Code == http.StatusRequestTimeout:
		return errclass.Transient
	}
	return errclass.Permanent
}

// errPlainRedirect: a server that is asked over TLS sends us on to plain HTTP, where anyone could answer.
var errPlainRedirect = errors.New("redirected from https to http")

func checkRedirect(request *http.Request, via []*http.Request) error {
	const most = 10
	if len(via) >= most {
		return fmt.Errorf("redirected more than %d times", most)
	}
	if via[0].URL.Scheme == "https" && request.URL.Scheme != "https" {
		return errPlainRedirect
	}
	return nil
}

// requestError classifies a request that brought no response.
func requestError(ctx context.Context, err error) error {
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return errclass.With(errclass.Cancelled, err)
	case errors.As(err, &certificate), errors.Is(err, errPlainRedirect), errors.Is(err, sources.ErrLinkLocal):
		return errclass.With(errclass.Configuration, err)
	case errors.As(err, &dns) && dns.IsNotFound:
		return errclass.With(errclass.Configuration, err)
	}
	return errclass.With(errclass.Transient, err)
}
