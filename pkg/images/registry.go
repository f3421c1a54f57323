package images

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"argosy.dev/argosy/internal/sources"
	"argosy.dev/argosy/pkg/errclass"
)

// registries pulls images. Connections and tokens are shared by all that it pulls.
type registries struct {
	puller *remote.Puller
	plain  []string
}

func newRegistries(settings Settings, keychain authn.Keychain) (*registries, error) {
	base, err := newTransport(settings.CACert)
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(
		remote.WithAuthFromKeychain(keychain), remote.WithTransport(encrypted{next: base, plain: settings.PlainHTTP}),
		remote.WithUserAgent("argosy"),
		// The Importer alone retries.
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes(),
	)
	if err != nil {
		return nil, fmt.Errorf("preparing to pull images: %w", err)
	}
	return &registries{puller: puller, plain: settings.PlainHTTP}, nil
}

// dialTimeout bounds the dialling of a registry.
const dialTimeout = 10 * time.Second

func newTransport(authorities string) (*http.Transport, error) {
	own, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("preparing to pull images: the transport is a %T", remote.DefaultTransport)
	}
	own = own.Clone()
	own.DialContext = sources.Dialer(dialTimeout).DialContext
	own.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if strings.TrimSpace(authorities) == "" {
		return own, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM([]byte(authorities)) {
		return nil, errclass.With(errclass.Configuration, errors.New("reading registries.caCert of argosy.yaml: it "+
			"holds no PEM certificate"))
	}
	own.TLSClientConfig.RootCAs = pool
	return own, nil
}

// encrypted lets requests without TLS pass only to the hosts that the user named. The library by itself also asks every
// private address so.
type encrypted struct {
	next  http.RoundTripper
	plain []string
}

// errPlain: a registry would be asked without TLS.
var errPlain = errors.New("its registry would be asked without TLS; if that is meant, add the host to " +
	"registries.plainHTTP of argosy.yaml")

func (e encrypted) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "https" && !slices.Contains(e.plain, request.URL.Host) {
		return nil, errPlain
	}
	return e.next.RoundTrip(request)
}

// reference is image as it is to be asked for.
func (r *registries) reference(image name.Reference) (name.Reference, error) {
	if !slices.Contains(r.plain, image.Context().RegistryStr()) {
		return image, nil
	}
	return name.ParseReference(image.Name(), name.Insecure)
}

// get reads the index or the manifest that an image's name leads to.
func (r *registries) get(ctx context.Context, image name.Reference) (*remote.Descriptor, error) {
	reference, err := r.reference(image)
	if err != nil {
		return nil, errclass.With(errclass.Configuration, err)
	}
	found, err := r.puller.Get(ctx, reference)
	if err != nil {
		return nil, classify(ctx, err)
	}
	return found, nil
}

// blob opens a layer or a configuration, which is verified by its digest while it is read.
func (r *registries) blob(ctx context.Context, repository name.Repository, digest v1.Hash) (io.ReadCloser, error) {
	layer, err := r.puller.Layer(ctx, repository.Digest(digest.String()))
	if err == nil {
		var content io.ReadCloser
		if content, err = layer.Compressed(); err == nil {
			return classified{ctx, content}, nil
		}
	}
	return nil, fmt.Errorf("pulling blob %s: %w", digest, classify(ctx, err))
}

// classified gives the errors of a download their class.
type classified struct {
	ctx context.Context
	io.ReadCloser
}

func (c classified) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	return n, classify(c.ctx, err)
}

// classify returns a registry's error with its class, which tells whether a retry can help, and with the correction of
// its cause.
func classify(ctx context.Context, err error) error {
	var answer *transport.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return errclass.With(errclass.Cancelled, err)
	case errors.Is(err, errPlain), errors.Is(err, sources.ErrLinkLocal):
		return errclass.With(errclass.Configuration, err)
	case errors.As(err, &certificate):
		return errclass.Errorf(errclass.Configuration, "%w; set registries.caCert of argosy.yaml to the authority "+
			"that signed the registry's certificate", err)
	case !errors.As(err, &answer):
		return errclass.With(errclass.Transient, err)
	case answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden:
		return errclass.Errorf(errclass.Configuration, "%w; registries.secret of argosy.yaml names the Secret with "+
			"the logins", err)
	case answer.StatusCode == http.StatusNotFound:
		return errclass.With(errclass.Configuration, err)
	case answer.StatusCode >= http.StatusInternalServerError || answer.StatusCode == http.StatusTooManyRequests:
		return errclass.With(errclass.Transient, err)
	}
	return errclass.With(errclass.Permanent, err)
}

// PlatformError is an image that there is not for a machine's architecture.
type PlatformError struct {
	Image, Arch string
	// Has are the platforms that there are.
	Has []string
}

func (p *PlatformError) Error() string {
	return fmt.Sprintf("image %q is not made for linux/%s, only for %s", p.Image, p.Arch, strings.Join(p.Has, ", "))
}

// family are the architectures whose manifests containerd may want to see on a machine of one of them: older ones look
// at what the machine could run too.
var family = map[string][]string{"amd64": {"amd64", "386"}, "arm64": {"arm64", "arm"}}

// choose finds in an index the manifest for an architecture, and those that travel: itself and the others of its
// family.
func choose(image string, index *v1.IndexManifest, arch string) (chosen v1.Descriptor, travelling []v1.Descriptor,
	err error,
) {
	missing := &PlatformError{Image: image, Arch: arch}
	for _, child := range index.Manifests {
		platform := child.Platform
		if platform == nil || platform.OS != "linux" {
			continue
		}
		missing.Has = append(missing.Has, platform.String())
		if platform.Architecture == arch && (chosen.Platform == nil || isPlain(platform) && !isPlain(chosen.Platform)) {
			chosen = child
		}
		if slices.Contains(family[arch], platform.Architecture) {
			travelling = append(travelling, child)
		}
	}
	if chosen.Platform == nil {
		return chosen, nil, errclass.With(errclass.Configuration, missing)
	}
	return chosen, travelling, nil
}

// isPlain reports whether every machine of the architecture runs it.
func isPlain(platform *v1.Platform) bool {
	return platform.Variant == "" || platform.Architecture == "arm64" && platform.Variant == "v8"
}

// checkPlatform holds the configuration of an image that comes in one platform only against an architecture.
func (r *registries) checkPlatform(ctx context.Context, image name.Reference, manifest *v1.Manifest,
	arch string,
) error {
	content, err := r.blob(ctx, image.Context(), manifest.Config.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	var text bytes.Buffer
	if _, err := io.Copy(&text, io.LimitReader(content, maxConfig)); err != nil {
		return fmt.Errorf("reading the configuration of %s: %w", image, err)
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(text.Bytes(), &config); err != nil {
		return errclass.Errorf(errclass.Permanent, "reading the configuration of %s: %w", image, err)
	}
	if config.OS != "linux" || config.Architecture != arch {
		return errclass.With(errclass.Configuration, &PlatformError{
			Image: imageName(image), Arch: arch,
			Has: []string{config.Platform().String()},
		})
	}
	return nil
}

// maxConfig bounds an image's configuration.
const maxConfig = 8 << 20
