package endpoints

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"

	"gotest.tools/v3/assert"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/apply/applytest"
)

// world is DNS and the servers that answer, for a Follower.
type world struct {
	*Follower
	names  map[string][]string
	silent []string
}

func newWorld(t *testing.T, server *applytest.Server, hosts ...string) *world {
	t.Helper()
	objects, err := apply.New(server.Config())
	assert.NilError(t, err)
	w := &world{
		Follower: &Follower{
			Hosts: hosts, Port: 443, IPv4: true, Objects: objects, Log: slog.New(slog.DiscardHandler),
		},
		names: map[string][]string{},
	}
	w.resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
		if address, err := netip.ParseAddr(host); err == nil {
			return []netip.Addr{address}, nil
		}
		var found []netip.Addr
		for _, text := range w.names[host] {
			found = append(found, netip.MustParseAddr(text))
		}
		if found == nil {
			return nil, errors.New("no such host")
		}
		return found, nil
	}
	w.answers = func(_ context.Context, address netip.Addr) bool {
		return !slices.Contains(w.silent, address.String())
	}
	return w
}

// addresses returns those that Service default/kubernetes leads to after rounds.
func (w *world) addresses(t *testing.T, server *applytest.Server, rounds int) []string {
	t.Helper()
	for range rounds {
		assert.NilError(t, w.round(t.Context()))
	}
	slice := server.Get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
	if slice == nil {
		return nil
	}
	entries, _, err := unstructured.NestedSlice(slice.Object, "endpoints")
	assert.NilError(t, err)
	addresses, _, err := unstructured.NestedStringSlice(entries[0].(map[string]any), "addresses")
	assert.NilError(t, err)
	return addresses
}

func TestTheServiceFollowsTheNameOfALoadBalancer(t *testing.T) {
	server := applytest.New(t)
	w := newWorld(t, server, "lb.example.com")
	assert.Assert(t, w.addresses(t, server, 2) == nil, "a name that does not resolve yet")
	w.names["lb.example.com"] = []string{"192.0.2.20", "2001:db8::20"}
	assert.DeepEqual(t, w.addresses(t, server, 1), []string{"192.0.2.20"})

	w.names["lb.example.com"], w.silent = []string{"192.0.2.30", "192.0.2.31"}, []string{"192.0.2.20"}
	assert.DeepEqual(t, w.addresses(t, server, 3), []string{"192.0.2.30", "192.0.2.31"})

	w.names = nil // DNS is away
	assert.DeepEqual(t, w.addresses(t, server, 5), []string{"192.0.2.30", "192.0.2.31"})
	server.Requests()
	w.addresses(t, server, 5)
	assert.Equal(t, len(server.Requests()), 0, "nothing changed")
}

func TestTheServiceLeavesAnAddressOutThatDoesNotAnswer(t *testing.T) {
	server := applytest.New(t)
	w := newWorld(t, server, "192.0.2.21", "192.0.2.22")
	assert.DeepEqual(t, w.addresses(t, server, 1), []string{"192.0.2.21", "192.0.2.22"})
	w.silent = []string{"192.0.2.22"}
	assert.DeepEqual(t, w.addresses(t, server, patience-1), []string{"192.0.2.21", "192.0.2.22"}) // once is no proof
	assert.DeepEqual(t, w.addresses(t, server, 1), []string{"192.0.2.21"})
	w.silent = nil
	assert.DeepEqual(t, w.addresses(t, server, 1), []string{"192.0.2.21", "192.0.2.22"})
	w.silent = []string{"192.0.2.21", "192.0.2.22"}
	assert.DeepEqual(t, w.addresses(t, server, patience), []string{"192.0.2.21", "192.0.2.22"}) // none is better
}

func TestOnlyAnAPIServerOfTheClusterAnswers(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	address := netip.MustParseAddrPort(server.Listener.Addr().String())
	authorities := x509.NewCertPool()
	authorities.AddCert(server.Certificate())
	assert.Assert(t, !answers(t.Context(), authorities, address), "its certificate has another name")
	assert.Assert(t, !answers(t.Context(), authorities, netip.MustParseAddrPort("127.0.0.1:1")))
}
