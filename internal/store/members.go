package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sethvargo/go-retry"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"argosy.dev/argosy/pkg/errclass"
)

// Member is a member of a deployed etcd.
type Member struct {
	// Name of the member, which is that of its pod.
	Name string
	// Client and Peer are the URLs at which clients and members reach it.
	Client, Peer string
}

// LostMember is a part of the error with which a member ends whose data is lost: the others know it as one that holds
// their log (server/etcdserver/bootstrap.go).
const LostMember = "has already been bootstrapped"

// InitialClusterState is the environment of a member that tells whether it founds its cluster, or joins one that
// exists; AwaitMembership keeps a member that joins until the others expect it.
const (
	InitialClusterState = "ETCD_INITIAL_CLUSTER_STATE"
	MemberJoins         = "existing"
	MemberFounds        = "new"
)

// membershipPatience is how long etcd may refuse a change of its members: it does so until all have been connected for
// five seconds.
const membershipPatience = time.Minute

// ReplaceMember has the other members forget one whose data is lost, and accept one with its name in its place, which
// then starts with --initial-cluster-state=existing. They answer all the while. It is an error if the member answers,
// or another one does not. A call that was interrupted can be repeated.
//
//	the other members know it      result
//	by name                        removed and added
//	without a name, not started    nothing to do
//	not at all                     added
func ReplaceMember(ctx context.Context, access Access, lost Member, report func(string)) error {
	err := replaceMember(ctx, access, lost, report)
	if err != nil {
		return fmt.Errorf("replacing member %q of etcd: %w", lost.Name, err)
	}
	return nil
}

func replaceMember(ctx context.Context, access Access, lost Member, report func(string)) error {
	others := access
	others.Endpoints = slices.DeleteFunc(slices.Clone(access.Endpoints),
		func(endpoint string) bool { return endpoint == lost.Client })
	if len(others.Endpoints) == len(access.Endpoints) || len(others.Endpoints) < 2 {
		return errclass.Errorf(errclass.Configuration, "%s is not one of three endpoints or more: with fewer there is "+
			"no majority without it", lost.Client)
	}
	client, err := others.Connect()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := checkOthers(ctx, client, others, lost); err != nil {
		return err
	}
	known, err := memberAt(ctx, client, lost.Peer)
	if err != nil {
		return err
	}
	switch {
	case known != nil && known.Name == "":
		report(fmt.Sprintf("member %s is added already and has not started", lost.Name))
		return nil
	case known != nil:
		report(fmt.Sprintf("removing member %s (%x)", lost.Name, known.ID))
		if err := changeMembers(ctx, func(ctx context.Context) error {
			_, err := client.MemberRemove(ctx, known.ID)
			return classified(err)
		}); err != nil {
			return fmt.Errorf("removing member %x: %w", known.ID, err)
		}
	}
	report("adding member " + lost.Name)
	if err := changeMembers(ctx, func(ctx context.Context) error {
		_, err := client.MemberAdd(ctx, []string{lost.Peer})
		return classified(err)
	}); err != nil {
		return fmt.Errorf("adding a member at %s: %w", lost.Peer, err)
	}
	return nil
}

// checkOthers refuses to replace a member that answers, or without all others: with one member less they must still
// have a majority.
func checkOthers(ctx context.Context, client *clientv3.Client, others Access, lost Member) error {
	for _, endpoint := range others.Endpoints {
		if _, err := statusOf(ctx, client, endpoint); err != nil {
			return errclass.Errorf(errclass.Permanent, "member %s does not answer either, and without it there is no "+
				"majority: mend it first, or restore the cluster from an archive: %w", endpoint, err)
		}
	}
	if _, err := statusOf(ctx, client, lost.Client); err == nil {
		return errclass.Errorf(errclass.Configuration, "it answers at %s: its data is not lost", lost.Client)
	}
	return nil
}

// statusOf asks one member for its state.
func statusOf(ctx context.Context, client clientv3.Maintenance, endpoint string) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	status, err := client.Status(ctx, endpoint)
	return status, classified(err)
}

// memberAt returns the member with a peer URL; nil where there is none.
func memberAt(ctx context.Context, client clientv3.Cluster, peer string) (*etcdserverpb.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	list, err := client.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing members: %w", classified(err))
	}
	for _, member := range list.Members {
		if slices.Contains(member.PeerURLs, peer) {
			return member, nil
		}
	}
	return nil, nil
}

// changeMembers makes one change of etcd's members, again while etcd is not ready for it.
func changeMembers(ctx context.Context, change func(context.Context) error) error {
	backoff := retry.WithMaxDuration(membershipPatience, retry.NewConstant(time.Second))
	return retry.Do(ctx, backoff, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		err := change(ctx)
		switch {
		case err == nil, errors.Is(err, rpctypes.ErrMemberNotFound), errors.Is(err, rpctypes.ErrPeerURLExist):
			return nil // an earlier attempt, whose answer got lost
		case errors.Is(err, rpctypes.ErrUnhealthy), errors.Is(err, rpctypes.ErrMemberNotEnoughStarted),
			errclass.IsTransient(err):
			return retry.RetryableError(err)
		}
		return err
	})
}
