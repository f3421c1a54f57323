package store

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// All keys of a cluster begin with a slash, with any --etcd-prefix. The one that does not, compact_rev_key, is the API
// servers' note about revisions of this very store and means nothing in another. kine takes a range only in this form:
// from a key to the end of a prefix that ends with a slash.
const (
	firstKey = "/"
	endOfAll = "0" // the byte after the slash
)

// healthKey is kine's own; it is in every store of kine from its start.
const healthKey = "/registry/health"

// leadership are the leases by which the control plane's own components tell who leads. In another control plane they
// would only make the new ones wait for the old ones to give up, for a quarter of a minute.
var leadership = map[string]bool{
	"/registry/leases/kube-system/kube-controller-manager": true,
	"/registry/leases/kube-system/kube-scheduler":          true,
}

// Pages are as large as kube-apiserver's, and smaller where values are large: a page is held in memory.
const (
	pageKeys    = 500
	leastKeys   = 20
	wantedBytes = 4 << 20
)

// pair is a key that belongs to the cluster's state.
type pair struct{ key, value []byte }

// scan visits all pairs of the store at one revision, in the store's order, and returns the revision. It leaves out
// keys that belong to the store or to a moment: kine's own, those with a lease (events), and leadership.
//
// The revision is asked for before the first page. With kine a page's header may have a later one than the page was
// read at, since kine counts the rest in a second query.
func scan(ctx context.Context, client Client, visit func(pair) error) (int64, error) {
	header, err := get(ctx, client, healthKey)
	if err != nil {
		return 0, fmt.Errorf("asking the store for its revision: %w", err)
	}
	revision, from, limit := header.Header.Revision, firstKey, int64(pageKeys)
	for {
		page, err := get(ctx, client, from, clientv3.WithRange(endOfAll), clientv3.WithLimit(limit),
			clientv3.WithRev(revision))
		if err != nil {
			return revision, fmt.Errorf("reading the store from key %q on, at revision %d: %w", from, revision, err)
		}
		size := 0
		for _, kv := range page.Kvs {
			size += len(kv.Value)
			if kv.Lease != 0 || string(kv.Key) == healthKey || leadership[string(kv.Key)] {
				continue
			}
			if err := visit(pair{kv.Key, kv.Value}); err != nil {
				return revision, err
			}
		}
		if !page.More || len(page.Kvs) == 0 {
			return revision, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
		limit = nextLimit(limit, size)
	}
}

// nextLimit is how many keys the next page should have, by how large the one before was.
func nextLimit(limit int64, size int) int64 {
	if size > wantedBytes {
		return max(limit*wantedBytes/int64(size), leastKeys)
	}
	return min(limit*2, pageKeys)
}

func get(ctx context.Context, client Client, key string, options ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	response, err := client.Get(ctx, key, options...)
	if err != nil && strings.Contains(err.Error(), "compacted") {
		return nil, fmt.Errorf("the store compacted this revision while it was read: %w; submit again, or when the "+
			"cluster is less busy", classified(err))
	}
	return response, classified(err)
}
