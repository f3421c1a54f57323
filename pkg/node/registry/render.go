package registry

import (
	"fmt"
	"strings"

	"argosy.dev/argosy/internal/imageref"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/spec"
)

// render writes a registry's hosts.toml, as containerd 1.7 and 2.x read it. Hosts are asked in the order of the file,
// and the registry itself last.
func render(registry string, mirror spec.Mirror) []byte {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: how containerd reaches the registry %s.\n", inspect.Mark, registry)
	own := mirror.MirrorHost
	own.Server = server(registry, own)
	writeHost(&text, "server", own)
	if len(mirror.Hosts) == 0 {
		// Without a table of hosts, be it empty, containerd 1.7 passes over the whole file.
		text.WriteString("\n[host]\n")
	}
	for _, one := range mirror.Hosts {
		fmt.Fprintf(&text, "\n[host.%s]\n", quote(address(one.Server, one.SkipVerify)))
		one.Server = "" // it is the table's name
		writeHost(&text, "", one)
	}
	return []byte(text.String())
}

// writeHost writes the keys of one host. The registry's own address, under addressKey, may be left to containerd, which
// then gives it all capabilities.
func writeHost(text *strings.Builder, addressKey string, one spec.MirrorHost) {
	if one.Server != "" {
		fmt.Fprintf(text, "%s = %s\n", addressKey, quote(one.Server))
	}
	if one.Server != "" || addressKey == "" {
		capabilities := one.Capabilities
		if len(capabilities) == 0 {
			capabilities = []string{"pull", "resolve"}
		}
		fmt.Fprintf(text, "capabilities = %s\n", quoteAll(capabilities))
	}
	if len(one.CACert) > 0 {
		fmt.Fprintf(text, "ca = %s\n", quoteAll(one.CACert))
	}
	if one.SkipVerify {
		text.WriteString("skip_verify = true\n")
	}
	if one.OverridePath {
		text.WriteString("override_path = true\n")
	}
}

// server is the address of the registry itself. Where nothing but containerd's own rule would be written down it is
// left to that, which knows localhost and Docker Hub.
func server(registry string, own spec.MirrorHost) string {
	switch {
	case own.Server != "":
		return address(own.Server, own.SkipVerify)
	case registry == anyRegistry:
		return ""
	case !own.SkipVerify && len(own.Capabilities) == 0 && !own.OverridePath:
		return ""
	case registry == imageref.DockerHub:
		return address(DockerHubServer, false)
	}
	return address(registry, own.SkipVerify)
}

// address gives a server that is written without one its scheme. Where any certificate will do, plain HTTP will too: of
// a host with "http" and skip_verify, containerd asks with TLS first, and without it when it answers in clear.
func address(server string, skipVerify bool) string {
	switch {
	case strings.HasPrefix(server, "http://"), strings.HasPrefix(server, "https://"):
		return server
	case skipVerify:
		return "http://" + server
	}
	return "https://" + server
}

// quote writes a TOML basic string.
func quote(value string) string {
	var quoted strings.Builder
	quoted.WriteByte('"')
	for _, r := range value {
		switch {
		case r == '"' || r == '\\':
			quoted.WriteByte('\\')
			quoted.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&quoted, `\u%04X`, r)
		default:
			quoted.WriteRune(r)
		}
	}
	quoted.WriteByte('"')
	return quoted.String()
}

func quoteAll(values []string) string {
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = quote(value)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
