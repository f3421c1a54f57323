package config

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The rules of image registries and of imported images. No message holds a URL, in which users have put passwords, and
// none holds a login.

// anyRegistry is containerd's name for every registry that has no folder of its own.
const anyRegistry = "_default"

func (d *document) checkRegistry(key string, r Registry) {
	d.absolute(join(key, "configPath"), r.ConfigPath)
	for _, host := range slices.Sorted(maps.Keys(r.Mirrors)) {
		at := join(key+".mirrors", host)
		switch host {
		case anyRegistry:
		case "*", "all", "default", "any":
			d.add(at, shown(host)+" is not the name of a registry",
				fmt.Sprintf("write %s for every registry that has no entry", anyRegistry))
		default:
			if d.registry(at, host) {
				d.lowerCase(at, host)
			}
		}
		d.checkMirror(at, r.Mirrors[host])
	}
	for _, host := range slices.Sorted(maps.Keys(r.Auth)) {
		at := join(key+".auth", host)
		if d.registry(at, host) && d.lowerCase(at, host) {
			d.checkLogin(at, r.Auth[host])
		}
	}
}

// registry checks the name of an image registry, as images carry it: "docker.io", "registry.example.com:5000". In an
// image's name a word without a dot or a port is a folder of Docker Hub, unless it is localhost.
func (d *document) registry(key, value string) bool {
	if bare, _, found := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(value, "https://"), "http://"),
		"/"); found || bare != value {
		d.add(key, "is not the name of a registry: it holds a scheme or a path",
			`write e.g. "docker.io" or "registry.example.com:5000"`)
		return false
	}
	host, port := value, ""
	if strings.Contains(value, ":") {
		var err error
		if host, port, err = net.SplitHostPort(value); err != nil {
			d.add(key, shown(value)+" is not the name of a registry",
				`write e.g. "docker.io" or "registry.example.com:5000"`)
			return false
		}
		if number, err := strconv.Atoi(port); err != nil || len(validation.IsValidPortNum(number)) > 0 {
			d.add(key, shown(port)+" is not a port", "use 1 to 65535")
			return false
		}
	}
	if _, ok := d.host(key, host); !ok {
		return false
	}
	if port == "" && host != "localhost" && !strings.Contains(host, ".") {
		d.add(key, shown(value)+" is the name of no registry: an image's registry has a dot or a port in it",
			`write e.g. "docker.io" or "registry.example.com:5000"`)
		return false
	}
	return true
}

// lowerCase checks that a registry's name has no capitals: an image's name has none, so that an entry with some is
// never looked at.
func (d *document) lowerCase(key, host string) bool {
	if lower := strings.ToLower(host); lower != host {
		d.add(key, shown(host)+" holds capitals, which no image's registry has: the entry would never be looked at",
			fmt.Sprintf("write %q", lower))
		return false
	}
	return true
}

// checkMirror checks one registry's addresses. Each may occur once: in containerd's file an address is the name of a
// table.
func (d *document) checkMirror(key string, m Mirror) {
	d.checkMirrorHost(key, MirrorHost{m.Server, m.CACert, m.SkipVerify, m.Capabilities, m.OverridePath})
	seen := map[string]int{}
	for i, host := range m.Hosts {
		at := fmt.Sprintf("%s.hosts[%d]", key, i)
		if d.required(join(at, "server"), host.Server, `write e.g. "https://mirror.example.com"`) {
			if first, twice := seen[strings.TrimRight(host.Server, "/")]; twice {
				d.add(join(at, "server"), fmt.Sprintf("is that of hosts[%d] too", first), "remove one of them")
			}
			seen[strings.TrimRight(host.Server, "/")] = i
		}
		d.checkMirrorHost(at, host)
	}
}

func (d *document) checkMirrorHost(key string, m MirrorHost) {
	d.address(join(key, "server"), m.Server, "write user and password under containerd.registry.auth")
	for i, file := range m.CACert {
		at := fmt.Sprintf("%s.caCert[%d]", key, i)
		if d.required(at, file, "remove it") {
			d.absolute(at, file)
		}
	}
	for i, capability := range m.Capabilities {
		at := fmt.Sprintf("%s.capabilities[%d]", key, i)
		if d.required(at, capability, "remove it") {
			d.oneOf(at, capability, "pull", "resolve", "push")
		}
	}
	if parsed, err := url.Parse(m.Server); err == nil && !m.OverridePath &&
		slices.Contains(strings.Split(parsed.Path, "/"), "v2") {
		d.add(join(key, "server"), "holds /v2 in its path, in front of which containerd puts another /v2",
			"remove /v2, or set overridePath: true where the path is the whole one of the API")
	}
	if len(m.CACert) > 0 && strings.HasPrefix(m.Server, "http://") {
		d.add(join(key, "caCert"), "has no effect: server is asked without TLS",
			"write https:// in server, or remove it")
	}
}

