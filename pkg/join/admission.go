package join

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/restconfig"
	"argosy.dev/argosy/pkg/node/spec"
)

const (
	// firstAdmitted is how many machines run kubeadm join at a time before the API server has shown that it takes more.
	// Where no more than that may be at work, they do not ask.
	firstAdmitted = 10
	// mostAdmitted is how many do at most; 300 at once broke an API server.
	mostAdmitted = 100
	// slowAnswer is the answer to a request for one object from which on an API server counts as slow: the objective
	// of Kubernetes itself is that 99 of 100 take no longer.
	slowAnswer = time.Second
	// askEvery is the time between two requests by which the server is tested, and admissionTick that after which those
	// that wait look again.
	askEvery      = time.Second
	admissionTick = time.Second
	// signAge is how old a sign of an overload is at most that counts: while no machine waits, none is looked at.
	signAge = 10 * time.Second
	// answerTimeout bounds the wait for an answer, and longestPause a Retry-After.
	answerTimeout = 10 * time.Second
	longestPause  = time.Minute
)

// stillTrying is why no more are admitted before anything has gone wrong.
const stillTrying = "more are admitted as those before them end and it answers within a second"

// answer is the kind of an API server's last answer.
type answer int

const (
	refused answer = iota // or none
	slow
	inTime
)

// apiServer is how the API server answers.
type apiServer interface {
	// ask sends a request for one object, and returns how long the answer took. An answer that refuses the request is
	// one too.
	ask(ctx context.Context) (took time.Duration, err error)
	// overload returns the last sign of an overload in any answer.
	overload() restconfig.Overload
}

// admission lets a bounded number of machines at a time into the phase that asks the API server, in the order in which
// they ask. The bound follows that server's answers, as TCP's window follows the network:
//
//	seen                                      the bound
//	a machine joined while others wait        grows by 1 for as many machines as it has places
//	429, 503, 504, no answer                  is halved, and no machine is admitted before Retry-After is over
//	an answer that took over a second         is halved, and none is admitted by this answer unless none is inside
//	either, while more are inside than it     stays: those that were admitted before it was halved are the cause
//
// It is never below 1. A machine whose operation asks the server already, as after the plugin was restarted, enters at
// once, also over the bound.
type admission struct {
	mu sync.Mutex
	// bound is 0 until it is first used.
	bound   float64
	inside  int
	waiting []chan struct{}
	// closed is until when no machine is admitted.
	closed time.Time
	// why the bound is not higher, and whole how high it was before that.
	why   string
	whole float64
	// halved is when the bound was halved last, and counted the time of the last sign that it was looked at for.
	halved, counted time.Time
	// asked is when the server was asked last, and last its answer.
	asked time.Time
	last  answer
}

// enter waits until the machine may ask the server, and returns the function to call when it no longer does; joined
// tells whether it has its credentials. waiting is called with the reason each time that it is not admitted, at least
// every admissionTick.
func (a *admission) enter(ctx context.Context, server apiServer, waiting func(why string)) (leave func(joined bool),
	err error,
) {
	turn := a.queue()
	defer a.unqueue(turn)
	for {
		why := a.admit(ctx, server, turn)
		if why == "" {
			return a.leaver(), nil
		}
		waiting(why)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-turn:
		case <-time.After(admissionTick):
		}
	}
}

// enterRunning enters without waiting.
func (a *admission) enterRunning() (leave func(joined bool)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begin()
	a.inside++
	return a.leaver()
}

func (a *admission) begin() {
	if a.bound == 0 {
		a.bound, a.why = firstAdmitted, stillTrying
	}
}

func (a *admission) queue() chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begin()
	turn := make(chan struct{}, 1)
	a.waiting = append(a.waiting, turn)
	return turn
}

func (a *admission) unqueue(turn chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = slices.DeleteFunc(a.waiting, func(other chan struct{}) bool { return other == turn })
	a.wake()
}

// wake has the first machine that waits look again; the caller holds the lock.
func (a *admission) wake() {
	if len(a.waiting) == 0 {
		return
	}
	select {
	case a.waiting[0] <- struct{}{}:
	default:
	}
}

// admit lets the machine in whose turn it is, or returns why not. While machines wait, the first of them has the server
// asked once in askEvery, also where there is no room: its answers then are those of a server that is at work.
func (a *admission) admit(ctx context.Context, server apiServer, turn chan struct{}) (why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count(server.overload())
	if now := time.Now(); a.waiting[0] == turn && !now.Before(a.closed) && now.Sub(a.asked) >= askEvery {
		a.asked = now
		a.mu.Unlock()
		took, err := a.ask(ctx, server)
		a.mu.Lock()
		a.judge(took, err, server.overload())
	}
	if a.waiting[0] != turn || a.inside >= int(a.bound) || time.Now().Before(a.closed) || !a.answers() {
		return a.text()
	}
	a.inside++
	return ""
}

