package config

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// coreDNSPort is the port to which the Service of DNS leads: its pods are not root and listen on no port below 1024.
const coreDNSPort = "1053"

// checkCoreDNSTexts checks the Corefile and the manifests that replace Argosy's.
func (d *document) checkCoreDNSTexts(c CoreDNS) {
	if !c.Enabled {
		return
	}
	if c.OverwriteConfig != "" && c.OverwriteManifests == "" {
		d.checkCorefile("controlPlane.coredns.overwriteConfig", c.OverwriteConfig)
	}
	if c.OverwriteManifests != "" {
		d.checkManifests("controlPlane.coredns.overwriteManifests", c.OverwriteManifests)
	}
}

// checkCorefile checks that a server of the Corefile listens where the Service leads, and none on DNS' own port. Its
// plugins are CoreDNS' business; imported servers and variables of the environment are not known here.
func (d *document) checkCorefile(key, text string) {
	const instead = `write e.g. ".:` + coreDNSPort + ` { … }"`
	servers, balanced := corefileServers(text)
	if !balanced {
		d.add(key, "is no Corefile: its braces do not match", instead)
		return
	}
	listens := false
	for _, server := range servers {
		if strings.Contains(server, "{$") || server == "import" {
			return
		}
		switch port := serverPort(server); port {
		case coreDNSPort:
			listens = true
		case "53":
			d.add(key, fmt.Sprintf("has the server %s on port 53, and the Service of DNS leads to %s", shown(server),
				coreDNSPort), instead)
			return
		}
	}
	if !listens {
		d.add(key, "has no server on port "+coreDNSPort+", to which the Service of DNS leads", instead)
	}
}

// corefileServers returns the names of the servers at the top of a Corefile, e.g. ".:1053" and "example.com"; those of
// snippets, "(name)", are left out. It reports whether the braces match.
func corefileServers(text string) (servers []string, balanced bool) {
	depth := 0
	var names []string
	for line := range strings.Lines(text) {
		words := corefileWords(line)
		for i, word := range words {
			switch {
			case word == "{":
				if depth == 0 {
					servers, names = append(servers, names...), nil
				}
				depth++
			case word == "}":
				if depth--; depth < 0 {
					return nil, false
				}
			case depth == 0 && word == "import":
				servers = append(servers, word)
			case depth == 0 && strings.HasSuffix(word, "{") && i == len(words)-1:
				servers = append(append(servers, names...), strings.TrimSuffix(word, "{"))
				names, depth = nil, 1
			case depth == 0 && !strings.HasPrefix(word, "("):
				names = append(names, strings.FieldsFunc(word, func(r rune) bool { return r == ',' })...)
			}
		}
	}
	return servers, depth == 0
}

// corefileWords returns the words of a line without its comment, which begins at a "#" that begins a word.
func corefileWords(line string) []string {
	words := strings.Fields(line)
	if at := slices.IndexFunc(words, func(word string) bool { return strings.HasPrefix(word, "#") }); at >= 0 {
		words = words[:at]
	}
	return words
}

// serverPort returns the port of a server: of "dns://example.com:1053" it is "1053". Without one it is 53, and that of
// a name that begins with another scheme, such as tls://, is "".
func serverPort(server string) string {
	if scheme, rest, found := strings.Cut(server, "://"); found {
		if server = rest; scheme != "dns" {
			return ""
		}
	}
	at := strings.LastIndex(server, ":")
	if at < 0 || strings.ContainsAny(server[at:], "]/") {
		return "53"
	}
	return server[at+1:]
}

// checkManifests checks that a text holds objects of Kubernetes.
func (d *document) checkManifests(key, text string) {
	const instead = "write manifests with apiVersion, kind and metadata.name, with lines --- between"
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for i := 1; ; i++ {
		var object struct {
			APIVersion string `yaml:"apiVersion"`
			Kind       string `yaml:"kind"`
			Metadata   struct {
				Name string `yaml:"name"`
			} `yaml:"metadata"`
		}
		var read yaml.Node
		err := decoder.Decode(&read)
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			d.add(key, fmt.Sprintf("holds no manifest: document %d is no YAML", i), instead)
			return
		case len(read.Content) == 0 || read.Content[0].ShortTag() == nullTag:
			continue
		}
		if err := read.Decode(&object); err != nil || object.APIVersion == "" || object.Kind == "" ||
			object.Metadata.Name == "" && !strings.HasSuffix(object.Kind, "List") {
			d.add(key, fmt.Sprintf("holds no manifest: document %d is no object of Kubernetes", i), instead)
			return
		}
	}
}
