package upgrade

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	coordination "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/operation"
)

// The Lease, in the cluster that is upgraded, by which rollouts exclude each other, from any namespace or terminal. It
// is kept between two machines, and expires when it is not renewed. client-go's leader election does not fit: it waits
// a whole lease duration for each Lease that it finds, also for one that expired long ago, and it ends its work when it
// loses the Lease, which would leave a machine half upgraded.
const (
	leaseName   = "argosy-upgrade"
	leaseLife   = 60 * time.Second
	leaseRenews = 15 * time.Second
	leaseAsks   = time.Second
)

// lease is held while machines of the rollout are at work in this process.
type lease struct {
	mu      sync.Mutex
	holders int
	stop    context.CancelFunc
	ended   chan struct{}
}

// holdLease takes the Lease for one machine and keeps it until the returned function is called. While another rollout
// has it, it waits.
func (u *Upgrader) holdLease(ctx context.Context, progress operation.Progress) (release func(), err error) {
	for {
		release, err := u.tryLease(ctx)
		var taken errTaken
		if !errors.As(err, &taken) {
			return release, err
		}
		operation.Reportf(progress, "%s", taken.Error())
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(leaseAsks):
		}
	}
}

// errTaken: another rollout, of that name, has the Lease.
type errTaken string

func (e errTaken) Error() string {
	return fmt.Sprintf("waiting for rollout %s, which upgrades machines of this cluster; if it was killed, until its "+
		"Lease expires after %s", string(e), leaseLife)
}

func (u *Upgrader) tryLease(ctx context.Context) (release func(), err error) {
	u.lease.mu.Lock()
	defer u.lease.mu.Unlock()
	if u.lease.holders == 0 {
		if err := u.retrying(ctx, operation.NoProgress{}, u.acquire); err != nil {
			return nil, err
		}
		renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
		u.lease.stop, u.lease.ended = stop, make(chan struct{})
		go u.renew(renewing, u.lease.ended)
	}
	u.lease.holders++
	return sync.OnceFunc(u.release), nil
}

func (u *Upgrader) release() {
	u.lease.mu.Lock()
	defer u.lease.mu.Unlock()
	if u.lease.holders--; u.lease.holders == 0 {
		u.lease.stop()
		<-u.lease.ended
	}
}

// renew keeps the Lease. Where it can't for a while, another rollout may take it; that one then counts the nodes of
// this one's machines as unavailable.
func (u *Upgrader) renew(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(leaseRenews):
		}
		_ = u.acquire(ctx)
	}
}

// acquire takes the Lease, or renews it. It is an error while another rollout has it.
func (u *Upgrader) acquire(ctx context.Context) error {
	leases := u.Target.Client.CoordinationV1().Leases(metav1.NamespaceSystem)
	held, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
	now := metav1.NowMicro()
	seconds := int32(leaseLife / time.Second)
	switch {
	case apierrors.IsNotFound(err):
		_, err = leases.Create(ctx, &coordination.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: leaseName},
			Spec: coordination.LeaseSpec{
				HolderIdentity: &u.Rollout, LeaseDurationSeconds: &seconds,
				AcquireTime: &now, RenewTime: &now,
			},
		}, metav1.CreateOptions{FieldManager: apply.Manager})
	case err != nil:
	case heldByOther(held, u.Rollout, now.Time):
		return errTaken(*held.Spec.HolderIdentity)
	default:
		held.Spec.HolderIdentity, held.Spec.LeaseDurationSeconds, held.Spec.RenewTime = &u.Rollout, &seconds, &now
		_, err = leases.Update(ctx, held, metav1.UpdateOptions{FieldManager: apply.Manager})
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return errTaken("that has just begun")
	}
	if err != nil {
		return fmt.Errorf("taking Lease %s/%s: %w", metav1.NamespaceSystem, leaseName, apply.Classify(err))
	}
	return nil
}

func heldByOther(held *coordination.Lease, own string, now time.Time) bool {
	holder, renewed := held.Spec.HolderIdentity, held.Spec.RenewTime
	if holder == nil || *holder == "" || *holder == own || renewed == nil {
		return false
	}
	return now.Sub(renewed.Time) < leaseLife
}

// waitIdle waits until no machine is at work in this process.
func (u *Upgrader) waitIdle(ctx context.Context, progress operation.Progress) error {
	for {
		u.lease.mu.Lock()
		holders := u.lease.holders
		u.lease.mu.Unlock()
		if holders == 0 {
			return nil
		}
		operation.Reportf(progress, "waiting for %s at work", count.Of(holders, "machine"))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(leaseAsks):
		}
	}
}

// otherRollout returns the rollout that is at work on the cluster, if it is not this one; "" when none is.
func (u *Upgrader) otherRollout(ctx context.Context) (other string, err error) {
	err = u.retrying(ctx, operation.NoProgress{}, func(ctx context.Context) error {
		held, err := u.Target.Client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, leaseName,
			metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading Lease %s/%s: %w", metav1.NamespaceSystem, leaseName, apply.Classify(err))
		}
		if heldByOther(held, u.Rollout, time.Now()) {
			other = *held.Spec.HolderIdentity
		}
		return nil
	})
	return other, err
}

// deleteLease releases the Lease at the end of a rollout.
func (u *Upgrader) deleteLease(ctx context.Context) error {
	leases := u.Target.Client.CoordinationV1().Leases(metav1.NamespaceSystem)
	held, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil && held.Spec.HolderIdentity != nil && *held.Spec.HolderIdentity == u.Rollout {
		err = leases.Delete(ctx, leaseName,
			metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &held.ResourceVersion}})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("releasing Lease %s/%s: %w", metav1.NamespaceSystem, leaseName, apply.Classify(err))
	}
	return nil
}