// answers reports whether a machine may be admitted by the last answer. One after another is by a slow one, too.
func (a *admission) answers() bool {
	return a.last == inTime || a.last == slow && a.inside == 0
}

func (a *admission) ask(ctx context.Context, server apiServer) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return server.ask(ctx)
}

// judge takes the answer to a request.
func (a *admission) judge(took time.Duration, err error, noted restconfig.Overload) {
	switch {
	case noted.At.After(a.counted):
		a.count(noted)
	case err != nil:
		a.overloaded(restconfig.Overload{Reason: fmt.Sprintf("it did not answer: %v", err)}, refused)
	case took > slowAnswer:
		a.overloaded(restconfig.Overload{
			Reason: fmt.Sprintf("an answer took %s", took.Round(100*time.Millisecond)),
		}, slow)
	default:
		a.last = inTime
	}
}

// count takes a sign of an overload in any answer, once.
func (a *admission) count(sign restconfig.Overload) {
	if !sign.At.After(a.counted) {
		return
	}
	a.counted = sign.At
	if time.Since(sign.At) <= signAge {
		a.overloaded(sign, refused)
	}
}

func (a *admission) overloaded(sign restconfig.Overload, last answer) {
	now := time.Now()
	a.last = last
	if until := now.Add(min(sign.RetryAfter, longestPause)); until.After(a.closed) {
		a.closed = until
	}
	a.why = sign.Reason
	if a.inside > int(a.bound) {
		return
	}
	a.whole = max(a.whole, a.bound)
	a.bound = max(1, min(a.bound, float64(max(a.inside, 1)))/2)
	a.halved = now
}

func (a *admission) leaver() func(joined bool) {
	entered := time.Now()
	var once sync.Once
	return func(joined bool) {
		once.Do(func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.inside--
			if joined && entered.After(a.halved) && len(a.waiting) > 0 {
				a.bound = min(mostAdmitted, a.bound+1/a.bound)
			}
			if a.bound >= a.whole {
				a.why, a.whole = stillTrying, 0
			}
			a.wake()
		})
	}
}

func (a *admission) text() string {
	if a.inside+len(a.waiting) <= int(a.bound) {
		return "waiting for the API server: the first machine asks whether it answers"
	}
	return fmt.Sprintf("waiting for the API server: %d of %d machines join at once, because %s", int(a.bound),
		a.inside+len(a.waiting), a.why)
}

// place is that of one machine in the admission.
type place struct {
	admission *admission
	mu        sync.Mutex
	left      bool
	leaves    func(joined bool)
}

func (p *place) take(leaves func(joined bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left {
		leaves(false)
		return
	}
	p.leaves = leaves
}

// enterRunning takes the place of a machine that asks the server already, where it has none yet.
func (p *place) enterRunning() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leaves == nil && !p.left {
		p.leaves = p.admission.enterRunning()
	}
}

func (p *place) leave(joined bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = true
	if p.leaves != nil {
		p.leaves(joined)
	}
}

// answering is the API server of a Target.
type answering struct{ *Target }

// ask reads the ConfigMap that every join reads too.
func (s answering) ask(ctx context.Context) (took time.Duration, err error) {
	began := time.Now()
	_, err = s.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(restconfig.WithTook(ctx, &took),
		kubeletConfigMap, metav1.GetOptions{})
	if took == 0 {
		took = time.Since(began)
	}
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		err = nil
	}
	return took, err
}

func (s answering) overload() restconfig.Overload {
	if s.Answers == nil {
		return restconfig.Overload{}
	}
	return s.Answers.Last()
}

// admit waits until the operation, which has the status, may ask the API server, and tells that to its machine. While
// it waits, its token is kept valid.
func (j *Joiner) admit(ctx context.Context, found Inspection, at *place, status spec.Status,
	show func(spec.Status),
) error {
	began, renewed := time.Now(), -status.Updated.Sub(status.Started)
	renew := func() {
		if waited := time.Since(began); waited-renewed > tokenRenewal {
			renewed = waited
			// Where that is refused, the token lasts as it was made.
			_ = renewTokens(ctx, j.Target.Client, found.machine.Name, time.Now().Add(tokenLife(found.Operation)))
		}
	}
	leave, err := j.admission.enter(ctx, answering{j.Target}, func(why string) {
		if why != status.Message {
			status.Message = why
			show(status)
		}
		renew()
	})
	if err != nil {
		return fmt.Errorf("waiting to be admitted to the API server: %w", err)
	}
	at.take(leave)
	renew()
	if err := found.remote.Admit(ctx, found.Operation.ID); err != nil {
		return fmt.Errorf("admitting machine %q to the API server: %w", found.machine.Name, err)
	}
	return nil
}
