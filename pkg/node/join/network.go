package join

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

const (
	// slowLookup is the time from which on a look-up counts as slow: every program on the node waits that long.
	slowLookup = 2 * time.Second
	// lookupTimeout bounds one look-up; the system's own timeout is 5 s for each resolver.
	lookupTimeout = 5 * time.Second
)

// resolverCheck is the name by which ignorePreflightErrors ignores name servers that are slow or silent; kubeadm has
// no such check.
const resolverCheck = "Resolver"

// checkHostname checks that the machine has a name.
func checkHostname(_ context.Context, h *host.Host, _ *spec.Join, f *findings) {
	if name := hostname(h); name == "" || name == "localhost" {
		f.problem("The machine has no host name; set one with hostnamectl.")
	}
}

func hostname(h *host.Host) string { return h.ReadLine("/proc/sys/kernel/hostname") }

// checkHostnameLookup looks the machine's name up, as kubelet and kubeadm do.
func checkHostnameLookup(ctx context.Context, h *host.Host, _ *spec.Join, f *findings) {
	explainLookup(ctx, h, net.DefaultResolver.LookupHost, f)
}

// explainLookup adds the finding of a look-up of the machine's name:
//
//	name is in /etc/hosts, or the system answers for it itself   nothing, and no server is asked
//	name servers do not know it                                  a remark, as of kubeadm
//	they are slow or silent                                      a problem: every look-up on the node waits
func explainLookup(ctx context.Context, h *host.Host, lookup func(context.Context, string) ([]string, error),
	f *findings,
) {
	name := hostname(h)
	if name == "" || name == "localhost" || inHosts(h, name) || answersItself(h) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	began := time.Now()
	_, err := lookup(ctx, strings.ToLower(name))
	took := time.Since(began)
	var failed *net.DNSError
	switch {
	case ctx.Err() != nil || errors.As(err, &failed) && failed.IsTimeout:
		f.transient("Looking up the host name %q got no answer within %.1f s; repair /etc/resolv.conf, or add the "+
			"name to /etc/hosts with the machine's address.", name, took.Seconds())
	case took > slowLookup:
		f.problem("Looking up the host name %q takes %.1f s; add it to /etc/hosts, or repair /etc/resolv.conf.", name,
			took.Seconds())
	case err != nil:
		f.remark("The host name %q does not resolve; if something on the machine needs that, add it to /etc/hosts "+
			"with the machine's address.", name)
	}
}

// answersItself reports whether the C library or systemd-resolved answers for the machine's own name: Go's resolver
// knows neither module.
func answersItself(h *host.Host) bool {
	for line := range strings.Lines(h.ReadLine("/etc/nsswitch.conf")) {
		line, _, _ = strings.Cut(line, "#")
		modules, is := strings.CutPrefix(strings.TrimSpace(line), "hosts:")
		if is && slices.ContainsFunc(strings.Fields(modules), func(module string) bool {
			return module == "myhostname" || module == "resolve"
		}) {
			return true
		}
	}
	return false
}

func inHosts(h *host.Host, name string) bool {
	for line := range strings.Lines(h.ReadLine("/etc/hosts")) {
		line, _, _ = strings.Cut(line, "#")
		if fields := strings.Fields(line); len(fields) > 1 {
			for _, alias := range fields[1:] {
				if strings.EqualFold(alias, name) {
					return true
				}
			}
		}
	}
	return false
}

// checkResolvers sends each resolver of the machine a query; any answer counts. If none answers, every look-up on the
// node, and in pods that inherit its resolv.conf, waits until it times out.
func checkResolvers(ctx context.Context, h *host.Host, _ *spec.Join, f *findings) {
	servers := nameservers(h)
	if len(servers) == 0 {
		return
	}
	began := time.Now()
	answered := make([]bool, len(servers))
	var asking sync.WaitGroup
	for i, server := range servers {
		asking.Go(func() { answered[i] = resolverAnswers(ctx, server) })
	}
	asking.Wait()
	var silent []string
	for i, server := range servers {
		if !answered[i] {
			silent = append(silent, server)
		}
	}
	switch {
	case len(silent) == len(servers):
		f.transient("No name server of /etc/resolv.conf answers (%s, waited %.1f s); correct the file, or empty it if "+
			"the machine needs none.",
			strings.Join(silent, ", "), time.Since(began).Seconds())
	case len(silent) > 0:
		f.remark("Name server %s of /etc/resolv.conf does not answer.", strings.Join(silent, ", "))
	}
}

