package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/internal/fetch"
	"argosy.dev/argosy/internal/sources"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
)

// Settings describe how the plugin reaches the images that it sends.
type Settings struct {
	// Logins reads the logins at registries by their hosts; nil for none. It is called when the first image is pulled.
	Logins func(ctx context.Context) (map[string]spec.RegistryLogin, error)
	// CACert holds certificate authorities to trust beside the system's, PEM.
	CACert string
	// PlainHTTP are the hosts, with their ports, that are asked without TLS.
	PlainHTTP []string
	// Sources are the hosts that may be asked.
	Sources sources.List
}

// Supply finds and opens the images that the plugin sends to machines. It looks each source up once, so that all
// machines get the same, and stores nothing of it: every machine's archive is a download of its own. It is safe for use
// by many goroutines.
type Supply struct {
	settings Settings
	files    fetch.Client

	mu         sync.Mutex
	registries *registries
	tops       map[string]*once[*remote.Descriptor]
	found      map[string]*once[found]
	byKey      map[string]found
}

// found is a source as it was found.
type found struct {
	source spec.ImageSource
	open   piece
}

// NewSupply makes a Supply. Nothing is asked for before it is needed.
func NewSupply(settings Settings) *Supply {
	supply := &Supply{
		settings: settings,
		tops:     map[string]*once[*remote.Descriptor]{}, found: map[string]*once[found]{}, byKey: map[string]found{},
	}
	supply.files.CACert = []byte(settings.CACert)
	return supply
}

// once is a value that is looked up once. An error is not remembered.
type once[T any] struct {
	mu    sync.Mutex
	done  bool
	value T
}

func (o *once[T]) get(look func() (T, error)) (T, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done {
		return o.value, nil
	}
	value, err := look()
	o.value, o.done = value, err == nil
	return value, err
}

// of returns the entry of key, made on first use.
func of[T any](mu *sync.Mutex, all map[string]*once[T], key string) *once[T] {
	mu.Lock()
	defer mu.Unlock()
	if all[key] == nil {
		all[key] = &once[T]{}
	}
	return all[key]
}

// resolveParallel is how many sources are looked up at once.
const resolveParallel = 8

// Resolve returns the sources that a machine of an architecture (Go's name) has to import: items of importImages, in
// order. It asks servers and registries for what is behind those that the plugin sends. Every item that can't be had is
// in the error, among them those that are not there for this architecture, as a *PlatformError.
func (s *Supply) Resolve(ctx context.Context, items []string, arch string) ([]spec.ImageSource, error) {
	resolved := make([]spec.ImageSource, len(items))
	errs := make([]error, len(items))
	var group errgroup.Group
	group.SetLimit(resolveParallel)
	for i, item := range items {
		group.Go(func() error {
			resolved[i], errs[i] = s.resolve(ctx, item, arch)
			return nil
		})
	}
	_ = group.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errclass.With(worstClass(errs), err)
	}
	return resolved, nil
}

// worstClass returns the class of several errors together: one that the user has to correct counts first, and they are
// transient only if all of them are.
func worstClass(errs []error) errclass.Class {
	classes := []errclass.Class{errclass.Cancelled, errclass.Configuration, errclass.Permanent}
	for _, class := range classes {
		if slices.ContainsFunc(errs, func(err error) bool { return err != nil && errclass.ClassOf(err) == class }) {
			return class
		}
	}
	return errclass.Transient
}

