package join

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/images"
	"argosy.dev/argosy/pkg/node/spec"
	nodespread "argosy.dev/argosy/pkg/node/spread"
	"argosy.dev/argosy/pkg/spread"
)

// fed has the machine's operation fed as `argosy-node feed` does over SSH, until the test ends.
func (m *machine) fed(open feed.Open) {
	store := m.context.Store
	assert.NilError(m.t, store.Prepare("op"))
	assert.NilError(m.t, store.WriteStatus(&spec.Status{ID: "op", State: spec.Running}))
	answersIn, answersOut, err := os.Pipe()
	assert.NilError(m.t, err)
	requestsIn, requestsOut, err := os.Pipe()
	assert.NilError(m.t, err)
	sender := feed.NewSender(m.t.Context(), open)
	go func() { _, _ = io.Copy(sender, requestsIn) }()
	go func() {
		_, _ = io.CopyBuffer(struct{ io.Writer }{answersOut}, struct{ io.Reader }{sender}, make([]byte, 1024))
		_ = answersOut.Close()
	}()
	go func() {
		_ = images.HandOver(m.t.Context(), &node.Engine{Host: m.host, Store: store}, "op", answersIn, requestsOut)
		_ = answersIn.Close()
		_ = requestsOut.Close()
	}()
}

// spreads has the machine take part in a run, in which the plugin has content as the bundle.
func (m *machine) spreads(tracker *spread.Tracker, name string, content []byte) {
	session := tracker.Enter(nil, spread.Machine{Name: name, Address: "127.0.0.1"}, nil)
	session.Offer(nodespread.BundleKey(m.join.Bundle.SHA256), m.join.Bundle.Size,
		func(_ context.Context, offset int64) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(string(content[offset:]))), nil
		})
	m.fed(session.Open)
	m.context.Operation.Spread = true
	m.context.Spread = nodespread.NewClient(m.host.Path(spec.BundlesDir), io.Discard)
	m.t.Cleanup(m.context.Spread.Close)
}

func TestASpreadBundleLeavesThePluginOnce(t *testing.T) {
	tracker := &spread.Tracker{}
	first := newMachine(t)
	data := first.archive(bundleFiles())
	for _, name := range []string{"m1", "m2", "m3"} {
		m := newMachine(t)
		m.archive(bundleFiles())
		m.join.Bundle = first.join.Bundle
		m.spreads(tracker, name, data)
		apply(t, m, applyBundle)
		assert.Assert(t, holds(t, m, checkBundle))
	}
	assert.Equal(t, tracker.Sent(), int64(len(data)))
}

func TestASpreadBundleWithAnotherDigestIsNotUnpacked(t *testing.T) {
	m := newMachine(t)
	data := m.archive(bundleFiles())
	m.join.Bundle.SHA256 = strings.Repeat("1", 64)
	m.spreads(&spread.Tracker{}, "m1", data)
	_, err := applyBundle(t.Context(), m.context)
	assert.ErrorContains(t, err, strings.Repeat("1", 64))
	assert.Assert(t, !holds(t, m, checkBundle))
}
