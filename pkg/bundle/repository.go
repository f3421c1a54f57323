// Package bundle handles node bundles: it finds them at a repository, receives and follows the file while it arrives,
// verifies it and unpacks it. Bundles are made by packages assemble and release, and handed out by package serve.
package bundle

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/internal/fetch"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/secret"
)

// SumsFile is beside the bundles of a version and has their digests, as sha256sum writes them.
const SumsFile = "SHA256SUMS"

// maxSums bounds SHA256SUMS: a line takes some 100 bytes, and a version has a handful of bundles.
const maxSums = 1 << 20

// Repository is an HTTP(S) server that holds <version>/kubernetes-<version>-<arch>.<format> and, beside it, SHA256SUMS.
// It is safe for concurrent use. TLS is always verified. Errors have a class: a missing file is a configuration error,
// a server that does not answer a transient one.
type Repository struct {
	// URL of the folder of the versions.
	URL string
	// CACert holds certificate authorities to trust beside the system's, PEM. May be empty.
	CACert []byte
	// Format is "tar.gz" or "tar.zst". Default tar.gz.
	Format string
	// SHA256 holds digests by file name, hex; they win over SHA256SUMS.
	SHA256 map[string]string
	// AllowUnverified accepts a bundle without a published digest.
	AllowUnverified bool
	// Stall is how long a download may receive no bytes before it counts as lost. Default 1m.
	Stall time.Duration
	// Token is sent as a bearer token when set, as the bundle server of a control plane wants it.
	Token secret.Value
	// Renew returns another Token when the server has refused the one of now; nil for none.
	Renew func(ctx context.Context) (secret.Value, error)
	// HTTP sends the requests when set; CACert is then not looked at.
	HTTP *http.Client

	setup  sync.Once
	client fetch.Client

	// hashing is held by the goroutine that downloads to learn a digest; known has the digests so learnt.
	hashing chan struct{}
	known   map[fetch.Version]string
}

var safeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)

// Locate finds the bundle of a Kubernetes version ("v1.34.4") for an architecture ("amd64"), with its URL, size and
// digest. Without a published digest and with AllowUnverified, it downloads the bundle once to compute the digest, and
// takes as long: call it in the operation's context, not in that of a single request.
func (r *Repository) Locate(ctx context.Context, kubernetes, arch string) (spec.Bundle, error) {
	format := r.Format
	if format == "" {
		format = "tar.gz"
	}
	name := fmt.Sprintf("kubernetes-%s-%s.%s", kubernetes, arch, format)
	if !safeName.MatchString(kubernetes) || !safeName.MatchString(name) {
		return spec.Bundle{}, errclass.Errorf(errclass.Configuration, "finding bundle %q: it is not a file name", name)
	}
	address, err := url.JoinPath(r.URL, kubernetes, name)
	if err != nil {
		return spec.Bundle{}, errclass.Errorf(errclass.Configuration, "finding bundle %q: the repository is not a URL",
			name)
	}
	found, err := r.files().Stat(ctx, address)
	if err != nil {
		return spec.Bundle{}, fmt.Errorf("finding bundle %q: %w", name, advise(err))
	}
	digest, err := r.digest(ctx, found, name)
	if err != nil {
		return spec.Bundle{}, fmt.Errorf("verifying bundle %q: %w", name, err)
	}
	return spec.Bundle{Name: name, SHA256: digest, Size: found.Size, URL: address}, nil
}

// Has reports whether there is a bundle of a Kubernetes version for any of the architectures that Argosy supports.
func (r *Repository) Has(ctx context.Context, kubernetes string) (bool, error) {
	for _, arch := range []string{"amd64", "arm64"} {
		_, err := r.Locate(ctx, kubernetes, arch)
		var status *fetch.StatusError
		switch {
		case err == nil:
			return true, nil
		case errors.As(err, &status) && status.Missing():
		default:
			return false, err
		}
	}
	return false, nil
}

// Open downloads a bundle that Locate found, from offset on. A server that knows no ranges sends everything, and the
// part before offset is read and dropped. Errors while reading have a class too.
func (r *Repository) Open(ctx context.Context, bundle spec.Bundle, offset int64) (io.ReadCloser, error) {
	switch {
	case bundle.URL == "":
		return nil, fmt.Errorf("downloading bundle %q: it has no URL", bundle.Name)
	case offset < 0 || (bundle.Size > 0 && offset > bundle.Size):
		return nil, fmt.Errorf("downloading bundle %q from byte %d: it has %d", bundle.Name, offset, bundle.Size)
	case bundle.Size > 0 && offset == bundle.Size:
		return http.NoBody, nil
	}
	body, err := r.files().Open(ctx, bundle.URL, offset, bundle.Size)
	if err != nil {
		return nil, fmt.Errorf("downloading bundle %q: %w", bundle.Name, advise(err))
	}
	return body, nil
}

