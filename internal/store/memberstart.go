package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
)

// EmptyMember is a part of each line that AwaitMembership reports.
const EmptyMember = "of etcd has no data, and"

const (
	// membershipInterval is the time between two questions of a member that may not start yet.
	membershipInterval = time.Second
	peerTimeout        = 5 * time.Second
)

// AwaitMembership returns when a member of an etcd that exists may start with these arguments and
// --initial-cluster-state=existing. One that lost its data must not start as the member that the others know, since it
// would vote anew on what it voted on before; and etcd itself asks them for one second only, and founds another cluster
// where none answers. They are asked at their peers' port, where they verify that the member's name leads to its
// address: one that is kept until they answer is not refused afterwards. Each change is reported. The error is that of
// the context, or of arguments that can't be used.
//
//	its data   the others                                 result
//	there      –                                          it starts
//	none       do not answer, or without a majority       it waits
//	none       know a member at its address by its name   it waits for ReplaceMember
//	none       know none at its address                   it waits for ReplaceMember, which was interrupted
//	none       know one that has not started yet          it starts
func AwaitMembership(ctx context.Context, args []string, report func(string)) error {
	member, err := memberOf(args)
	if err != nil || member.hasData() {
		return err
	}
	ticker := time.NewTicker(membershipInterval)
	defer ticker.Stop()
	reported := ""
	for {
		state, cause := member.inspect(ctx)
		if state == "" {
			return nil
		}
		line := fmt.Sprintf("member %s %s %s", member.name, EmptyMember, state)
		if cause != nil {
			line += ": " + cause.Error()
		}
		if state != reported && ctx.Err() == nil {
			reported = state
			report(line)
		}
		select {
		case <-ctx.Done():
			return errclass.Errorf(errclass.Cancelled, "member %s %s %s: %w", member.name, EmptyMember, reported,
				context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// startingMember is a member of etcd, as its arguments describe it.
type startingMember struct {
	name, walDir string
	// peer is the URL at which the others reach it; others are theirs.
	peer   string
	others []string
	// clients and peers are the certificates for the members' two ports, without endpoints.
	clients, peers Access
}

// memberOf reads etcd's arguments, each of the form --name=value.
func memberOf(args []string) (startingMember, error) {
	values := map[string]string{}
	for _, arg := range args {
		name, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		values[name] = value
	}
	m := startingMember{
		name:    values["name"],
		walDir:  cmp.Or(values["wal-dir"], filepath.Join(values["data-dir"], "member", "wal")),
		clients: Access{CACert: values["trusted-ca-file"], Cert: values["cert-file"], Key: values["key-file"]},
		peers: Access{
			CACert: values["peer-trusted-ca-file"], Cert: values["peer-cert-file"], Key: values["peer-key-file"],
		},
	}
	for _, founder := range strings.Split(values["initial-cluster"], ",") {
		name, peer, _ := strings.Cut(founder, "=")
		if name == m.name {
			m.peer = peer
		} else {
			m.others = append(m.others, peer)
		}
	}
	if m.name == "" || values["data-dir"] == "" || m.peer == "" || len(m.others) == 0 {
		return m, errclass.Errorf(errclass.Configuration, "reading etcd's arguments %q: --name, --data-dir and "+
			"--initial-cluster, with the member and others, are required", args)
	}
	return m, nil
}

// hasData reports whether the member has a log, by the rule of etcd itself.
func (m startingMember) hasData() bool {
	logs, err := filepath.Glob(filepath.Join(m.walDir, "*.wal"))
	return err == nil && len(logs) > 0
}

// inspect returns the reason why a member without data may not start, and its cause where there is one; "" where the
// others expect it.
func (m startingMember) inspect(ctx context.Context) (string, error) {
	endpoints, err := m.askPeers(ctx)
	if err != nil {
		return "no other member answers it", err
	}
	access := m.clients
	access.Endpoints = endpoints
	client, err := access.Connect()
	if err != nil {
		return "the others can't be asked", err
	}
	defer client.Close()
	known, err := memberAt(ctx, client, m.peer)
	switch {
	case err != nil:
		return "the others do not answer with a majority", err
	case known == nil:
		return "the others do not know it: submit provision, which adds it", nil
	case known.Name != "":
		return LostMember + ": submit provision, which removes and adds it", nil
	}
	return "", nil
}

// askPeers returns the URLs at which the other members answer clients, from the first of them that answers at its
// peers' port.
func (m startingMember) askPeers(ctx context.Context) ([]string, error) {
	settings, err := m.peers.tls()
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Timeout: peerTimeout, Transport: &http.Transport{TLSClientConfig: settings, DisableKeepAlives: true},
	}
	var failures []error
	for _, peer := range m.others {
		endpoints, err := m.askPeer(ctx, client, peer)
		if err == nil {
			return endpoints, nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

// askPeer asks a member for the others as it knows them (server/etcdserver/api/etcdhttp/peer.go).
func (m startingMember) askPeer(ctx context.Context, client *http.Client, peer string) ([]string, error) {
	at, err := url.JoinPath(peer, "members")
	if err != nil {
		return nil, fmt.Errorf("reading peer %q: %w", peer, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("reading peer %q: %w", peer, err)
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking a member: %w", err)
	}
	defer answer.Body.Close()
	var members []struct {
		PeerURLs   []string `json:"peerURLs"`
		ClientURLs []string `json:"clientURLs"`
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking member %q: %s", peer, answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(&members); err != nil {
		return nil, fmt.Errorf("reading the answer of member %q: %w", peer, err)
	}
	var endpoints []string
	for _, member := range members {
		if !slices.Contains(member.PeerURLs, m.peer) {
			endpoints = append(endpoints, member.ClientURLs...)
		}
	}
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("asking member %q: it knows no members that have started", peer)
	}
	return endpoints, nil
}