// nameservers returns the machine's name servers; the system uses the first three.
func nameservers(h *host.Host) []string {
	var servers []string
	for line := range strings.Lines(h.ReadLine("/etc/resolv.conf")) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" && len(servers) < 3 {
			servers = append(servers, fields[1])
		}
	}
	return servers
}

// resolverAnswers sends a query for the root's name servers, at most twice, and reports whether an answer came.
func resolverAnswers(ctx context.Context, server string) bool {
	address := server
	if _, _, err := net.SplitHostPort(server); err != nil {
		address = net.JoinHostPort(server, "53")
	}
	connection, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return false
	}
	defer connection.Close()
	// id, recursion desired, one question: ".", type NS, class IN.
	question := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1}
	_, _ = rand.Read(question[:2])
	answer := make([]byte, 4096)
	for range 2 {
		if _, err := connection.Write(question); err != nil {
			return false
		}
		_ = connection.SetReadDeadline(time.Now().Add(slowLookup / 2))
		n, err := connection.Read(answer)
		if err == nil && n >= 12 && binary.BigEndian.Uint16(answer) == binary.BigEndian.Uint16(question) {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
	}
	return false
}

// checkEndpoint asks the API server for its version, verifying it by the cluster's CA, and compares the clocks.
func checkEndpoint(ctx context.Context, _ *host.Host, j *spec.Join, f *findings) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(j.CACert)) {
		f.problem("The cluster's CA is not a PEM certificate; check the kubeconfig that the plugin has.")
		return
	}
	date, middle, err := requestVersion(ctx, j.Server, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})
	if err != nil {
		explainEndpoint(ctx, j, err, f)
		return
	}
	compareClocks(j, date, middle, f)
}

// requestVersion returns the server's time, and the machine's in the middle of the request. Any HTTP status counts.
func requestVersion(ctx context.Context, server string, config *tls.Config) (date, middle time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	transport := &http.Transport{
		TLSClientConfig: config, DisableKeepAlives: true,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(server, "/")+"/version", nil)
	if err != nil {
		return date, middle, fmt.Errorf("asking %q: %w", server, err)
	}
	began := time.Now()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return date, middle, fmt.Errorf("asking %q: %w", server, err)
	}
	defer response.Body.Close()
	date, _ = http.ParseTime(response.Header.Get("Date"))
	return date, began.Add(time.Since(began) / 2), nil
}

// compareClocks adds a problem if the clocks differ too much. It allows for the header's resolution of one second.
func compareClocks(j *spec.Join, date, middle time.Time, f *findings) {
	allowed := time.Duration(j.Requirements.MaxClockSkew)
	if date.IsZero() || allowed <= 0 {
		return
	}
	skew := middle.Sub(date)
	direction := "ahead of"
	if skew < 0 {
		skew, direction = -skew, "behind"
	}
	if skew > allowed+time.Second {
		f.problem("The machine's clock is %s %s the API server's, more than the allowed %s; set up time "+
			"synchronisation (chrony or systemd-timesyncd).",
			skew.Round(time.Second), direction, allowed)
	}
}

// explainEndpoint adds the problem behind an error of requestVersion.
func explainEndpoint(ctx context.Context, j *spec.Join, err error, f *findings) {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		// Often the machine's clock is wrong. Only the time is used from this unverified answer.
		unverified := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see above
		date, middle, again := requestVersion(ctx, j.Server, unverified)
		before := len(f.problems)
		if again == nil {
			compareClocks(j, date, middle, f)
		}
		if len(f.problems) == before {
			f.problem("The certificate of %s is not valid at this time: %v.", j.Server, invalid)
		}
	case errors.As(err, &unknown):
		f.problem("%s does not prove itself by the cluster's CA: another server answers at that address, or the "+
			"kubeconfig is of another cluster.", j.Server)
	case errors.As(err, &hostname):
		f.problem("The certificate of %s is not for that name: %v. Set cluster.endpoint in the fleet to a name or "+
			"address that it is for.", j.Server, hostname)
	default:
		f.transient("The API server %s cannot be reached from the machine: %v. Check the address, routes and "+
			"firewalls.", j.Server, unwrapped(err))
	}
}

// unwrapped returns the network error without the URL around it.
func unwrapped(err error) error {
	var operation *net.OpError
	if errors.As(err, &operation) {
		return operation
	}
	return err
}
