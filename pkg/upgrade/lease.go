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
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
)

// The Lease, in the cluster that is upgraded, by which rollouts exclude each other, from any namespace or terminal. It
// is kept between two machines, and expires when it is not renewed. client-go's leader election does not fit: it ends
// its work when it loses the Lease, which would leave a machine half upgraded.
const (
	leaseName   = "argosy-upgrade"
	leaseLife   = 60 * time.Second
	leaseRenews = 15 * time.Second
	leaseAsks   = time.Second
)

// lease is held while machines of the rollout are at work in this process, or wait for their turn.
type lease struct {
	mu      sync.Mutex
	holders int
	stop    context.CancelFunc
	ended   chan struct{}

	heldMu sync.Mutex
	held   held
	// seen is the Lease of another rollout, as this process observes it.
	seen observation
	// renews is how often the Lease is renewed; 0 for leaseRenews.
	renews time.Duration
}

// held is whether this process has the Lease.
type held struct {
	// renewed is when it asked for the Lease the last time that it got it.
	renewed time.Time
	// why it has not got it since then; nil where it has.
	why error
}

// observation is a Lease that does not change. Whether one has expired is decided by how long this process has seen it
// unchanged, and not by the time in it, which another computer's clock wrote.
type observation struct {
	holder, renewed string
	since           time.Time
}

// age returns for how long the Lease has been seen as it is now.
func (o *observation) age(lease *coordination.Lease) time.Duration {
	holder, renewed := holderOf(lease), ""
	if lease.Spec.RenewTime != nil {
		renewed = lease.Spec.RenewTime.UTC().Format(time.RFC3339Nano)
	}
	if o.since.IsZero() || o.holder != holder || o.renewed != renewed {
		*o = observation{holder: holder, renewed: renewed, since: time.Now()}
	}
	return time.Since(o.since)
}

func holderOf(lease *coordination.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// leases is the client of the Lease: of its own, so that no other request delays a renewal.
func (u *Upgrader) leases() coordinationclient.LeaseInterface {
	if u.Leases != nil {
		return u.Leases.Leases(metav1.NamespaceSystem)
	}
	return u.Target.Client.CoordinationV1().Leases(metav1.NamespaceSystem)
}

// holdLease takes the Lease for one machine and keeps it until the returned function is called. While another rollout
// has it, it waits.
func (u *Upgrader) holdLease(ctx context.Context, progress operation.Progress) (release func(), err error) {
	last := ""
	for {
		release, err := u.tryLease(ctx)
		var wait errWait
		if !errors.As(err, &wait) {
			return release, err
		}
		if wait.Error() != last {
			last = wait.Error()
			operation.ReportWait(progress, "%s", last)
		}
		if err := pause(ctx, leaseAsks); err != nil {
			return nil, err
		}
	}
}

// awaitLease waits until this process has the Lease again that it holds for a machine, where it lost it.
func (u *Upgrader) awaitLease(ctx context.Context, progress operation.Progress) error {
	return await(ctx, progress, func() (why, err error) { return u.lost(), nil })
}

// await asks until there is no reason why to wait, or an error, and reports each new reason.
func await(ctx context.Context, progress operation.Progress, ask func() (why, err error)) error {
	last := ""
	for {
		why, err := ask()
		if why == nil || err != nil {
			return err
		}
		if why.Error() != last {
			last = why.Error()
			operation.ReportWait(progress, "%s", last)
		}
		if err := pause(ctx, leaseAsks); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, span time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(span):
		return nil
	}
}

// errWait is why the Lease can't be had now, in a sentence.
type errWait string

func (e errWait) Error() string { return string(e) }

func takenBy(rollout string) errWait {
	return errWait(fmt.Sprintf("waiting for rollout %s, which upgrades machines of this cluster; if it was killed, "+
		"until its Lease expires after %s", rollout, leaseLife))
}

const errJustTaken = errWait("waiting for a rollout that has just begun to upgrade machines of this cluster")

func (u *Upgrader) tryLease(ctx context.Context) (release func(), err error) {
	u.lease.mu.Lock()
	defer u.lease.mu.Unlock()
	if u.lease.holders == 0 {
		if err := u.retrying(ctx, operation.NoProgress{}, u.take); err != nil {
			return nil, err
		}
		renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
		u.lease.stop, u.lease.ended = stop, make(chan struct{})
		go u.renew(renewing, u.lease.ended)
	} else if why := u.lost(); why != nil {
		return nil, why
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

// renew keeps the Lease. Where it can't, no machine begins until it has the Lease again.
func (u *Upgrader) renew(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	every := u.lease.renews
	if every == 0 {
		every = leaseRenews
	}
	for {
		wait := every
		if u.lost() != nil {
			wait = leaseAsks
		}
		if pause(ctx, wait) != nil {
			return
		}
		asking, cancel := context.WithTimeout(ctx, leaseRenews)
		_ = u.take(asking) // it is noted
		cancel()
	}
}

// lost returns why this process has not got the Lease, as an errWait; nil while it has.
func (u *Upgrader) lost() error {
	l := &u.lease
	l.heldMu.Lock()
	defer l.heldMu.Unlock()
	var wait errWait
	switch {
	case errors.As(l.held.why, &wait):
		return wait
	case time.Since(l.held.renewed) < leaseLife:
		return nil
	case l.held.why != nil:
		return errWait(fmt.Sprintf("no machine begins until the Lease can be renewed: %v", l.held.why))
	}
	return errWait("no machine begins until the Lease is renewed")
}

// take takes the Lease, or renews it, and notes whether this process has it.
func (u *Upgrader) take(ctx context.Context) error {
	began := time.Now()
	err := u.acquire(ctx)
	u.lease.heldMu.Lock()
	defer u.lease.heldMu.Unlock()
	if u.lease.held.why = err; err == nil {
		u.lease.held.renewed = began
	}
	return err
}

// acquire takes the Lease, or renews it. It is an errWait while another rollout has it.
func (u *Upgrader) acquire(ctx context.Context) error {
	found, err := u.leases().Get(ctx, leaseName, metav1.GetOptions{})
	now := metav1.NowMicro()
	seconds := int32(leaseLife / time.Second)
	switch {
	case apierrors.IsNotFound(err):
		_, err = u.leases().Create(ctx, &coordination.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: leaseName},
			Spec: coordination.LeaseSpec{
				HolderIdentity: &u.Rollout, LeaseDurationSeconds: &seconds,
				AcquireTime: &now, RenewTime: &now,
			},
		}, metav1.CreateOptions{FieldManager: apply.Manager})
	case err != nil:
	case u.heldByOther(found):
		return takenBy(holderOf(found))
	default:
		if holderOf(found) != u.Rollout {
			found.Spec.AcquireTime = &now
			delete(found.Annotations, requestAnnotation)
		}
		found.Spec.HolderIdentity, found.Spec.LeaseDurationSeconds, found.Spec.RenewTime = &u.Rollout, &seconds, &now
		_, err = u.leases().Update(ctx, found, metav1.UpdateOptions{FieldManager: apply.Manager})
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return errJustTaken
	}
	if err != nil {
		return fmt.Errorf("taking Lease %s/%s: %w", metav1.NamespaceSystem, leaseName, apply.Classify(err))
	}
	return nil
}

// heldByOther reports whether another rollout has the Lease, and may renew it.
func (u *Upgrader) heldByOther(found *coordination.Lease) bool {
	if holder := holderOf(found); holder == "" || holder == u.Rollout {
		return false
	}
	u.lease.heldMu.Lock()
	defer u.lease.heldMu.Unlock()
	return u.lease.seen.age(found) < leaseLife
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
		operation.ReportWait(progress, "waiting for %s at work", count.Of(holders, "machine"))
		if err := pause(ctx, leaseAsks); err != nil {
			return err
		}
	}
}

