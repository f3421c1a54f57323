package images

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"argosy.dev/argosy/internal/imageref"
	"argosy.dev/argosy/pkg/errclass"
)

// source is one item of importImages, or of the parameter images of a workflow.
type source struct {
	// text is the item as it was written.
	text string
	// path on the machine.
	path string
	// address to download from, and the sha256 in hex that its fragment named, if it did.
	address, sha256 string
	// image in a registry.
	image name.Reference
}

const ociScheme = "oci://"

var sha256Form = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Split gives the items of a list that is separated by commas, spaces or new lines, each once.
func Split(text string) []string {
	var items []string
	for _, item := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		if !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	return items
}

// host returns the host, with its port if it has one, of the server or the registry that a source names; "" for a path.
func (s source) host() string {
	if s.image != nil {
		if registry := s.image.Context().RegistryStr(); registry != name.DefaultRegistry {
			return registry
		}
		return "docker.io" // as people write it
	}
	parsed, err := url.Parse(s.address)
	if err != nil {
		return ""
	}
	return parsed.Host
}

// parse reads an item:
//
//	/srv/images, /srv/images/app.tar.gz            a folder or a file on the machine
//	https://files.example.com/app.tar#sha256=…     an archive that the plugin downloads
//	oci://registry.example.com/app:v1              an image that the plugin pulls
func parse(text string) (source, error) {
	s := source{text: text}
	var err error
	switch image, isImage := strings.CutPrefix(text, ociScheme); {
	case isImage:
		s.image, err = name.ParseReference(image)
	case strings.HasPrefix(text, "http://"), strings.HasPrefix(text, "https://"):
		s.address, s.sha256, err = parseAddress(text)
	case !strings.HasPrefix(text, "/"):
		err = fmt.Errorf(`it is neither an absolute path, nor an http or https URL, nor an image with %s in front`,
			ociScheme)
	case path.Clean(text) != text:
		err = fmt.Errorf("write the path as %s", path.Clean(text))
	default:
		s.path = text
	}
	if err != nil {
		return s, errclass.Errorf(errclass.Configuration, "reading the source of images %q: %w", text, err)
	}
	return s, nil
}

func parseAddress(text string) (address, sha256 string, err error) {
	parsed, err := url.Parse(text)
	switch {
	case err != nil:
		return "", "", err
	case parsed.Host == "" || strings.HasSuffix(parsed.Path, "/") || parsed.Path == "":
		return "", "", errors.New("it names no file")
	case parsed.User != nil:
		return "", "", errors.New("a server that asks for a login is not supported; take the login out of the URL")
	}
	if parsed.Fragment != "" {
		digest, named := strings.CutPrefix(parsed.Fragment, "sha256=")
		if digest = strings.ToLower(digest); !named || !sha256Form.MatchString(digest) {
			return "", "", errors.New("write sha256= and 64 hexadecimal digits after the #")
		}
		sha256, parsed.Fragment, parsed.RawFragment = digest, "", ""
	}
	return parsed.String(), sha256, nil
}

// shown returns a source as messages name it. The query of a URL may be a signature, and is left out.
func (s source) shown() string {
	if s.address == "" {
		return s.text
	}
	bare, _, _ := strings.Cut(s.address, "?")
	return bare
}

// imageName returns an image's name as containerd has it and pods ask for it: it begins with docker.io, although
// another host serves it.
func imageName(image name.Reference) string {
	full := image.Name()
	if rest, hub := strings.CutPrefix(full, name.DefaultRegistry+"/"); hub {
		return imageref.DockerHub + "/" + rest
	}
	return full
}