// address checks the URL of a registry's host.
func (d *document) address(key, value, login string) bool {
	if value == "" {
		return true
	}
	parsed, err := url.Parse(value)
	switch {
	case err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "":
		d.add(key, "is not an http or https URL", `write e.g. "https://mirror.example.com:5000"`)
	case parsed.User != nil:
		d.add(key, "holds a user or password, which would be seen in messages and on machines", login)
	case parsed.RawQuery != "" || parsed.Fragment != "" || parsed.ForceQuery:
		d.add(key, "holds a query or a fragment", "write only scheme, host and path")
	case !safeURL.MatchString(value):
		d.add(key, "holds characters that do not belong into a URL", "")
	default:
		return true
	}
	return false
}

// checkLogin checks that a login is complete and given once: user and password, or a token, or user:password in auth.
func (d *document) checkLogin(key string, a RegistryAuth) {
	pair, token, both := a.Username != "" || !a.Password.Empty(), !a.IdentityToken.Empty(), !a.Auth.Empty()
	switch {
	case both && pair:
		d.add(join(key, "auth"), "repeats username and password", "remove one of them")
	case !pair && !token && !both:
		d.add(key, "holds no login", "write username and password, identityToken, or auth, or remove it")
	case pair && a.Username == "":
		d.add(join(key, "username"), "is missing beside password", "write both")
	case pair && a.Password.Empty():
		d.add(join(key, "password"), "is missing beside username", "write both")
	}
	if !both {
		return
	}
	decoded, err := base64.StdEncoding.DecodeString(a.Auth.Reveal())
	if user, _, found := strings.Cut(string(decoded), ":"); err != nil || !found || user == "" {
		d.add(join(key, "auth"), "is not user:password in base64",
			`write what printf %s user:password | base64 prints, or username and password`)
	}
}

// Parts of an item of importImages.
const (
	ociScheme   = "oci://"
	digestStart = "sha256="
)

// looksLikeImage matches an image without a scheme, whose first part has a dot or a port: "ghcr.io/example/app:v1".
var looksLikeImage = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]+)?(/[a-z0-9._-]+)+` +
	`(:[A-Za-z0-9._-]+)?(@sha256:[0-9a-f]{64})?$`)

// looksLikeFile matches a relative path: one that begins with a dot, or names an archive that can be imported.
var looksLikeFile = regexp.MustCompile(`^(~|\.{1,2})(/|$)|^[^:]*\.(tar|tgz|tar\.gz|tar\.zst)$|^[A-Za-z0-9_.-]+/?$`)

// checkImageSource checks one item of importImages: a path on the machine, a URL, or an image in a registry.
func (d *document) checkImageSource(key, source string) {
	switch image, isImage := strings.CutPrefix(source, ociScheme); {
	case strings.TrimSpace(source) == "":
		d.add(key, "is empty", "remove it")
	case isImage:
		if _, err := name.ParseReference(image); err != nil {
			d.add(key, shown(image)+" is not the name of an image", `write e.g. "oci://registry.example.com/app:v1"`)
		}
	case strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://"):
		d.checkArchiveURL(key, source)
	case strings.HasPrefix(source, "/"):
		d.absolute(key, source)
	case looksLikeFile.MatchString(source):
		d.add(key, shown(source)+" is not an absolute path",
			`write the whole path on the machine, e.g. "/srv/images/app.tar"`)
	case looksLikeImage.MatchString(source):
		d.add(key, shown(source)+" is neither a path nor a URL",
			fmt.Sprintf("write %q for an image of a registry", ociScheme+source))
	default:
		d.add(key, "is neither an absolute path, nor an http or https URL, nor an image with oci:// in front",
			`write e.g. "/srv/images/app.tar", "https://files.example.com/app.tar#sha256=…" or `+
				`"oci://registry.example.com/app:v1"`)
	}
}

// checkArchiveURL checks where an archive is downloaded from, with its digest in the fragment.
func (d *document) checkArchiveURL(key, source string) {
	bare, fragment, vouched := strings.Cut(source, "#")
	if digest, named := strings.CutPrefix(fragment, digestStart); vouched &&
		(!named || !sha256Hex.MatchString(digest)) {
		d.add(key, "holds a fragment that is no digest", `write "#sha256=" and 64 hexadecimal digits, or nothing`)
		return
	}
	if !d.address(key, bare, "remove them; a server that asks for a login is not supported") {
		return
	}
	if parsed, err := url.Parse(bare); err != nil || parsed.Path == "" || strings.HasSuffix(parsed.Path, "/") {
		d.add(key, "names no file", `write e.g. "https://files.example.com/app.tar"`)
	}
}
