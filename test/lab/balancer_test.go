package lab

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/poll"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// fakeInterface is a machine's interface in memory.
type fakeInterface struct {
	sync.Mutex
	has []netip.Addr
}

func (f *fakeInterface) list(context.Context) ([]netip.Addr, error) {
	f.Lock()
	defer f.Unlock()
	return slices.Clone(f.has), nil
}

func (f *fakeInterface) change(_ context.Context, remove, add []netip.Addr) error {
	f.Lock()
	defer f.Unlock()
	f.has = append(slices.DeleteFunc(f.has, func(a netip.Addr) bool { return slices.Contains(remove, a) }), add...)
	slices.SortFunc(f.has, netip.Addr.Compare)
	return nil
}

// reboot loses all addresses but the machine's own.
func (f *fakeInterface) reboot() {
	f.Lock()
	defer f.Unlock()
	f.has = []netip.Addr{netip.MustParseAddr("10.9.9.9")}
}

// balancing runs a balancer over the Services until the test ends.
func balancing(t *testing.T, services ...*corev1.Service) (*fake.Clientset, *fakeInterface) {
	t.Helper()
	client := fake.NewClientset()
	for _, s := range services {
		_, err := client.CoreV1().Services(s.Namespace).Create(t.Context(), s, metav1.CreateOptions{})
		assert.NilError(t, err)
	}
	machine := &fakeInterface{}
	machine.reboot()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- runBalancer(ctx, &balancer{pool: smallPool(), client: client, machine: machine, logf: t.Logf})
	}()
	t.Cleanup(func() {
		cancel()
		assert.NilError(t, <-ended)
	})
	return client, machine
}

// becomes waits until the machine has these addresses beside its own and the
// Services show theirs.
func becomes(t *testing.T, client *fake.Clientset, machine *fakeInterface, shown map[string]string) {
	t.Helper()
	poll.WaitOn(t, func(poll.LogT) poll.Result {
		list, err := client.CoreV1().Services("n").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return poll.Error(err)
		}
		wanted := []string{"10.9.9.9"}
		for _, s := range list.Items {
			got := ""
			for _, ingress := range s.Status.LoadBalancer.Ingress {
				got += ingress.IP
			}
			if got != shown[s.Name] {
				return poll.Continue("Service %s shows %q, not %q", s.Name, got, shown[s.Name])
			}
			if got != "" {
				wanted = append(wanted, got)
			}
		}
		slices.Sort(wanted)
		var has []string
		addresses, _ := machine.list(t.Context())
		for _, a := range addresses {
			has = append(has, a.String())
		}
		if !slices.Equal(has, wanted) {
			return poll.Continue("the machine has %v, not %v", has, wanted)
		}
		return poll.Success()
	}, poll.WithTimeout(time.Minute), poll.WithDelay(10*time.Millisecond))
}

func TestLoadBalancerServiceGetsAnAddressOfTheMachine(t *testing.T) {
	client, machine := balancing(t, balancedService("a", 1))
	becomes(t, client, machine, map[string]string{"a": "10.0.0.1"})

	_, err := client.CoreV1().Services("n").Create(t.Context(), balancedService("b", 2), metav1.CreateOptions{})
	assert.NilError(t, err)
	becomes(t, client, machine, map[string]string{"a": "10.0.0.1", "b": "10.0.0.2"})
}

func TestDeletedServiceReleasesItsAddress(t *testing.T) {
	client, machine := balancing(t, balancedService("a", 1), balancedService("b", 2))
	becomes(t, client, machine, map[string]string{"a": "10.0.0.1", "b": "10.0.0.2"})

	assert.NilError(t, client.CoreV1().Services("n").Delete(t.Context(), "a", metav1.DeleteOptions{}))
	becomes(t, client, machine, map[string]string{"b": "10.0.0.2"})
}

func TestServiceOfAnotherTypeLosesItsAddress(t *testing.T) {
	client, machine := balancing(t, balancedService("a", 1))
	becomes(t, client, machine, map[string]string{"a": "10.0.0.1"})

	s, err := client.CoreV1().Services("n").Get(t.Context(), "a", metav1.GetOptions{})
	assert.NilError(t, err)
	s.Spec.Type = corev1.ServiceTypeNodePort
	_, err = client.CoreV1().Services("n").Update(t.Context(), s, metav1.UpdateOptions{})
	assert.NilError(t, err)
	becomes(t, client, machine, map[string]string{})
}

func TestARebootedMachineGetsItsAddressesAgain(t *testing.T) {
	client, machine := balancing(t, balancedService("a", 1))
	becomes(t, client, machine, map[string]string{"a": "10.0.0.1"})

	machine.reboot()
	becomes(t, client, machine, map[string]string{"a": "10.0.0.1"})
}
