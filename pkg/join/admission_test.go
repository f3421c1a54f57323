package join

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/restconfig"
)

// loadedServer is an API server that has more to do than it can from a number of machines on that join at once, and
// breaks at half as many again: from then on it answers nothing.
type loadedServer struct {
	// takes is how many it takes; beyond, overloaded answers. holds is how many break it.
	takes, holds int
	overloaded   func(s *loadedServer) (time.Duration, error)

	mu     sync.Mutex
	inside int
	most   int
	broken bool
	sign   restconfig.Overload
}

// How a server answers that has too much to do.
var overloads = map[string]func(s *loadedServer) (time.Duration, error){
	"it is slow": func(*loadedServer) (time.Duration, error) { return 1400 * time.Millisecond, nil },
	"it refuses": func(*loadedServer) (time.Duration, error) { return 0, errors.New("connection refused") },
	"it answers 429": func(s *loadedServer) (time.Duration, error) {
		s.sign = restconfig.Overload{
			At: time.Now(), Reason: "it answered 429 Too Many Requests", RetryAfter: 3 * time.Second,
		}
		return 0, errors.New("too many requests")
	},
}

func (s *loadedServer) ask(context.Context) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.broken:
		return 0, errors.New("connection refused")
	case s.inside > s.takes:
		return s.overloaded(s)
	}
	return 20 * time.Millisecond, nil
}

func (s *loadedServer) overload() restconfig.Overload {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sign
}

// join is the time of a machine in kubeadm join; it fails where the server broke.
func (s *loadedServer) join() error {
	s.mu.Lock()
	s.inside++
	s.most = max(s.most, s.inside)
	s.broken = s.broken || s.inside >= s.holds
	s.mu.Unlock()
	time.Sleep(5 * time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside--
	if s.broken {
		return errors.New("timed out waiting for the API server")
	}
	return nil
}

// joinAll has machines join at once, each after enter, and returns how many did and the reasons for which they waited.
func joinAll(machines int, enter func(waiting func(string)) func(bool), server *loadedServer) (joined int,
	reasons map[string]bool,
) {
	var all sync.WaitGroup
	var mu sync.Mutex
	reasons = map[string]bool{}
	for range machines {
		all.Go(func() {
			leave := enter(func(why string) {
				mu.Lock()
				defer mu.Unlock()
				_, reason, _ := strings.Cut(why, "because ")
				reasons[reason] = true
			})
			err := server.join()
			leave(err == nil)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				joined++
			}
		})
	}
	all.Wait()
	return joined, reasons
}

func TestManyJoinsBreakNoAPIServerWithAdmission(t *testing.T) {
	const machines = 300
	for name, overloaded := range overloads {
		for _, takes := range []int{8, 12, 16} {
			t.Run(fmt.Sprintf("%s beyond %d", name, takes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					server := &loadedServer{takes: takes, holds: takes * 3 / 2, overloaded: overloaded}
					var a admission
					// A broken server admits nothing: the test has to end all the same.
					limited, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
					defer cancel()
					joined, reasons := joinAll(machines, func(waiting func(string)) func(bool) {
						leave, err := a.enter(limited, server, waiting)
						if err != nil {
							return func(bool) {}
						}
						return leave
					}, server)
					assert.Assert(t, !server.broken, "%d at once", server.most)
					assert.Equal(t, joined, machines)
					assert.Assert(t, server.most > takes, "the server was never asked for more than it takes: %d",
						server.most)
					assert.Assert(t, reasons[stillTrying] && len(reasons) > 1, "%v", reasons)

					free := &loadedServer{takes: takes, holds: takes * 3 / 2, overloaded: overloaded}
					joined, _ = joinAll(machines, func(func(string)) func(bool) { return func(bool) {} }, free)
					assert.Assert(t, free.broken && joined == 0, "without the admission it has to break")
				})
			})
		}
	}
}

func TestAWaitingJoinTellsHowManyAreAdmittedAndWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &loadedServer{takes: 1000, holds: 1000}
		var a admission
		var leaves []func(bool)
		for range firstAdmitted {
			leave, err := a.enter(t.Context(), server, func(string) { t.Error("it has to wait") })
			assert.NilError(t, err)
			leaves = append(leaves, leave)
		}
		ctx, stop := context.WithCancelCause(t.Context())
		why := make(chan string)
		go func() {
			_, err := a.enter(ctx, server, func(text string) {
				select {
				case why <- text:
				case <-ctx.Done():
				}
			})
			assert.Check(t, errors.Is(err, errStopped))
			close(why)
		}()
		tells := func(want string) {
			t.Helper()
			text := ""
			for range 20 {
				if text = strings.TrimPrefix(<-why, "waiting for the API server: "); text == want {
					return
				}
			}
			t.Fatalf("it tells %q", text)
		}
		tells("10 of 11 machines join at once, because more are admitted as those before them end and it answers " +
			"within a second")
		server.mu.Lock()
		server.sign = restconfig.Overload{At: time.Now(), Reason: "it answered 429 Too Many Requests"}
		server.mu.Unlock()
		tells("5 of 11 machines join at once, because it answered 429 Too Many Requests")
		for _, leave := range leaves[:5] {
			leave(true)
		}
		tells("5 of 6 machines join at once, because it answered 429 Too Many Requests")
		stop(errStopped)
		for range why {
		}
		assert.Equal(t, len(a.waiting), 0)
	})
}

var errStopped = errors.New("stopped")

func TestRetryAfterOfTheAPIServerIsHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &loadedServer{takes: 1000, holds: 1000}
		server.sign = restconfig.Overload{At: time.Now(), Reason: "it answered 429", RetryAfter: 20 * time.Second}
		began := time.Now()
		var a admission
		leave, err := a.enter(t.Context(), server, func(string) {})
		assert.NilError(t, err)
		leave(true)
		assert.Assert(t, time.Since(began) >= 20*time.Second)
	})
}

func TestAnOverloadOfLongAgoAdmitsNoFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &loadedServer{takes: 1000, holds: 1000}
		server.sign = restconfig.Overload{At: time.Now(), Reason: "it answered 503", RetryAfter: time.Minute}
		time.Sleep(5 * time.Minute)
		var a admission
		for range firstAdmitted {
			_, err := a.enter(t.Context(), server, func(why string) { t.Error(why) })
			assert.NilError(t, err)
		}
	})
}

func TestOneMachineJoinsAtATimeWhereEveryAnswerIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &loadedServer{takes: -1, holds: 100, overloaded: overloads["it is slow"]}
		var a admission
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				leave, err := a.enter(t.Context(), server, func(string) {})
				assert.Check(t, err)
				assert.Check(t, server.join())
				leave(true)
			})
		}
		all.Wait()
		assert.Equal(t, server.most, 1)
	})
}

func TestAMachineThatAsksTheServerAlreadyCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &loadedServer{takes: 1000, holds: 1000}
		var a admission
		places := make([]place, 15)
		for i := range places {
			places[i].admission = &a
			places[i].enterRunning()
			places[i].enterRunning()
		}
		assert.Equal(t, a.inside, len(places))
		entered := make(chan struct{})
		go func() {
			leave, err := a.enter(t.Context(), server, func(string) {})
			assert.Check(t, err)
			leave(true)
			close(entered)
		}()
		for i := range 6 {
			synctest.Wait()
			select {
			case <-entered:
				t.Fatalf("it was admitted beside %d", len(places)-i)
			default:
			}
			places[i].leave(true)
			places[i].leave(false)
		}
		<-entered
	})
}