// digest returns the digest of a bundle, from the first of: the user's map, SHA256SUMS, the bundle itself.
func (r *Repository) digest(ctx context.Context, found fetch.Version, name string) (string, error) {
	if digest, named := r.SHA256[name]; named {
		if !isDigest(digest) {
			return "", errclass.Errorf(errclass.Configuration, "reading its digest: %q is not 64 hexadecimal digits",
				digest)
		}
		return strings.ToLower(digest), nil
	}
	sums, err := siblingURL(found.URL, SumsFile)
	if err != nil {
		return "", errclass.Errorf(errclass.Configuration, "finding %s: %w", SumsFile, err)
	}
	digest, missing, err := r.published(ctx, sums, name)
	switch {
	case err != nil:
		return "", err
	case digest != "":
		return digest, nil
	case r.AllowUnverified:
		return r.learn(ctx, found)
	}
	return "", errclass.Errorf(errclass.Configuration, "its digest is not known: bundles.sha256 of argosy.yaml does "+
		"not name it, and %s; "+
		"add the digest to bundles.sha256, or publish %s, or accept the bundle as it is with "+
		"bundles.allowUnverified: true", missing, SumsFile)
}

// published looks a digest up in SHA256SUMS. Without one, missing is the reason.
func (r *Repository) published(ctx context.Context, sums, name string) (digest, missing string, err error) {
	text, err := r.files().Text(ctx, sums, maxSums)
	var status *fetch.StatusError
	if errors.As(err, &status) && status.Missing() {
		return "", sums + " is not there", nil
	} else if err != nil {
		return "", "", fmt.Errorf("reading digests: %w", advise(err))
	}
	digest, err = SumOf(text, name)
	if err != nil {
		return "", "", errclass.Errorf(errclass.Configuration, "reading digests from %q: %w", sums, err)
	}
	return digest, sums + " does not name it", nil
}

// SumOf returns the digest of a file in the output of sha256sum: "<digest>  <name>", or "<digest> *<name>" for binary
// mode. The digest of a file that is not listed is empty.
func SumOf(text []byte, name string) (string, error) {
	found := ""
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxSums+1)
	for lines.Scan() {
		digest, file, _ := strings.Cut(strings.TrimRight(lines.Text(), "\r "), " ")
		file = strings.TrimPrefix(strings.TrimPrefix(strings.TrimLeft(file, " "), "*"), "./")
		if file != name {
			continue
		}
		digest = strings.ToLower(digest)
		switch {
		case !isDigest(digest):
			return "", fmt.Errorf("the line of %q does not start with 64 hexadecimal digits", name)
		case found != "" && found != digest:
			return "", fmt.Errorf("%q is there twice, with two digests", name)
		}
		found = digest
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("splitting into lines: %w", err)
	}
	return found, nil
}

func isDigest(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == sha256.Size
}

// learn downloads a bundle to compute its digest, once for each version of the file.
func (r *Repository) learn(ctx context.Context, found fetch.Version) (string, error) {
	files := r.files()
	select {
	case r.hashing <- struct{}{}:
		defer func() { <-r.hashing }()
	case <-ctx.Done():
		class := errclass.Transient
		if errors.Is(ctx.Err(), context.Canceled) {
			class = errclass.Cancelled
		}
		return "", errclass.Errorf(class, "waiting for the digest of %q: %w", found.URL, ctx.Err())
	}
	if digest, known := r.known[found]; known {
		return digest, nil
	}
	body, err := files.Open(ctx, found.URL, 0, found.Size)
	if err != nil {
		return "", fmt.Errorf("downloading it for its digest: %w", advise(err))
	}
	defer func() { _ = body.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, body); err != nil {
		return "", fmt.Errorf("downloading it for its digest: %w", err)
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	r.known[found] = digest
	return digest, nil
}

// files returns the client that reads from the server.
func (r *Repository) files() *fetch.Client {
	r.setup.Do(func() {
		r.hashing, r.known = make(chan struct{}, 1), map[fetch.Version]string{}
		r.client.CACert, r.client.Token, r.client.Renew = r.CACert, r.Token, r.Renew
		r.client.Stall, r.client.HTTP = r.Stall, r.HTTP
	})
	return &r.client
}

// advise adds the way out to an error.
func advise(err error) error {
	var status *fetch.StatusError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return fmt.Errorf("%w; set bundles.caCert to the authority that signed the server's certificate", err)
	case errors.As(err, &status) && status.Missing():
		return fmt.Errorf("%w; check bundles.repository, the Kubernetes version, and that the bundle was published "+
			"there",
			err)
	case errors.As(err, &status) && status.Forbidden():
		return fmt.Errorf("%w; the repository must be readable without a login", err)
	}
	return err
}

// siblingURL replaces a URL's last element.
func siblingURL(address, name string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("parsing a URL: %w", err)
	}
	parsed.RawPath = ""
	parsed.Path = path.Join(path.Dir(parsed.Path), name)
	return parsed.String(), nil
}
