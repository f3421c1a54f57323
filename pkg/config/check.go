package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/ssh"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The checks of single values. Each adds a problem at the value's key and returns false if the value is wrong. Empty
// values pass; required checks those that must not be empty.

// required checks that a value is there.
func (d *document) required(key, value, suggestion string) bool {
	if value == "" {
		d.add(key, "is missing", suggestion)
		return false
	}
	return true
}

// oneOf checks an enumeration.
func (d *document) oneOf(key, value string, allowed ...string) bool {
	if value == "" || slices.Contains(allowed, value) {
		return true
	}
	suggestion := "use " + strings.Join(allowed, ", ")
	if last := strings.LastIndex(suggestion, ", "); last >= 0 {
		suggestion = suggestion[:last] + " or " + suggestion[last+2:]
	}
	if near := nearest(value, allowed); near != "" {
		suggestion = fmt.Sprintf("did you mean %q?", near)
	}
	d.add(key, shown(value)+" is not known", suggestion)
	return false
}

// match checks a value against a pattern of safe characters.
func (d *document) match(key, value string, pattern *regexp.Regexp, kind, suggestion string) bool {
	if value == "" || pattern.MatchString(value) {
		return true
	}
	d.add(key, shown(value)+" is not "+kind, suggestion)
	return false
}

// label checks a name that is a DNS-1123 label.
func (d *document) label(key, value string) bool {
	if value == "" || len(validation.IsDNS1123Label(value)) == 0 {
		return true
	}
	d.add(key, shown(value)+" is not a DNS-1123 label", "use up to 63 lower case letters, digits and hyphens, with a "+
		"letter or digit at both ends")
	return false
}

// object checks the name of a Kubernetes object.
func (d *document) object(key, value string) bool {
	if value == "" || len(validation.IsDNS1123Subdomain(value)) == 0 {
		return true
	}
	d.add(key, shown(value)+" is not a name that Kubernetes allows",
		"use lower case letters, digits, hyphens and dots, with a letter or digit at both ends")
	return false
}

// labels checks a map of Kubernetes labels.
func (d *document) labels(key string, labels map[string]string) {
	for name, value := range labels {
		d.qualified(join(key, name), name)
		d.labelValue(join(key, name), value)
	}
}

// qualified checks the key of a label or taint.
func (d *document) qualified(key, name string) {
	if len(validation.IsQualifiedName(name)) > 0 {
		d.add(key, shown(name)+" is not a name for a label or taint",
			`use letters, digits, "-", "_" and ".", up to 63, after an optional DNS prefix and "/"`)
	}
}

// labelValue checks the value of a label or taint.
func (d *document) labelValue(key, value string) {
	if len(validation.IsValidLabelValue(value)) > 0 {
		d.add(key, shown(value)+" is not a value for a label or taint",
			`use letters, digits, "-", "_" and ".", up to 63`)
	}
}

// port checks a port that was written; 0 means that none was.
func (d *document) port(key string, port int) {
	if port == 0 && d.nodes[key] == nil {
		return
	}
	if len(validation.IsValidPortNum(port)) > 0 {
		d.add(key, d.asWritten(key, strconv.Itoa(port))+" is not a port", "use 1 to 65535")
	}
}

// asWritten returns a number as the document has it, or as it was read where the document does not have it.
func (d *document) asWritten(key, read string) string {
	if n := d.nodes[key]; n != nil && n.kind == yaml.ScalarNode && n.tag == "!!int" {
		return n.text
	}
	return read
}

// positive checks a duration that was written: it is a second or more.
func (d *document) positive(key string, duration metav1.Duration) {
	if duration.Duration < 0 || (duration.Duration == 0 && d.nodes[key] != nil && d.nodes[key].tag != nullTag) {
		d.add(key, "must be more than 0", `write e.g. "30s" or "5m"`)
		return
	}
	d.notTooShort(key, duration)
}

// notTooShort checks that a time, which may be 0, is not below a second: nothing over a network is done in less, and
// such a time is a mistake in the unit.
func (d *document) notTooShort(key string, duration metav1.Duration) {
	if duration.Duration > 0 && duration.Duration < time.Second {
		d.add(key, duration.Duration.String()+" is less than a second", `write e.g. "30s" or "5m"`)
	}
}

// atLeastOne checks that a number is 1 or more.
func (d *document) atLeastOne(key string, number int) {
	if number < 1 {
		d.add(key, d.asWritten(key, strconv.Itoa(number))+" is too few", "use 1 or more")
	}
}

// leastAmount is the smallest amount of bytes that makes sense for memory or a disk; a smaller one is a mistake in the
// unit, such as "500m", which is half a byte.
const leastAmount = 1 << 20

