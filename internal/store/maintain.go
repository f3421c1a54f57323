package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"argosy.dev/argosy/pkg/errclass"
)

// A member is defragmented where more than half of its database is free and the database is not small, in bytes.
// Defragmentation stops the member for about a second a gigabyte.
const (
	smallDatabase = 256 << 20
	defragTimeout = 10 * time.Minute
)

// spacePercent is the share of its quota that a member's data may take for the alarm NOSPACE to be taken back: with
// more it would soon be raised again.
const spacePercent = 90

// Maintained describes the maintenance of an etcd.
type Maintained struct {
	// Defragmented are the members that gave space back.
	Defragmented []string `json:"defragmented,omitempty"`
	// Mended is set where members were out of space, and take writes again.
	Mended bool `json:"mended,omitempty"`
}

// String returns a line for people; "" where nothing was done.
func (m Maintained) String() string {
	var parts []string
	if m.Mended {
		parts = append(parts, "etcd was out of space (alarm NOSPACE) and takes writes again")
	}
	if len(m.Defragmented) > 0 {
		parts = append(parts, "defragmented "+strings.Join(m.Defragmented, ", "))
	}
	return strings.Join(parts, "; ")
}

// Maintain returns space that etcd's members do not need, and mends the alarm NOSPACE: it compacts the history,
// defragments the members one after another, the leader last, and takes the alarm back where there is space then. The
// alarm CORRUPT is never taken back. kine keeps its database by itself: for it there is nothing to do.
func Maintain(ctx context.Context, access Access, report func(string)) (Maintained, error) {
	if access.CACert == "" {
		return Maintained{}, nil
	}
	client, err := access.Connect()
	if err != nil {
		return Maintained{}, err
	}
	defer client.Close()
	if err := access.ready(ctx, client, storePatience); err != nil {
		return Maintained{}, err
	}
	return maintain(ctx, client, access.Endpoints, report)
}

func maintain(ctx context.Context, client *clientv3.Client, endpoints []string,
	report func(string),
) (Maintained, error) {
	var done Maintained
	full, err := alarmed(ctx, client)
	if err != nil {
		return done, err
	}
	if full {
		report("etcd is out of space (alarm NOSPACE): compacting its history")
		if err := compact(ctx, client); err != nil {
			return done, err
		}
	}
	for _, endpoint := range leaderLast(ctx, client, endpoints) {
		status, err := statusOf(ctx, client, endpoint)
		if err != nil {
			return done, fmt.Errorf("asking member %s for its size: %w", endpoint, err)
		}
		if !full && (status.DbSize < smallDatabase || status.DbSizeInUse > status.DbSize/2) {
			continue
		}
		report(fmt.Sprintf("defragmenting member %s: %d of %d MiB are in use", endpoint, status.DbSizeInUse>>20,
			status.DbSize>>20))
		if err := defragment(ctx, client, endpoint); err != nil {
			return done, err
		}
		done.Defragmented = append(done.Defragmented, endpoint)
	}
	if full {
		done.Mended, err = disarm(ctx, client, endpoints)
	}
	return done, err
}

// alarmed reports whether a member is out of space. A member with corrupt data is an error.
func alarmed(ctx context.Context, client clientv3.Maintenance) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	list, err := client.AlarmList(ctx)
	if err != nil {
		return false, fmt.Errorf("asking etcd for alarms: %w", classified(err))
	}
	full := false
	for _, alarm := range list.Alarms {
		switch alarm.Alarm {
		case etcdserverpb.AlarmType_CORRUPT:
			return false, errclass.Errorf(errclass.Permanent, "member %x of etcd holds other data than the others "+
				"(alarm CORRUPT): delete its pod and its PersistentVolumeClaim and submit provision, which replaces it",
				alarm.MemberID)
		case etcdserverpb.AlarmType_NOSPACE:
			full = true
		}
	}
	return full, nil
}

// compact forgets all revisions but the current one, as kube-apiserver does every five minutes while it may write.
func compact(ctx context.Context, client *clientv3.Client) error {
	now, err := get(ctx, client, healthKey)
	if err != nil {
		return fmt.Errorf("reading etcd's revision: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, defragTimeout)
	defer cancel()
	_, err = client.Compact(ctx, now.Header.Revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compacting etcd's history: %w", classified(err))
	}
	return nil
}

// leaderLast returns the endpoints with the leader's at the end: while it is defragmented the others elect another one.
func leaderLast(ctx context.Context, client clientv3.Maintenance, endpoints []string) []string {
	ordered := slices.Clone(endpoints)
	slices.SortStableFunc(ordered, func(a, b string) int {
		return leads(ctx, client, a) - leads(ctx, client, b)
	})
	return ordered
}

// leads returns 1 for the leader and 0 for others.
func leads(ctx context.Context, client clientv3.Maintenance, endpoint string) int {
	status, err := statusOf(ctx, client, endpoint)
	if err == nil && status.Leader == status.Header.MemberId {
		return 1
	}
	return 0
}

func defragment(ctx context.Context, client clientv3.Maintenance, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, defragTimeout)
	defer cancel()
	if _, err := client.Defragment(ctx, endpoint); err != nil {
		return fmt.Errorf("defragmenting member %s: %w", endpoint, classified(err))
	}
	return nil
}

// disarm takes the alarm NOSPACE back where every member has space again.
func disarm(ctx context.Context, client *clientv3.Client, endpoints []string) (bool, error) {
	for _, endpoint := range endpoints {
		status, err := statusOf(ctx, client, endpoint)
		if err != nil {
			return false, fmt.Errorf("asking member %s for its size: %w", endpoint, err)
		}
		// before 3.6 a member does not tell its quota, and raises the alarm again where the space is not enough
		if quota := status.DbSizeQuota; quota > 0 && status.DbSize > quota/100*spacePercent {
			return false, errclass.Errorf(errclass.Configuration,
				"the cluster's state takes %d MiB of the %d MiB that "+
					"etcd may have: delete objects, or raise controlPlane.backingStore.etcd.deploy.statefulSet."+
					"persistence.volumeClaim.size, of which etcd's quota is a part, and submit provision",
				status.DbSize>>20, quota>>20)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	list, err := client.AlarmList(ctx)
	if err != nil {
		return false, fmt.Errorf("asking etcd for alarms: %w", classified(err))
	}
	for _, alarm := range list.Alarms {
		if alarm.Alarm != etcdserverpb.AlarmType_NOSPACE {
			continue
		}
		if _, err := client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(alarm)); err != nil {
			return false, fmt.Errorf("taking etcd's alarm NOSPACE back: %w", classified(err))
		}
	}
	return true, nil
}
