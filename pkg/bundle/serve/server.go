package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// endWithin is how long requests under way may take to end when the server is told to; a download that is cut off
	// is resumed by the machine, so there is nothing to wait for.
	endWithin = 500 * time.Millisecond
	// slowest is how long a client may take for a whole answer: 400 MB at some 110 kB/s.
	slowest = time.Hour
)

// Run serves over TLS on the listener until ctx ends, and then ends within a second. It closes the listener.
func Run(ctx context.Context, listener net.Listener, handler *Handler, certificate *Certificate,
	log *slog.Logger,
) error {
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.Get},
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      slowest,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		Protocols:         new(http.Protocols),
	}
	// One large file per client: HTTP/2's windows only cost time there.
	server.Protocols.SetHTTP1(true)

	ctx, cancel := context.WithCancel(ctx)
	var owned sync.WaitGroup
	owned.Go(func() {
		if err := handler.Index(ctx); err != nil && ctx.Err() == nil {
			log.Error("finding out the digests of the bundles", "error", err.Error())
		}
	})
	owned.Go(func() {
		<-ctx.Done()
		// The context that ended is of no use for ending well.
		grace, done := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
		defer done()
		if server.Shutdown(grace) != nil {
			_ = server.Close()
		}
	})
	log.Info("serving bundles", "address", listener.Addr().String(), "folder", handler.folder)
	err := server.ServeTLS(listener, "", "")
	cancel()
	owned.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving on %s: %w", listener.Addr(), err)
}
