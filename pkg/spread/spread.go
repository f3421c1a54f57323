// Package spread decides which machine of a run gets which piece of a file from which other machine, so that a bundle
// or an archive leaves the plugin a bounded number of times. The machines' side is package node/spread.
//
// The plugin reads a file in order, hashes each piece, and sends it to one machine. The others get it from machines
// that verified it: of the same zone first, then those that send least. A machine that serves other bytes is banned for
// the run; one that cannot be reached, or is slow, is left alone. Where no other machine has a piece, or none that can
// be reached, the plugin sends it.
package spread

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/node/feed"
	node "argosy.dev/argosy/pkg/node/spread"
)

// Port is the TCP port at which machines serve pieces.
const Port = 10270

// MinMachines is the number of machines in a run from which delivery auto spreads.
const MinMachines = 8

// Tracker knows the machines of one run, and the pieces that each one has. It is safe for use by many goroutines. The
// nil Tracker expects no machines.
type Tracker struct {
	// Port is where machines serve; 0 has each choose one.
	Port int

	mu        sync.Mutex
	log       *slog.Logger
	authority *authority
	expected  map[string]bool
	members   map[string]*member
	files     map[string]*file
	remarks   map[string][]string // by machine
	sends     int                 // under way from the plugin
	sent      int64               // bytes from the plugin, in all
	fetches   pace                // of pieces from machine to machine
	sendings  pace                // of pieces from the plugin
	changed   chan struct{}       // closed when pieces may have become available
}

// NewTracker makes the Tracker of a run.
func NewTracker() *Tracker { return &Tracker{Port: Port} }

// Machine is a machine as others reach it.
type Machine struct {
	Name string
	// Address is an IP address or a name.
	Address string
	// Zone is empty where machines have none.
	Zone string
}

// Open opens a file at an offset.
type Open func(ctx context.Context, offset int64) (io.ReadCloser, error)

// Expect tells that a machine belongs to the run.
func (t *Tracker) Expect(machine string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.expected == nil {
		t.expected = map[string]bool{}
	}
	t.expected[machine] = true
}

// Expected returns how many machines belong to the run.
func (t *Tracker) Expected() int {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.expected)
}

// Sent returns how many bytes of pieces the plugin sent.
func (t *Tracker) Sent() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent
}

// Session is a machine's part in the run, while it carries out an operation.
type Session struct {
	tracker *Tracker
	member  *member
	open    feed.Open
}

// member is a machine that takes part.
type member struct {
	Machine
	// port where it serves, 0 for none.
	port int
	// registered is set once it has credentials of this run.
	registered bool
	// serving is the number of pieces under way from it.
	serving int
	// banned machines serve no more. One that lags got a piece of the plugin late.
	banned, lags bool
	// late has the machines to which its pieces came late, and finds those whose pieces came late to it.
	late, finds map[*member]bool
	// asked is when it last asked for pieces of a file.
	asked map[*file]time.Time
	// lost has the machines that could not get a piece from it, and failures counts them since one could.
	lost     map[*member]bool
	failures int
	// accused has the machines that it found to serve other bytes.
	accused   map[*member]bool
	transfers map[pieceOf]*transfer
}

// pieceOf is a piece of a file.
type pieceOf struct {
	file  *file
	piece int
}

// transfer has the machines that a piece comes from, and since when. Another source may have been added.
type transfer struct {
	from  []*member
	since time.Time
}

// Enter begins a machine's part in the run. log, which may be nil, gets a line when a machine is banned, and open opens
// whole files. Leave must be called.
func (t *Tracker) Enter(log *slog.Logger, machine Machine, open feed.Open) *Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log = log
	if t.members == nil {
		t.members = map[string]*member{}
	}
	m := &member{
		Machine: machine, lost: map[*member]bool{}, accused: map[*member]bool{}, transfers: map[pieceOf]*transfer{},
		late: map[*member]bool{}, finds: map[*member]bool{}, asked: map[*file]time.Time{},
	}
	if before := t.members[machine.Name]; before != nil {
		m.banned = before.banned
		t.drop(before)
	}
	t.members[machine.Name] = m
	return &Session{tracker: t, member: m, open: open}
}

// Leave ends a machine's part: transfers to it and from it are assigned anew.
func (s *Session) Leave() {
	t := s.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(s.member)
	if t.members[s.member.Name] == s.member && !s.member.banned {
		delete(t.members, s.member.Name)
	}
}

// drop forgets the pieces of a machine and the transfers to it. The caller holds mu.
func (t *Tracker) drop(m *member) {
	m.port = 0
	for under := range m.transfers {
		t.endTransfer(m, under)
	}
	for _, f := range t.files {
		for piece := range f.holders {
			delete(f.holders[piece], m)
			if f.sendingTo(piece, m) {
				f.sending[piece] = nil
				t.sends--
			}
		}
	}
	t.wake()
}

// endTransfer ends the transfer of a piece to m. The caller holds mu.
func (t *Tracker) endTransfer(m *member, under pieceOf) {
	if transfer := m.transfers[under]; transfer != nil {
		for _, from := range transfer.from {
			from.serving--
		}
		delete(m.transfers, under)
	}
}

// wake lets machines that wait look again. The caller holds mu.
func (t *Tracker) wake() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// waiting returns a channel that closes at the next change. The caller holds mu.
func (t *Tracker) waiting() <-chan struct{} {
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

// Offer lets machines get a file in pieces.
func (s *Session) Offer(key string, size int64, open Open) {
	if size <= 0 || size > node.MaxSize {
		return
	}
	t := s.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.files == nil {
		t.files = map[string]*file{}
	}
	if t.files[key] == nil {
		t.files[key] = newFile(key, size, open)
	}
}

// Remarks are sentences on the machine's part in the run: whom it found to serve other bytes, or that it did itself.
func (s *Session) Remarks() []string {
	t := s.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.remarks[s.member.Name]...)
}

// credentials makes a machine's certificate for the run. The caller holds mu.
func (t *Tracker) credentials(m *member) (*node.Credentials, error) {
	now := time.Now()
	if t.authority == nil {
		authority, err := newAuthority(now)
		if err != nil {
			return nil, err
		}
		t.authority = authority
	}
	credentials, err := t.authority.issue(m.Name, now, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	credentials.Host, credentials.Port = m.Address, t.Port
	return credentials, nil
}

// address returns where a machine serves.
func (m *member) address() string { return net.JoinHostPort(m.Address, strconv.Itoa(m.port)) }
