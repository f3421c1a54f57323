package join

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/sethvargo/go-retry"

	"argosy.dev/argosy/internal/fetch"
	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/secret"
)

// idleTimeout is the time without new bytes after which a connection is closed and another one opened.
const idleTimeout = 15 * time.Second

// download fetches the bundle to archive + ".partial", from where an earlier attempt stopped, and renames it when it is
// whole. It retries lost connections and busy servers until no byte came for stallTimeout; a refusal of the server ends
// it at once.
func download(ctx context.Context, c *node.Context, archive string) error {
	wanted := c.Operation.Join.Bundle
	if exists(archive) {
		return nil
	}
	if err := c.Host.MkdirAll(spec.BundlesDir, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(archive+".partial", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the partial bundle: %w", err)
	}
	defer file.Close()

	repository := &bundle.Repository{CACert: []byte(wanted.CACert), Stall: idleTimeout}
	if wanted.Authenticated {
		repository.Token = secret.New(c.Operation.Secrets.BootstrapToken)
	}
	moved := time.Now()
	backoff := retry.WithJitterPercent(20, retry.WithCappedDuration(5*time.Second,
		retry.NewExponential(250*time.Millisecond)))
	err = retry.Do(ctx, backoff, func(ctx context.Context) error {
		n, err := fetchRest(ctx, repository, wanted, file)
		if n > 0 {
			moved = time.Now()
		}
		if err == nil || !errclass.IsTransient(err) || time.Since(moved) > stallTimeout {
			return err
		}
		fmt.Fprintf(c.Log, "downloading again: %v\n", err)
		return retry.RetryableError(err)
	})
	if err != nil {
		return err
	}
	if err := os.Rename(archive+".partial", archive); err != nil {
		return fmt.Errorf("naming the downloaded bundle: %w", err)
	}
	return nil
}

// fetchRest appends the missing part to the file and returns how many bytes came.
func fetchRest(ctx context.Context, repository *bundle.Repository, wanted spec.Bundle, file *os.File) (int64, error) {
	offset, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("finding the end of the partial bundle: %w", err)
	}
	if wanted.Size > 0 && offset > wanted.Size {
		// The file cannot be a part of the bundle. The follower notices that it begins again.
		offset = 0
		if err := errors.Join(file.Truncate(0), rewind(file)); err != nil {
			return 0, fmt.Errorf("emptying the partial bundle: %w", err)
		}
	}
	body, err := repository.Open(ctx, wanted, offset)
	var status *fetch.StatusError
	if offset > 0 && errors.As(err, &status) && status.Code == http.StatusRequestedRangeNotSatisfiable {
		// The file is as long as the server's. The digest tells whether that is the bundle; if not, it begins anew.
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer body.Close()
	n, err := io.CopyBuffer(onlyWriter{file}, body, make([]byte, 1<<20))
	if err != nil {
		return n, fmt.Errorf("downloading %q: %w", wanted.URL, err)
	}
	return n, nil
}

func rewind(file *os.File) error {
	_, err := file.Seek(0, io.SeekStart)
	return err
}

// onlyWriter hides ReadFrom, so that io.CopyBuffer uses the large buffer.
type onlyWriter struct{ io.Writer }