func (s *Supply) resolve(ctx context.Context, item, arch string) (spec.ImageSource, error) {
	parsed, err := parse(item)
	if err != nil {
		return spec.ImageSource{}, err
	}
	if parsed.path != "" {
		return spec.ImageSource{Name: parsed.path, Path: parsed.path}, nil
	}
	if err := s.settings.Sources.Check(fmt.Sprintf("image %q", parsed.shown()), parsed.host()); err != nil {
		return spec.ImageSource{}, err
	}
	key, look := parsed.address+"#"+parsed.sha256, func() (found, error) { return s.file(ctx, parsed) }
	if parsed.image != nil {
		key, look = imageName(parsed.image)+" "+arch, func() (found, error) { return s.image(ctx, parsed, arch) }
	}
	one, err := of(&s.mu, s.found, key).get(look)
	if err != nil {
		return spec.ImageSource{}, fmt.Errorf("looking for the images of %q: %w", parsed.shown(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byKey[one.source.Sent.Key] = one
	return one.source, nil
}

// file finds an archive on a web server.
func (s *Supply) file(ctx context.Context, parsed source) (found, error) {
	if address, err := url.Parse(parsed.address); err != nil || address.Scheme != "https" && parsed.sha256 == "" &&
		!slices.Contains(s.settings.PlainHTTP, address.Host) {
		return found{}, errclass.With(errclass.Configuration,
			errors.New("its server would be asked without TLS: use https, give its digest as #sha256=…, or name the "+
				"host in registries.plainHTTP of argosy.yaml"))
	}
	version, err := s.files.Stat(ctx, parsed.address)
	if err != nil {
		return found{}, err
	}
	sent := &spec.SentImages{Key: "sha256:" + parsed.sha256, SHA256: parsed.sha256, Size: version.Size}
	if parsed.sha256 == "" {
		// Nothing of the URL itself, which may hold a signature.
		digest := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d", version.URL, version.ETag, version.Modified,
			version.Size))
		sent.Key = "url:" + hex.EncodeToString(digest[:])
	}
	return found{
		source: spec.ImageSource{Name: parsed.shown(), Sent: sent},
		open: func(ctx context.Context) (io.ReadCloser, error) {
			return s.files.Open(ctx, parsed.address, 0, version.Size)
		},
	}, nil
}

// image finds an image in a registry.
func (s *Supply) image(ctx context.Context, parsed source, arch string) (found, error) {
	registries, err := s.pulls(ctx)
	if err != nil {
		return found{}, err
	}
	full := imageName(parsed.image)
	top, err := of(&s.mu, s.tops, full).get(func() (*remote.Descriptor,
		error,
	) {
		return registries.get(ctx, parsed.image)
	})
	if err != nil {
		return found{}, err
	}
	archive, err := registries.layout(ctx, parsed.image, top, arch)
	if err != nil {
		return found{}, err
	}
	digest := top.Digest.String()
	return found{
		source: spec.ImageSource{Name: parsed.shown(), Sent: &spec.SentImages{
			Key: strings.Join([]string{"oci", full, digest, arch}, " "), Size: archive.size,
			Images: map[string]string{full: digest},
		}},
		open: archive.open,
	}, nil
}

// Has reports whether an image is in its registry, by its name with a tag.
func (s *Supply) Has(ctx context.Context, image string) (bool, error) {
	reference, err := name.ParseReference(image)
	if err != nil {
		return false, errclass.Errorf(errclass.Configuration, "asking for image %q: %w", image, err)
	}
	registries, err := s.pulls(ctx)
	if err != nil {
		return false, err
	}
	_, err = registries.get(ctx, reference)
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking for image %q: %w", image, err)
	}
	return true, nil
}

// pulls returns the client that pulls images, with the logins.
func (s *Supply) pulls(ctx context.Context) (*registries, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.registries != nil {
		return s.registries, nil
	}
	var shown logins
	var err error
	if s.settings.Logins != nil {
		if shown, err = s.settings.Logins(ctx); err != nil {
			return nil, err
		}
	}
	s.registries, err = newRegistries(s.settings, shown)
	return s.registries, err
}

// Open opens an archive that was resolved, by its key.
func (s *Supply) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	s.mu.Lock()
	one, known := s.byKey[key]
	s.mu.Unlock()
	if !known {
		return nil, errclass.Errorf(errclass.Transient, "opening archive %q: this plugin did not offer it to the "+
			"machine; the next attempt inspects the machine again", key)
	}
	content, err := one.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening %q: %w", one.source.Name, err)
	}
	return content, nil
}

var _ feed.Open = (*Supply)(nil).Open

// sends reports whether any of sources comes from the plugin.
func sends(sources []spec.ImageSource) bool {
	return slices.ContainsFunc(sources, func(source spec.ImageSource) bool { return source.Sent != nil })
}

// layout is the archive of an image for an architecture. It holds all that the image's name leads to on a machine that
// pulled it by itself, so both have the same digest by the same name.
func (r *registries) layout(ctx context.Context, image name.Reference, top *remote.Descriptor, arch string) (*layout,
	error,
) {
	archive, err := newLayout()
	if err != nil {
		return nil, err
	}
	if err := archive.name(v1.Descriptor{MediaType: top.MediaType, Size: top.Size, Digest: top.Digest},
		imageName(image)); err != nil {
		return nil, err
	}
	if err := archive.manifest(top.Digest, top.Manifest); err != nil {
		return nil, err
	}
	add := r.single
	if top.MediaType.IsIndex() {
		add = r.platform
	} else if !top.MediaType.IsImage() {
		return nil, errclass.Errorf(errclass.Configuration,
			"its type is %s; containerd runs images of OCI and Docker only", top.MediaType)
	}
	if err := add(ctx, archive, image, top.Manifest, arch); err != nil {
		return nil, err
	}
	archive.end()
	return archive, nil
}
