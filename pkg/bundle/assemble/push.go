package assemble

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"argosy.dev/argosy/pkg/errclass"
)

// Push uploads all tags to the registry in the image's name, each layer once, and skips layers that the registry has.
// It logs in with docker's or podman's configuration. A registry on this host, or below .local, may speak plain
// HTTP.
func (i *Image) Push(ctx context.Context) error {
	tags := map[name.Reference]remote.Taggable{}
	for _, tagged := range i.tags {
		tags[i.repository.Tag(tagged.tag)] = tagged.index
	}
	err := remote.MultiWrite(tags,
		remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
		// Five attempts at each request, 1, 2, 4 and 8 seconds apart.
		remote.WithRetryBackoff(remote.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 5}),
	)
	if err != nil {
		return errclass.With(RegistryClass(ctx, err), fmt.Errorf("pushing image %q: %w", i.repository.Name(), err))
	}
	return nil
}

// RegistryClass returns the class of a registry's error: whether another attempt can succeed.
func RegistryClass(ctx context.Context, err error) errclass.Class {
	var answer *transport.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return errclass.Cancelled
	case !errors.As(err, &answer):
		return errclass.Transient
	case answer.Temporary():
		return errclass.Transient
	case answer.StatusCode == http.StatusNotFound, answer.StatusCode == http.StatusUnauthorized,
		answer.StatusCode == http.StatusForbidden:
		return errclass.Configuration
	}
	return errclass.Permanent
}
