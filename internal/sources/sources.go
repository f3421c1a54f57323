// Package sources bounds where images and bundles may come from. The documents of a cluster name servers, and their
// authors may have fewer rights than the program that asks these servers: the operator lists the hosts that it may ask,
// and link-local addresses, where clouds give out a machine's own credentials, are never asked.
package sources

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"argosy.dev/argosy/pkg/errclass"
)

// ErrLinkLocal is in the chain of a connection's error when its address is refused.
var ErrLinkLocal = errors.New("images and bundles never come from a link-local address")

// Dialer returns a dialer that refuses addresses on which clouds answer for a machine. It looks at the address that a
// name has led to, so that neither a name nor a redirect leads there. A proxy dials by itself: see [List.Check].
func Dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, KeepAlive: 15 * time.Second, Control: refuse}
}

func refuse(_, address string, _ syscall.RawConn) error {
	host, err := netip.ParseAddrPort(address)
	if err == nil && forbidden(host.Addr()) {
		return errclass.Errorf(errclass.Configuration, "connecting to %q: %w", address, ErrLinkLocal)
	}
	return nil
}

// metadata are addresses outside of the link-local networks on which clouds answer for a machine: of Amazon, Google,
// Alibaba and Oracle.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254"), netip.MustParseAddr("100.100.100.200"),
	netip.MustParseAddr("192.0.0.192"),
}

// nat64 is the network by which an IPv6 client reaches every IPv4 address, RFC 6052.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func forbidden(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	if nat64.Contains(address) {
		bytes := address.As16()
		address = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	return address.IsLinkLocalUnicast() || address.IsMulticast() || address.IsUnspecified() ||
		slices.Contains(metadata, address)
}

// List names the hosts from which images and bundles may come; an empty one allows all.
type List []string

// Parse reads hosts with commas between: names, addresses, and "*.example.com" for every name below a domain.
func Parse(text string) (List, error) {
	var list List
	for entry := range strings.SplitSeq(text, ",") {
		entry = strings.ToLower(strings.TrimSpace(entry))
		if entry == "" {
			continue
		}
		name := strings.TrimPrefix(entry, "*.")
		if _, err := netip.ParseAddr(name); err != nil && (name == "" || strings.ContainsAny(name, "*/:@ ")) {
			return nil, errclass.Errorf(errclass.Configuration, "reading the allowed sources: %q is no host: write "+
				"e.g. registry.example.com, *.example.com or 192.0.2.1, without scheme, port and path", entry)
		}
		list = append(list, entry)
	}
	return list, nil
}

// Check returns an error where the host of what is not allowed: what is the setting that names it. host may have a
// port.
func (l List) Check(what, host string) error {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if address, err := netip.ParseAddr(host); err == nil && forbidden(address) {
		return errclass.Errorf(errclass.Configuration, "%s: host %q: %w; name another server", what, host,
			ErrLinkLocal)
	}
	if len(l) == 0 || slices.ContainsFunc(l, func(entry string) bool { return matches(entry, host) }) {
		return nil
	}
	return errclass.Errorf(errclass.Configuration, "%s: host %q is not among the allowed sources (%s); name another "+
		"server, or have the operator of the host cluster add it to ARGOSY_ALLOWED_SOURCES of the plugin", what, host,
		strings.Join(l, ", "))
}

func matches(entry, host string) bool {
	if domain, below := strings.CutPrefix(entry, "*"); below {
		return strings.HasSuffix(host, domain) && len(host) > len(domain)
	}
	return entry == host
}