// quantity checks an amount such as 2Gi.
func (d *document) quantity(key, value string) {
	if value == "" {
		return
	}
	// A quantity is short; the time of its parser grows with the length of the text.
	parsed, err := resource.ParseQuantity(value[:min(len(value), 64)])
	if err != nil || len(value) > 64 || parsed.Sign() <= 0 {
		d.add(key, shown(value)+" is not an amount of bytes", `write e.g. "2Gi" or "900Mi"`)
		return
	}
	if parsed.CmpInt64(leastAmount) < 0 {
		suggestion := `write e.g. "2Gi" or "900Mi"`
		if number := strings.TrimRight(value, "mkun"); wholeNumber.MatchString(number) {
			suggestion = fmt.Sprintf("did you mean %q?", number+"Mi")
		}
		d.add(key, shown(value)+" is less than 1Mi", suggestion)
	}
}

// Characters that mean nothing to a shell, to systemd or to TOML.
var (
	safePath   = regexp.MustCompile(`^(/[A-Za-z0-9._+@-]+)+$`)
	userName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9._-]{0,30}\$?$`)
	fileName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
	sha256Hex  = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
	errorName  = regexp.MustCompile(`^[A-Za-z0-9._/-]+$`)
	argName    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
	argValue   = regexp.MustCompile(`^[A-Za-z0-9._/:;,=+@%~*^&|<>?!#()\[\]{}-]*$`)
	percentage = regexp.MustCompile(`^(100|[0-9]{1,2})%$`)

	// An image in its parts: a registry may carry a path, as mirrors do.
	registryName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?` +
		`(/[a-z0-9][a-z0-9._-]*)*/?$`)
	repositoryName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$`)
	tagName        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	schemeName     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*$`)
	passwordBefore = regexp.MustCompile(`^[^/@:]*:[^@]+@`)
	wholeNumber    = regexp.MustCompile(`^[1-9][0-9]{0,8}$`)
	numberTail     = regexp.MustCompile(`(^|\.)(0[xX][0-9a-fA-F]*|[0-9]+)$`)
)

// absolute checks a path on a machine.
func (d *document) absolute(key, value string) bool {
	if value == "" || (safePath.MatchString(value) && path.Clean(value) == value) {
		return true
	}
	suggestion := `use letters, digits and "._+@-" between slashes`
	if cleaned := path.Clean("/" + value); safePath.MatchString(cleaned) && !strings.Contains(value, "..") {
		suggestion = fmt.Sprintf("write %q", cleaned)
	}
	d.add(key, shown(value)+" is not an absolute path without detours", suggestion)
	return false
}

// socket checks the address of a container runtime.
func (d *document) socket(key, value string) {
	rest, isUnix := strings.CutPrefix(value, "unix://")
	switch {
	case value == "" || (isUnix && safePath.MatchString(rest) && path.Clean(rest) == rest):
	case safePath.MatchString(value):
		d.add(key, shown(value)+" has no scheme", fmt.Sprintf("write %q", "unix://"+value))
	default:
		d.add(key, shown(value)+" is not the address of a socket",
			`write e.g. "unix:///run/containerd/containerd.sock"`)
	}
}

// publicKeys checks lines as they stand in a .pub file.
func (d *document) publicKeys(key string, lines []string) {
	for i, line := range lines {
		at := key + "[" + strconv.Itoa(i) + "]"
		_, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
		switch {
		case strings.Contains(line, "PRIVATE KEY"):
			d.add(at, "is a private key",
				"write the public key, and replace the private one: all who can read the document can read it")
		case err != nil:
			d.add(at, "is not a public key", `write the line of a .pub file, e.g. "ssh-ed25519 AAAA…"`)
		case len(options) > 0 || len(strings.TrimSpace(string(rest))) > 0:
			d.add(at, "holds more than one public key", "write only type and key, without host names or options, one "+
				"key an item")
		}
	}
}

// host checks a host name or an IP address. canonical is equal for all ways to write the same host.
func (d *document) host(key, value string) (canonical string, ok bool) {
	if address, err := netip.ParseAddr(value); err == nil {
		address = address.Unmap()
		if address.IsUnspecified() || address.IsMulticast() || address == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			d.add(key, shown(value)+" is not the address of a single host", "")
			return "", false
		}
		return address.String(), true
	}
	name := strings.ToLower(strings.TrimSuffix(value, "."))
	if len(validation.IsDNS1123Subdomain(name)) == 0 && !numberTail.MatchString(name) {
		return name, true
	}
	if !d.noPassword(key, value) {
		return "", false
	}
	d.add(key, shown(value)+" is neither a host name nor an IP address", hostAdvice(key, value))
	return "", false
}

// noPassword checks that an address, which messages show, has no password before its host.
func (d *document) noPassword(key, value string) bool {
	rest := value
	if scheme, after, found := strings.Cut(value, "://"); found && schemeName.MatchString(scheme) {
		rest = after
	}
	if !passwordBefore.MatchString(rest) {
		return true
	}
	d.add(key, "holds a password, which would be seen in messages", "write the host alone, and keep the password in a "+
		"Secret")
	return false
}

// hostAdvice returns a suggestion for addresses that hold more than a host: a scheme, a path, brackets, a user or a
// port. Only a machine's address has keys beside it for the user and the port.
func hostAdvice(key, value string) string {
	rest := value
	if scheme, after, found := strings.Cut(value, "://"); found && schemeName.MatchString(scheme) {
		rest = after
	}
	rest, _, _ = strings.Cut(rest, "/")
	user, host, hasUser := strings.Cut(rest, "@")
	if !hasUser {
		user, host = "", rest
	}
	port := ""
	if before, after, err := net.SplitHostPort(host); err == nil {
		host, port = before, after
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if bare := strings.Trim(value, "[]"); bare != value && isHost(bare) {
		return fmt.Sprintf("write %q, without brackets", bare)
	}
	if host == value || !isHost(host) || hasUser && !userName.MatchString(user) {
		return ""
	}
	advice := fmt.Sprintf("write the host alone (%s)", shown(host))
	if lastKey(key) != "address" {
		return advice
	}
	if user != "" {
		advice += fmt.Sprintf(" and put %s into %s", shown(user), sibling(key, "user"))
	}
	if port != "" {
		advice += fmt.Sprintf(" and put %s into %s", shown(port), sibling(key, "port"))
	}
	return advice
}

// sibling returns the key that holds the user or the port of an address: a machine has a section for them, a bastion
// has them beside its address.
func sibling(address, name string) string {
	if strings.Contains(address, "bastions[") {
		return name
	}
	return "ssh." + name
}

// isHost reports whether a text is a host name or an IP address.
func isHost(text string) bool {
	check := &document{}
	_, ok := check.host("", text)
	return ok
}

// hostPort checks an address with a port.
func (d *document) hostPort(key, value string) {
	if value == "" {
		return
	}
	host, port, err := net.SplitHostPort(value)
	if err != nil || strings.Contains(value, "/") {
		if !d.noPassword(key, value) {
			return
		}
		d.add(key, shown(value)+" is not host:port", hostPortAdvice(value))
		return
	}
	number, err := strconv.Atoi(port)
	if err != nil || len(validation.IsValidPortNum(number)) > 0 {
		d.add(key, shown(port)+" is not a port", "use 1 to 65535")
	}
	d.host(key, host)
}

// webAddress checks the URL of a repository. Its messages never hold the URL, in which users have put passwords.
func (d *document) webAddress(key, value string) {
	if value == "" {
		return
	}
	parsed, err := url.Parse(value)
	switch {
	case err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "":
		d.add(key, "is not an http or https URL", `write e.g. "https://bundles.example.com/kubernetes"`)
	case parsed.User != nil:
		d.add(key, "holds a user or password, which would be seen in messages and on machines",
			"remove them; a repository that asks for a login is not supported")
	case parsed.RawQuery != "" || parsed.Fragment != "" || parsed.ForceQuery:
		d.add(key, "holds a query or a fragment", "write only scheme, host and path")
	case !safeURL.MatchString(value):
		d.add(key, "holds characters that do not belong into a URL", "")
	}
}

// hostPortAdvice returns a suggestion for an address with a port: a URL without its scheme and path, or a host with the
// API server's usual port.
func hostPortAdvice(value string) string {
	rest := value
	if scheme, after, found := strings.Cut(value, "://"); found && schemeName.MatchString(scheme) {
		rest = after
	}
	rest, _, _ = strings.Cut(rest, "/")
	if host, _, err := net.SplitHostPort(rest); err == nil && rest != value && isHost(host) {
		return fmt.Sprintf("write %q", rest)
	}
	if bare := strings.Trim(rest, "[]"); isHost(bare) {
		return fmt.Sprintf("write it with its port, e.g. %q", net.JoinHostPort(bare, "6443"))
	}
	return `write e.g. "api.example.com:6443" or "[fd00::1]:6443"`
}

var safeURL = regexp.MustCompile(`^[A-Za-z0-9._~:/\[\]@!+,;=%-]+$`)
