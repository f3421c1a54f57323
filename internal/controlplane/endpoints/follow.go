package endpoints

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/errclass"
)

// Follower keeps Service default/kubernetes leading to the addresses of a control plane.
type Follower struct {
	// Hosts are the names and addresses that lead to the control plane.
	Hosts []string
	// Port of the API server at all of them.
	Port int
	// IPv4 is set when the cluster's Services have addresses of IPv4.
	IPv4 bool
	// CACert is the authority of the API server's certificate, PEM.
	CACert []byte
	// Objects sets objects in the cluster.
	Objects *apply.Setter
	Log     *slog.Logger

	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	answers func(ctx context.Context, address netip.Addr) bool
	// missed counts for each address the rounds in a row without an answer.
	missed map[netip.Addr]int
	set    []netip.Addr
}

const (
	// interval is the time between two rounds: about as long as DNS records of load balancers hold.
	interval = 15 * time.Second
	// patience is how many rounds an address may miss before it is left out.
	patience = 3
	// answerTimeout bounds one question to an address.
	answerTimeout = 3 * time.Second
	// renewal is the number of rounds after which the objects are set again, whatever happened to them meanwhile.
	renewal = 20
)

// Run follows the addresses until the context ends.
func (f *Follower) Run(ctx context.Context) error {
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(f.CACert) {
		return errclass.Errorf(errclass.Configuration, "reading the API server's certificate authority: no certificate")
	}
	f.resolve, f.answers = Resolve, func(ctx context.Context, address netip.Addr) bool {
		return answers(ctx, authorities, netip.AddrPortFrom(address, uint16(f.Port)))
	}
	for round := 0; ; round++ {
		if round%renewal == 0 {
			f.set = nil
		}
		if err := f.round(ctx); err != nil {
			f.Log.Error("leading Service default/kubernetes to the control plane", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// round looks the hosts up, asks every address that is known, and sets those that answer.
//
//	the addresses                     the Service leads to
//	resolve, and some answer          those that answered in one of the last rounds
//	resolve, and none answers         all that resolve: the pod may not reach its own load balancer
//	do not resolve, and some answer   those that answered: DNS is away
//	neither                           as before
func (f *Follower) round(ctx context.Context) error {
	if f.missed == nil {
		f.missed = map[netip.Addr]int{}
	}
	resolved := f.resolved(ctx)
	for _, address := range resolved {
		if _, known := f.missed[address]; !known {
			f.missed[address] = patience // it has to answer first
		}
	}
	answering := f.ask(ctx)
	var wanted []netip.Addr
	for address, missed := range f.missed {
		switch {
		case answering[address]:
			f.missed[address] = 0
		case missed >= patience && !slices.Contains(resolved, address):
			delete(f.missed, address)
			continue
		default:
			f.missed[address] = min(missed+1, patience)
		}
		if f.missed[address] < patience {
			wanted = append(wanted, address)
		}
	}
	if len(wanted) == 0 {
		wanted = resolved
	}
	wanted = sorted(wanted)
	if ctx.Err() != nil || len(wanted) == 0 || slices.Equal(wanted, f.set) {
		return nil
	}
	objects, err := apply.FromAll(Objects(wanted, f.Port)...)
	if err != nil {
		return fmt.Errorf("encoding the endpoints: %w", err)
	}
	if _, err := f.Objects.Set(ctx, objects, apply.Options{Force: true}); err != nil {
		return fmt.Errorf("setting the endpoints: %w", err)
	}
	f.Log.Info("Service default/kubernetes leads to the control plane", "addresses", wanted)
	f.set = wanted
	return nil
}

// ask asks all known addresses at once, and returns those that answer.
func (f *Follower) ask(ctx context.Context) map[netip.Addr]bool {
	var mu sync.Mutex
	var group sync.WaitGroup
	answering := map[netip.Addr]bool{}
	for address := range f.missed {
		group.Go(func() {
			answers := f.answers(ctx, address)
			mu.Lock()
			defer mu.Unlock()
			answering[address] = answers
		})
	}
	group.Wait()
	return answering
}

// resolved returns the addresses of all hosts, those of the cluster's family.
func (f *Follower) resolved(ctx context.Context) []netip.Addr {
	var found []netip.Addr
	for _, host := range f.Hosts {
		addresses, err := f.resolve(ctx, host)
		if err != nil {
			f.Log.Warn("looking the control plane up", "host", host, "error", err)
			continue
		}
		found = append(found, OfFamily(addresses, f.IPv4)...)
	}
	return sorted(found)
}

// answers reports whether an API server of this cluster answers at an address: no other has a certificate of its
// authority with this name.
func answers(ctx context.Context, authorities *x509.CertPool, address netip.AddrPort) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: authorities, ServerName: "kubernetes",
	}}
	connection, err := dialer.DialContext(ctx, "tcp",
		net.JoinHostPort(address.Addr().String(), strconv.Itoa(int(address.Port()))))
	if err != nil {
		return false
	}
	_ = connection.Close()
	return true
}
