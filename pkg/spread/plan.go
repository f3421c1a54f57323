package spread

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	node "argosy.dev/argosy/pkg/node/spread"
)

// Bounds of transfers at a time.
const (
	// maxServing is the number of pieces that a machine sends at a time.
	maxServing = 4
	// maxFetches is the number of pieces that a machine gets from others at a time, also one that asks for more.
	maxFetches = 16
	// maxSends is the number of pieces that the plugin sends at a time: each is in memory.
	maxSends = 4
	// maxCandidates is the number of pieces among which the rarest is chosen.
	maxCandidates = 32
	// maxAccused is the number of machines that one machine may accuse of serving other bytes. One that accuses more is
	// itself at fault.
	maxAccused = 2
	// maxLost is the number of machines that could not reach another one, after which no other machine tries.
	maxLost = 2
)

// slowAfter and slowFactor bound how long a piece may be under way before it is also asked for elsewhere: at least
// slowAfter, and as many times the mean of those that arrived.
const (
	slowAfter  = 2 * time.Second
	slowFactor = 4
)

// pace is the mean time of transfers, of which the last ones weigh most.
type pace time.Duration

// add takes over the time that one piece took.
func (p *pace) add(took time.Duration) {
	if *p == 0 {
		*p = pace(took)
		return
	}
	*p += (pace(took) - *p) / 8
}

// late reports whether a piece that is under way since then is late.
func (p pace) late(since, now time.Time) bool {
	return now.Sub(since) > max(slowAfter, slowFactor*time.Duration(p))
}

// note takes over the news of a machine. The caller holds mu.
func (t *Tracker) note(m *member, f *file, request node.Request) {
	m.port = request.Port
	if m.port < 0 || m.port > math.MaxUint16 {
		m.port = 0
	}
	if request.Free > 0 {
		m.asked[f] = time.Now()
	}
	for _, piece := range request.Have {
		if piece < 0 || piece >= len(f.holders) {
			continue
		}
		f.holders[piece][m] = true
		if under := m.transfers[pieceOf{f, piece}]; under != nil {
			t.fetches.add(time.Since(under.since))
			if len(under.from) == 1 {
				under.from[0].failures = 0
			}
		}
		t.endTransfer(m, pieceOf{f, piece})
		t.ended(f, piece, m)
	}
	for _, failed := range request.Failed {
		if failed.Piece >= 0 && failed.Piece < len(f.holders) {
			t.fail(m, f, failed)
		}
	}
	if len(request.Have)+len(request.Failed) > 0 {
		t.wake()
	}
}

// ended ends the sending of a piece from the plugin. The caller holds mu.
func (t *Tracker) ended(f *file, piece int, to *member) {
	if f.sendingTo(piece, to) {
		t.sendings.add(time.Since(f.sending[piece].since))
		f.sending[piece] = nil
		t.sends--
	}
}

// fail takes over that a machine did not get a piece from another one. The caller holds mu.
func (t *Tracker) fail(m *member, f *file, failed node.Failed) {
	t.endTransfer(m, pieceOf{f, failed.Piece})
	peer := t.members[failed.Peer]
	if peer == nil || peer == m {
		return
	}
	if !failed.Corrupt {
		if !peer.lost[m] {
			peer.failures++
		}
		peer.lost[m] = true
		return
	}
	if m.accused[peer] {
		return
	}
	// One that finds many others at fault has damaged memory itself, or lies. It gets no more pieces from them.
	m.accused[peer] = true
	if len(m.accused) <= maxAccused && !m.banned {
		t.ban(peer, m, f, failed.Piece)
	}
}

// ban excludes a machine from serving for the run, and names it. The caller holds mu.
func (t *Tracker) ban(peer, by *member, f *file, piece int) {
	if peer.banned {
		return
	}
	peer.banned = true
	if t.log != nil {
		t.log.Warn("machine serves other bytes", "machine", peer.Name, "found by", by.Name, "file", f.key, "piece",
			piece)
	}
	if t.remarks == nil {
		t.remarks = map[string][]string{}
	}
	t.remarks[by.Name] = append(t.remarks[by.Name], fmt.Sprintf(
		"machine %q served bytes with another digest, and serves no more in this run", peer.Name))
	t.remarks[peer.Name] = append(t.remarks[peer.Name], fmt.Sprintf(
		"machine %q got bytes with another digest from this one, which serves no more in this run: check its memory "+
			"and disk", by.Name))
}

// usable reports whether m may get pieces from peer.
func usable(m, peer *member) bool {
	return peer != m && !peer.banned && peer.port != 0 && !peer.lost[m] && peer.failures < maxLost && !m.accused[peer]
}

// slow reports whether pieces from a machine came late to several others. One that finds more than maxAccused others
// late is slow itself, and is not heard.
func (m *member) slow() bool {
	count := 0
	for by := range m.late {
		if len(by.finds) <= maxAccused {
			count++
		}
	}
	return m.lags || count >= maxLost
}

