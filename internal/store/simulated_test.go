package store

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gotest.tools/v3/assert"
)

// simulated is a store that speaks etcd's protocol over a socket and takes only the requests that kine takes too, with
// kine's peculiarities. It keeps all in memory.
type simulated struct {
	etcdserverpb.UnimplementedKVServer

	mu       sync.Mutex
	revision int64
	history  []*mvccpb.KeyValue
	// ranges are the requests for pages so far.
	ranges []*etcdserverpb.RangeRequest
	// beforeRange is called with the number of each request for a page.
	beforeRange func(number int)
	// beforeCreate may refuse a creation.
	beforeCreate func(key string) error
	compacted    int64
}

// simulate starts a store with keys and returns it with a real client.
func simulate(t *testing.T, keys ...pair) (*simulated, *clientv3.Client) {
	t.Helper()
	s := &simulated{}
	s.put(healthKey, `{"health":"true"}`, 0)
	for _, p := range keys {
		s.put(string(p.key), string(p.value), 0)
	}
	socket := filepath.Join(t.TempDir(), "kine.sock")
	listener, err := net.Listen("unix", socket)
	assert.NilError(t, err)
	server := grpc.NewServer()
	etcdserverpb.RegisterKVServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	client, err := Access{Endpoints: []string{"unix://" + socket}}.Connect()
	assert.NilError(t, err)
	t.Cleanup(func() {
		assert.NilError(t, client.Close())
		server.Stop()
		assert.NilError(t, <-done)
	})
	return s, client
}

func (s *simulated) put(key, value string, lease int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.append(key, value, lease)
}

func (s *simulated) append(key, value string, lease int64) {
	s.revision++
	s.history = append(s.history, &mvccpb.KeyValue{
		Key: []byte(key), Value: []byte(value), ModRevision: s.revision,
		Lease: lease,
	})
}

// at returns the newest value of every key up to a revision, in the order of keys.
func (s *simulated) at(revision int64) []*mvccpb.KeyValue {
	newest := map[string]*mvccpb.KeyValue{}
	for _, kv := range s.history {
		if kv.ModRevision <= revision {
			newest[string(kv.Key)] = kv
		}
	}
	var all []*mvccpb.KeyValue
	for _, kv := range newest {
		all = append(all, kv)
	}
	slices.SortFunc(all, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
	return all
}

func (s *simulated) Range(_ context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	if len(r.RangeEnd) > 0 && s.beforeRange != nil {
		s.beforeRange(len(s.ranges))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.SortOrder != 0 || r.SortTarget != 0 || r.Serializable || r.MinModRevision != 0 || r.MaxModRevision != 0 {
		return nil, status.Error(codes.Unimplemented, "not implemented by kine")
	}
	if r.Revision > 0 && r.Revision < s.compacted {
		return nil, rpctypes.ErrGRPCCompacted
	}
	revision := s.revision
	if r.Revision > 0 {
		revision = r.Revision
	}
	answer := &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{Revision: s.revision}}
	if len(r.RangeEnd) == 0 {
		if r.Limit != 0 && len(r.RangeEnd) != 0 {
			return nil, status.Error(codes.Unknown, "invalid combination of rangeEnd and limit")
		}
		for _, kv := range s.at(revision) {
			if bytes.Equal(kv.Key, r.Key) {
				answer.Kvs = append(answer.Kvs, kv)
			}
		}
		return answer, nil
	}
	s.ranges = append(s.ranges, r)
	prefix := slices.Clone(r.RangeEnd)
	prefix[len(prefix)-1]--
	if prefix[len(prefix)-1] != '/' {
		return nil, status.Error(codes.Unknown, "the simulation wants a prefix that ends with a slash")
	}
	for _, kv := range s.at(revision) {
		if bytes.HasPrefix(kv.Key, prefix) && bytes.Compare(kv.Key, r.Key) >= 0 {
			answer.Kvs = append(answer.Kvs, kv)
		}
	}
	answer.Count = int64(len(answer.Kvs))
	if r.Limit > 0 && answer.Count > r.Limit {
		answer.Kvs, answer.More = answer.Kvs[:r.Limit], true
	}
	return answer, nil
}

// Txn takes creations alone.
func (s *simulated) Txn(_ context.Context, r *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	creates := len(r.Compare) == 1 && r.Compare[0].Target == etcdserverpb.Compare_MOD &&
		r.Compare[0].Result == etcdserverpb.Compare_EQUAL &&
		r.Compare[0].GetModRevision() == 0 && len(r.Failure) == 0 && len(r.Success) == 1 &&
		r.Success[0].GetRequestPut() != nil
	if !creates {
		return nil, status.Error(codes.InvalidArgument, "etcdserver: unsupported operations in txn request")
	}
	put := r.Success[0].GetRequestPut()
	if s.beforeCreate != nil {
		if err := s.beforeCreate(string(put.Key)); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	header := &etcdserverpb.ResponseHeader{Revision: s.revision}
	for _, kv := range s.history {
		if bytes.Equal(kv.Key, put.Key) {
			return &etcdserverpb.TxnResponse{Header: header}, nil
		}
	}
	s.append(string(put.Key), string(put.Value), put.Lease)
	return &etcdserverpb.TxnResponse{Header: header, Succeeded: true, Responses: []*etcdserverpb.ResponseOp{
		{Response: &etcdserverpb.ResponseOp_ResponsePut{ResponsePut: &etcdserverpb.PutResponse{Header: header}}},
	}}, nil
}