// otherRollout returns the rollout that is at work on the cluster, if it is not this one; "" when none is. It waits
// until the Lease of another one is renewed, or has expired.
func (u *Upgrader) otherRollout(ctx context.Context, progress operation.Progress) (string, error) {
	first := ""
	for {
		var found *coordination.Lease
		err := u.retrying(ctx, operation.NoProgress{}, func(ctx context.Context) (err error) {
			found, err = u.leases().Get(ctx, leaseName, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				found, err = &coordination.Lease{}, nil
			}
			if err != nil {
				err = fmt.Errorf("reading Lease %s/%s: %w", metav1.NamespaceSystem, leaseName, apply.Classify(err))
			}
			return err
		})
		if err != nil {
			return "", err
		}
		if !u.heldByOther(found) {
			return "", nil
		}
		renewed := u.renewedBy(holderOf(found))
		switch {
		case first == "":
			first = renewed
			operation.ReportWait(progress, "waiting whether rollout %s renews its Lease, which expires after %s",
				holderOf(found), leaseLife)
		case renewed != first:
			return holderOf(found), nil
		}
		if err := pause(ctx, leaseAsks); err != nil {
			return "", err
		}
	}
}

// renewedBy returns by whom and when the Lease was renewed, as this process saw it last.
func (u *Upgrader) renewedBy(holder string) string {
	u.lease.heldMu.Lock()
	defer u.lease.heldMu.Unlock()
	return holder + " " + u.lease.seen.renewed
}

// deleteLease releases the Lease at the end of a rollout.
func (u *Upgrader) deleteLease(ctx context.Context) error {
	found, err := u.leases().Get(ctx, leaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil && holderOf(found) == u.Rollout {
		err = u.leases().Delete(ctx, leaseName,
			metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &found.ResourceVersion}})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("releasing Lease %s/%s: %w", metav1.NamespaceSystem, leaseName, apply.Classify(err))
	}
	return nil
}

// End releases the Lease, and deletes the record, at the end of a rollout. Where it fails, the Lease expires.
func (u *Upgrader) End(ctx context.Context) error {
	return errors.Join(u.deleteLease(ctx), u.deleteRecord(ctx))
}

func transient(err error) error { return errclass.With(errclass.Transient, err) }