// assign returns the next pieces for a machine: at most one from the plugin, whose line is the narrowest, and others
// from machines. The caller holds mu.
func (t *Tracker) assign(m *member, f *file, free int, now time.Time) (fetch []node.Fetch, send *int) {
	send = t.assignSend(m, f, now)
	for range max(free, 0) {
		piece, peer := t.choose(m, f, now)
		if peer == nil {
			break
		}
		under := pieceOf{f, piece}
		if m.transfers[under] == nil {
			m.transfers[under] = &transfer{}
		}
		for _, before := range m.transfers[under].from {
			before.late[m], m.finds[before] = true, true
		}
		m.transfers[under].from, m.transfers[under].since = append(m.transfers[under].from, peer), now
		peer.serving++
		fetch = append(fetch, node.Fetch{
			Piece: piece, SHA256: f.digests[piece], Peer: peer.Name, Address: peer.address(),
		})
	}
	return fetch, send
}

// candidate is a piece and the best machine to get it from.
type candidate struct {
	piece, holders int
	peer           *member
}

// choose returns the rarest of the pieces that m lacks and another machine can send now; nil for none. It begins at a
// place of the machine's own, so that not all want the same piece at once.
func (t *Tracker) choose(m *member, f *file, now time.Time) (int, *member) {
	var best candidate
	seen, count := 0, len(f.holders)
	first := start(m.Name, count)
	for i := range count {
		piece := (first + i) % count
		if f.digests[piece] == "" || f.holders[piece][m] || f.sendingTo(piece, m) {
			continue
		}
		transfer := m.transfers[pieceOf{f, piece}]
		if transfer != nil && !t.fetches.late(transfer.since, now) {
			continue
		}
		peer := sender(m, f, piece, transfer)
		if peer == nil {
			continue
		}
		if holders := len(f.holders[piece]); best.peer == nil || holders < best.holders {
			best = candidate{piece, holders, peer}
		}
		if seen++; seen == maxCandidates {
			break
		}
	}
	return best.piece, best.peer
}

// start returns where a machine begins to look for pieces.
func start(name string, count int) int {
	sum := 0
	for _, letter := range name {
		sum = sum*31 + int(letter)
	}
	return ((sum % count) + count) % count
}

// sendingTo reports whether the plugin sends a piece to m.
func (f *file) sendingTo(piece int, m *member) bool {
	return f.sending[piece] != nil && f.sending[piece].to == m
}

// sender returns the machine that m gets a piece from: one that is not slow, of its zone, that sends least. It is nil
// where all are busy, or transfer comes from them already.
func sender(m *member, f *file, piece int, transfer *transfer) *member {
	var best *member
	for peer := range f.holders[piece] {
		if peer.serving >= maxServing || !usable(m, peer) || transfer != nil && slices.Contains(transfer.from, peer) {
			continue
		}
		if best == nil || order(m, peer, best) < 0 {
			best = peer
		}
	}
	return best
}

// order compares two machines that m may get a piece from.
func order(m, a, b *member) int {
	rank := func(no bool) int {
		if no {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(rank(a.slow()), rank(b.slow())),
		cmp.Compare(rank(a.Zone != m.Zone), rank(b.Zone != m.Zone)),
		cmp.Compare(a.serving, b.serving),
		cmp.Compare(a.Name, b.Name),
	)
}

// assignSend returns a piece that the plugin sends to m: one that no machine has, or none that m can reach. A machine
// to which the plugin sent too slowly gets one only if there is no other.
func (t *Tracker) assignSend(m *member, f *file, now time.Time) *int {
	for piece := range f.holders {
		if f.holders[piece][m] || m.transfers[pieceOf{f, piece}] != nil || t.available(m, f, piece) {
			continue
		}
		under := f.sending[piece]
		switch {
		case under != nil && (under.to == m || !t.sendings.late(under.since, now)),
			under == nil && (t.sends >= maxSends || m.slow() && t.othersWait(m, f, now)):
			continue
		case under != nil:
			under.to.lags = true
		default:
			t.sends++
		}
		f.sending[piece] = &sending{to: m, since: now}
		return &piece
	}
	return nil
}

// askedWithin is how long ago a machine that still takes part has asked for pieces at most.
const askedWithin = 2 * idleWait

// othersWait reports whether another machine, which is not slow, waits for pieces of the file.
func (t *Tracker) othersWait(m *member, f *file, now time.Time) bool {
	for _, other := range t.members {
		asked, wants := other.asked[f]
		if other != m && wants && !other.slow() && now.Sub(asked) < askedWithin && f.lacks(other) {
			return true
		}
	}
	return false
}

// lacks reports whether m lacks a piece of the file.
func (f *file) lacks(m *member) bool {
	return slices.ContainsFunc(f.holders, func(holders map[*member]bool) bool { return !holders[m] })
}

// available reports whether m can get a piece from another machine, now or when that is less busy.
func (t *Tracker) available(m *member, f *file, piece int) bool {
	if f.digests[piece] == "" {
		return false
	}
	for peer := range f.holders[piece] {
		if usable(m, peer) {
			return true
		}
	}
	return false
}
