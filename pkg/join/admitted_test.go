package join_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// fleetInKubeadm are machines that join at once; it counts those that ask the API server.
type fleetInKubeadm struct {
	mu     sync.Mutex
	inside int
	// most were inside before the first was let out: after that, more are admitted.
	most    int
	out     bool
	release chan struct{}
	// full is closed by filled, when ten are inside.
	full   chan struct{}
	filled func()
}

func (f *fleetInKubeadm) machines(t *testing.T, joiner func() *join.Joiner, many int) []*fakeMachine {
	t.Helper()
	machines := make([]*fakeMachine, many)
	for i := range machines {
		machine := &fakeMachine{
			plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, result: succeeded(),
			arrives: make(chan struct{}), waits: make(chan struct{}),
		}
		machine.inKubeadm = func(op spec.Operation) {
			f.mu.Lock()
			f.inside++
			if f.inside == 10 && !f.out {
				f.filled()
			}
			if !f.out {
				f.most = max(f.most, f.inside)
			}
			f.mu.Unlock()
			<-f.release
			_, err := joiner().Target.Client.CoreV1().Nodes().Create(t.Context(),
				readyNode(op.Join.NodeName, corev1.ConditionTrue), metav1.CreateOptions{})
			assert.Check(t, err)
			f.mu.Lock()
			f.inside--
			f.mu.Unlock()
		}
		machines[i] = machine
	}
	return machines
}

// joinFleet joins machines with that concurrency, and lets the first ten out of kubeadm once all others have received
// their bundle and wait.
func joinFleet(t *testing.T, many, concurrency int) (*fleetInKubeadm, []*fakeMachine, map[string]bool) {
	t.Helper()
	fleet := &fleetInKubeadm{release: make(chan struct{}), full: make(chan struct{})}
	fleet.filled = sync.OnceFunc(func() { close(fleet.full) })
	var joiner *join.Joiner
	machines := fleet.machines(t, func() *join.Joiner { return joiner }, many)
	joiner = newManyJoiner(t, newClient(), machines)
	limiter := operation.NewLimiter(concurrency)
	told, waiting := map[string]bool{}, map[string]bool{}
	var released sync.Once
	if concurrency <= 10 {
		close(fleet.release)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, machine := range joiner.Cluster.Fleet.Machines {
		all.Go(func() {
			_, err := joiner.Join(t.Context(), machine, limiter, operation.AsText(func(text string) {
				mu.Lock()
				defer mu.Unlock()
				if _, why, found := strings.Cut(text, "waiting for the API server: "); found {
					told[why] = true
					waiting[machine.Name] = true
				}
				everyone := fmt.Sprintf("10 of %d machines", many)
				if len(waiting) >= many-10 && strings.Contains(text, everyone) {
					released.Do(func() {
						all.Go(func() {
							<-fleet.full
							fleet.mu.Lock()
							fleet.out = true
							fleet.mu.Unlock()
							close(fleet.release)
						})
					})
				}
			}))
			assert.Check(t, err)
		})
	}
	all.Wait()
	return fleet, machines, told
}

func TestJoinsWaitForTheAPIServerWithTheirBundlesReceived(t *testing.T) {
	const many = 25
	fleet, machines, told := joinFleet(t, many, many)
	assert.Assert(t, fleet.most > 0 && fleet.most <= 10, "%d were inside", fleet.most)
	for _, machine := range machines {
		assert.Equal(t, len(machine.pushed), 1)
		assert.Equal(t, machine.admitted, 1)
		assert.Assert(t, machine.started[0].Admission)
	}
	found := false
	for why := range told {
		found = found || strings.HasPrefix(why, "10 of 25 machines join at once, because more are admitted as")
	}
	assert.Assert(t, found, "%v", told)
}

func TestFewJoinsAtOnceAskForNoAdmission(t *testing.T) {
	_, machines, told := joinFleet(t, 12, 10)
	for _, machine := range machines {
		assert.Assert(t, !machine.started[0].Admission && machine.admitted == 0)
	}
	assert.Equal(t, len(told), 0)
}

func TestAnAdmissionIsNoPartOfAnOperationsIdentity(t *testing.T) {
	op := spec.Operation{Kind: spec.KindJoin, Machine: "m1", Join: &spec.Join{}}
	before, err := operation.Identify(op)
	assert.NilError(t, err)
	op.Admission = true
	after, err := operation.Identify(op)
	assert.NilError(t, err)
	assert.Equal(t, before, after)
}

// A machine whose bundle took long has a token that is about to end when it may join.
func TestTheTokenOfAJoinThatWaitedIsRenewed(t *testing.T) {
	for _, renews := range []bool{true, false} {
		client := newClient()
		machine := &fakeMachine{
			plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, result: succeeded(), waits: make(chan struct{}),
		}
		if renews {
			machine.working = 10 * time.Minute
		}
		renewed := false
		machine.inKubeadm = func(op spec.Operation) {
			_, renewed = tokens(t, client)[0].Data["expiration"]
			_, err := client.CoreV1().Nodes().Create(t.Context(), readyNode("m1", corev1.ConditionTrue),
				metav1.CreateOptions{})
			assert.Check(t, err)
		}
		joiner := newJoiner(t, machine, client)
		_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(50), operation.NoProgress{})
		assert.NilError(t, err)
		assert.Equal(t, renewed, renews)
	}
}
