package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// resolverAddress is the name server of virtual machines, which have one as their owners' machines do: what asks it on
// a machine, or as CoreDNS for a cluster, gets an answer at once.
const resolverAddress = uplinkAddress + ":53"

// largestQuestion is the size of a DNS message over UDP without extensions (RFC 1035, 4.2.1).
const largestQuestion = 512

// serveResolver is the name server's process. It knows the lab's machines by their names, and no other name.
func (l *Lab) serveResolver(ctx context.Context) error {
	var config net.ListenConfig
	socket, err := config.ListenPacket(ctx, "udp", resolverAddress)
	if err != nil {
		return fmt.Errorf("serving names: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer stop()
	known := map[string]netip.Addr{}
	for _, m := range append(machines(), virtualMachines()...) {
		known[m.Name] = netip.MustParseAddr(m.Address)
	}
	question := make([]byte, largestQuestion)
	for {
		n, from, err := socket.ReadFrom(question)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a question for a name: %w", err)
		}
		reply, err := resolve(known, question[:n])
		if err != nil {
			l.logf("%s asks in a way that is not understood: %v", from, err)
			continue
		}
		if _, err := socket.WriteTo(reply, from); err != nil {
			l.logf("answering %s: %v", from, err)
		}
	}
}

// resolve returns the message that answers a question for a name, of which any domain is ignored.
func resolve(known map[string]netip.Addr, question []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(question)
	if err != nil {
		return nil, fmt.Errorf("parsing its header: %w", err)
	}
	asked, err := parser.Question()
	if err != nil {
		return nil, fmt.Errorf("parsing its question: %w", err)
	}
	name, _, _ := strings.Cut(strings.ToLower(asked.Name.String()), ".")
	address, found := known[name]
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: header.ID, Response: true, Authoritative: true,
			RecursionDesired: header.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{asked},
	}
	switch {
	case !found:
		reply.RCode = dnsmessage.RCodeNameError
	case asked.Type == dnsmessage.TypeA:
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: asked.Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: address.As4()},
		}}
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil, fmt.Errorf("packing the answer for %q: %w", asked.Name, err)
	}
	return packed, nil
}
