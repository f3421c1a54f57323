package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/errclass"
)

// Certificate is a serving certificate whose files are read again when they change, so that a renewed one is used
// without a restart.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex
	stamp  stamp
	loaded *tls.Certificate
}

// stamp identifies a state of the two files.
type stamp struct {
	cert, key         time.Time
	certSize, keySize int64
}

// LoadCertificate reads both files, which must fit each other.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.reload(); err != nil {
		return nil, errclass.With(errclass.Configuration, err)
	}
	return c, nil
}

// Get is for tls.Config.GetCertificate. It looks at the files at each handshake. While they don't fit each other, as
// when one is already new, the former certificate is used.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.reload(); err != nil {
		c.log.Warn("keeping the former serving certificate", "error", err.Error())
	}
	return c.loaded, nil
}

func (c *Certificate) reload() error {
	cert, certErr := os.Stat(c.certFile)
	key, keyErr := os.Stat(c.keyFile)
	if err := errors.Join(certErr, keyErr); err != nil {
		return fmt.Errorf("reading the serving certificate: %w", err)
	}
	now := stampOf(cert, key)
	if c.loaded != nil && now == c.stamp {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("reading the serving certificate %q: %w", c.certFile, err)
	}
	if c.loaded != nil {
		c.log.Info("serving with a new certificate", "serial", pair.Leaf.SerialNumber.String(), "notAfter",
			pair.Leaf.NotAfter)
	}
	c.loaded, c.stamp = &pair, now
	return nil
}

func stampOf(cert, key fs.FileInfo) stamp {
	return stamp{cert: cert.ModTime(), certSize: cert.Size(), key: key.ModTime(), keySize: key.Size()}
}
