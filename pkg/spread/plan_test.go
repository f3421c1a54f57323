package spread

import (
	"testing"
	"time"

	"gotest.tools/v3/assert"

	node "argosy.dev/argosy/pkg/node/spread"
)

func TestMachinesOfTheSameZoneComeFirst(t *testing.T) {
	p := newPlanned(t)
	p.holder("a1", "a")
	near := p.holder("b1", "b")
	m := p.enter(p.tracker, "m", "b").member
	fetch, send := p.tracker.assign(m, p.file, maxServing, time.Now())
	assert.Assert(t, send == nil)
	assert.Equal(t, len(fetch), maxServing)
	for _, one := range fetch {
		assert.Equal(t, one.Peer, near.Name)
	}
	// It is busy now, and the other one is free.
	fetch, _ = p.tracker.assign(m, p.file, 1, time.Now())
	assert.Equal(t, fetch[0].Peer, "a1")
}

func TestMachineThatSendsLeastComesFirst(t *testing.T) {
	p := newPlanned(t)
	busy, free := p.holder("m1", ""), p.holder("m2", "")
	busy.serving = 2
	m := p.enter(p.tracker, "m", "").member
	fetch, _ := p.tracker.assign(m, p.file, 2, time.Now())
	assert.Equal(t, fetch[0].Peer, free.Name)
	assert.Equal(t, fetch[1].Peer, free.Name)
}

func TestRarestPieceIsFetchedFirst(t *testing.T) {
	p := newPlanned(t)
	p.holder("m1", "")
	second := p.holder("m2", "")
	delete(p.file.holders[7], second)
	m := p.enter(p.tracker, "m", "").member
	fetch, _ := p.tracker.assign(m, p.file, 1, time.Now())
	assert.Equal(t, fetch[0].Piece, 7)
}

func TestThePluginSendsFewPiecesAtATime(t *testing.T) {
	p := newPlanned(t)
	now := time.Now()
	sent := 0
	for i := range 10 {
		m := p.enter(p.tracker, string(rune('a'+i)), "").member
		if _, send := p.tracker.assign(m, p.file, 1, now); send != nil {
			assert.Equal(t, *send, sent, "no piece twice")
			sent++
		}
	}
	assert.Equal(t, sent, maxSends)
}

func TestPieceThatIsLateIsAskedForElsewhere(t *testing.T) {
	p := newPlanned(t)
	slow := p.holder("a-slow", "")
	begins := time.Now()
	var late []*member
	for _, name := range []string{"m1", "m2"} {
		m := p.enter(p.tracker, name, "").member
		fetch, _ := p.tracker.assign(m, p.file, 1, begins)
		assert.Equal(t, fetch[0].Peer, slow.Name)
		late = append(late, m)
	}
	other := p.holder("b-other", "")
	for _, m := range late {
		for piece := range p.file.holders { // the others are there
			p.file.holders[piece][m] = m.transfers[pieceOf{p.file, piece}] == nil
		}
		fetch, _ := p.tracker.assign(m, p.file, 1, begins.Add(slowAfter/2))
		assert.Equal(t, len(fetch), 0, "it is not late yet")
		fetch, _ = p.tracker.assign(m, p.file, 1, begins.Add(slowAfter+time.Second))
		assert.Equal(t, len(fetch), 1)
		assert.Equal(t, fetch[0].Peer, other.Name)
	}
	assert.Assert(t, slow.slow() && !other.slow())
}

func TestMachineThatFindsAllOthersLateIsSlowItself(t *testing.T) {
	p := newPlanned(t)
	m := p.enter(p.tracker, "m", "").member
	for _, name := range []string{"a", "b", "c", "d"} {
		peer := p.holder(name, "")
		peer.late[m], m.finds[peer] = true, true
		peer.late[p.enter(p.tracker, "x"+name, "").member] = true
		assert.Assert(t, len(m.finds) <= maxAccused == peer.slow(), name)
	}
}

func TestPieceOfThePluginThatIsLateGoesToAnotherMachine(t *testing.T) {
	p := newPlanned(t)
	slow, other := p.enter(p.tracker, "slow", "").member, p.enter(p.tracker, "other", "").member
	begins := time.Now()
	_, send := p.tracker.assign(slow, p.file, 1, begins)
	assert.Equal(t, *send, 0)
	_, send = p.tracker.assign(other, p.file, 1, begins.Add(slowAfter+time.Second))
	assert.Equal(t, *send, 0)
	assert.Equal(t, p.tracker.sends, 1)
	assert.Assert(t, slow.slow())

	// As long as another machine waits, the slow one gets none.
	other.asked[p.file] = begins.Add(slowAfter)
	_, send = p.tracker.assign(slow, p.file, 1, begins.Add(slowAfter+2*time.Second))
	assert.Assert(t, send == nil)
	_, send = p.tracker.assign(slow, p.file, 1, begins.Add(time.Hour))
	assert.Assert(t, send != nil)
}

func TestMachineThatTwoOthersDidNotReachIsLeftAlone(t *testing.T) {
	p := newPlanned(t)
	peer := p.holder("peer", "")
	for _, name := range []string{"m1", "m2"} {
		m := p.enter(p.tracker, name, "").member
		assert.Assert(t, usable(m, peer))
		p.tracker.fail(m, p.file, node.Failed{Peer: "peer"})
		assert.Assert(t, !usable(m, peer))
	}
	assert.Assert(t, !usable(p.enter(p.tracker, "m3", "").member, peer))
}

func TestLeavingFreesWhatWasUnderWay(t *testing.T) {
	p := newPlanned(t)
	peer := p.holder("peer", "")
	delete(p.file.holders[3], peer)
	session := p.enter(p.tracker, "m", "")
	_, send := p.tracker.assign(session.member, p.file, 2, time.Now())
	assert.Equal(t, *send, 3)
	assert.Equal(t, peer.serving, 2)
	session.Leave()
	assert.Equal(t, peer.serving, 0)
	assert.Equal(t, p.tracker.sends, 0)
	assert.Assert(t, p.file.sending[3] == nil)
}

func TestPiecesOfLargeFilesStayWithinBounds(t *testing.T) {
	for size, want := range map[int64]int64{
		1: minPiece, 100 << 20: 1 << 20, 400 << 20: 4 << 20, 20 << 30: 4 << 20,
	} {
		f := newFile("x", size, nil)
		assert.Equal(t, f.pieceSize, want, "%d bytes", size)
		assert.Equal(t, len(f.digests), int((size+want-1)/want))
	}
}
