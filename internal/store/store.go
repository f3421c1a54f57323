// Package store moves a cluster's state between its store and an archive. It speaks etcd's own protocol in the few
// forms that kine understands as well, so that SQLite, PostgreSQL, MySQL and etcd are the same to it, and an archive of
// one can be loaded into another. It reads a store while the cluster runs, and writes only into an empty one. It never
// touches the files of a store and knows nothing of Kubernetes beyond the names of a few keys. While a store is loaded,
// its holding server answers the cluster's clients.
package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/sethvargo/go-retry"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"argosy.dev/argosy/pkg/errclass"
)

// Client reads keys and runs transactions; *clientv3.Client is one.
type Client interface {
	Get(ctx context.Context, key string, options ...clientv3.OpOption) (*clientv3.GetResponse, error)
	Txn(ctx context.Context) clientv3.Txn
}

// Access is the address of a store, and the client's certificate.
type Access struct {
	// Endpoints are URLs of etcd's members, or the one of kine: "https://host:2379", "unix:///run/kine/kine.sock".
	Endpoints []string
	// CACert, Cert and Key are files: the authority of the members' certificates, and the pair to show. All are empty
	// for a socket.
	CACert, Cert, Key string
}

const (
	dialTimeout = 10 * time.Second
	// keepAlive finds a member that went away without a word while an answer is awaited.
	keepAlive = 20 * time.Second
)

// Connect makes a client. It does not wait for the store; Ready does.
func (a Access) Connect() (*clientv3.Client, error) {
	settings, err := a.tls()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: a.Endpoints, TLS: settings, Logger: zap.NewNop(),
		DialTimeout: dialTimeout, DialKeepAliveTime: keepAlive, DialKeepAliveTimeout: dialTimeout,
	})
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "making a client for the store %q: %w", a.Endpoints, err)
	}
	return client, nil
}

func (a Access) tls() (*tls.Config, error) {
	if a.CACert == "" {
		return nil, nil
	}
	authority, err := os.ReadFile(a.CACert)
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading the store's authority: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(a.Cert, a.Key)
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading the certificate to show to the store: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errclass.Errorf(errclass.Configuration, "reading the store's authority: file %q has no certificate",
			a.CACert)
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// ready waits until the store answers, for at most the given time. kine's socket is there a moment before its database
// is.
func (a Access) ready(ctx context.Context, client Client, patience time.Duration) error {
	backoff := retry.WithMaxDuration(patience, retry.NewConstant(500*time.Millisecond))
	return retry.Do(ctx, backoff, func(ctx context.Context) error {
		asking, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		_, err := client.Get(asking, healthKey)
		if err == nil {
			return nil
		}
		// A client that waits for a connection only reports that it waited; the cause is known to the connection
		// itself.
		if why := a.reach(ctx); why != nil {
			err = why
		}
		return retry.RetryableError(errclass.Errorf(errclass.Transient, "waiting for the store to answer: %w", err))
	})
}

// reach connects to every member and returns the error of the first that can't be reached.
func (a Access) reach(ctx context.Context) error {
	settings, err := a.tls()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for _, endpoint := range a.Endpoints {
		at, err := url.Parse(endpoint)
		if err != nil {
			return fmt.Errorf("reading endpoint %q: %w", endpoint, err)
		}
		var connection net.Conn
		switch at.Scheme {
		case "unix":
			connection, err = (&net.Dialer{}).DialContext(ctx, "unix", at.Path)
		case "https":
			connection, err = (&tls.Dialer{Config: settings}).DialContext(ctx, "tcp", at.Host)
		default:
			connection, err = (&net.Dialer{}).DialContext(ctx, "tcp", at.Host)
		}
		if err != nil {
			return fmt.Errorf("connecting to %q: %w", endpoint, err)
		}
		if err := connection.Close(); err != nil {
			return fmt.Errorf("connecting to %q: %w", endpoint, err)
		}
	}
	return nil
}

// answerTimeout bounds one request. A page of a large store takes kine a second or two on a slow disk.
const answerTimeout = time.Minute

// classified gives an error of the store its class. A member that is not able to answer now is asked again; etcd's
// client repeats only requests that it knows to be harmless.
func classified(err error) error {
	switch status.Code(err) {
	case codes.OK:
		return err
	case codes.Canceled:
		return errclass.With(errclass.Cancelled, err)
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted, codes.Unknown:
		if errors.Is(rpctypes.Error(err), rpctypes.ErrNoSpace) {
			return errclass.Errorf(errclass.Permanent, "the store's space is used up: %w", err)
		}
		return errclass.With(errclass.Transient, err)
	}
	return errclass.With(errclass.Permanent, err)
}
