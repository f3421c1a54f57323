package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// balancer is the host cluster's load balancer: it gives each Service of type LoadBalancer an address of its own, which
// it puts on the host machine's interface; there kube-proxy takes packets for it to the Service's pods.
type balancer struct {
	pool     addressPool
	client   kubernetes.Interface
	services corelisters.ServiceLister
	machine  addresses
	logf     func(format string, args ...any)
}

// addresses are those of a machine's interface.
type addresses interface {
	list(ctx context.Context) ([]netip.Addr, error)
	change(ctx context.Context, remove, add []netip.Addr) error
}

// balancerConfig is the kubeconfig that the balancer's process was started with.
func (l *Lab) balancerConfig() string { return filepath.Join(l.state, "balancer.kubeconfig") }

// ensureBalancer starts the balancer for the host cluster of now: one that was
// made again has other keys.
func (l *Lab) ensureBalancer(ctx context.Context) error {
	wanted, err := os.ReadFile(l.KubeconfigPath("host"))
	if err != nil {
		return fmt.Errorf("reading the host cluster's kubeconfig: %w", err)
	}
	had, err := os.ReadFile(l.balancerConfig())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the balancer's kubeconfig: %w", err)
	}
	if string(had) != string(wanted) {
		if err := l.stopDaemon(balancerDaemon); err != nil {
			return err
		}
		if err := os.WriteFile(l.balancerConfig(), wanted, 0o600); err != nil {
			return fmt.Errorf("writing the balancer's kubeconfig: %w", err)
		}
	}
	return l.ensureDaemon(ctx, balancerDaemon, "")
}

// serveBalancer is the balancer's process.
func (l *Lab) serveBalancer(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", l.balancerConfig())
	if err != nil {
		return fmt.Errorf("reading the balancer's kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("opening the host cluster: %w", err)
	}
	host, err := l.Spec("host")
	if err != nil {
		return err
	}
	return runBalancer(ctx, &balancer{pool: balancerPool(), client: client, machine: interfaceOf(host), logf: l.logf})
}

// runBalancer reconciles at each change of a Service and once a second: a reboot
// of the machine loses its addresses without a word.
func runBalancer(ctx context.Context, b *balancer) error {
	factory := informers.NewSharedInformerFactory(b.client, 0)
	services := factory.Core().V1().Services()
	b.services = services.Lister()
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	_, err := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { poke() },
		UpdateFunc: func(any, any) { poke() },
		DeleteFunc: func(any) { poke() },
	})
	if err != nil {
		return fmt.Errorf("watching Services: %w", err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	factory.WaitForCacheSync(ctx.Done())
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-ticker.C:
		}
		if err := b.reconcile(ctx); err != nil && ctx.Err() == nil {
			b.logf("balancing: %v", err)
		}
	}
}

// reconcile makes the machine's addresses and the Services' statuses match. Addresses come first, so that an address in
// a status answers.
func (b *balancer) reconcile(ctx context.Context) error {
	services, err := b.services.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing Services: %w", err)
	}
	granted := b.pool.assign(services)
	if err := b.place(ctx, granted); err != nil {
		return err
	}
	var problems []error
	for _, s := range services {
		problems = append(problems, b.tell(ctx, s, granted[keyOf(s)]))
	}
	return errors.Join(problems...)
}

// place gives the machine the granted addresses and takes the pool's others.
func (b *balancer) place(ctx context.Context, granted map[serviceKey]netip.Addr) error {
	has, err := b.machine.list(ctx)
	if err != nil {
		return err
	}
	wanted := map[netip.Addr]bool{}
	var add, remove []netip.Addr
	for _, a := range granted {
		wanted[a] = true
		if !slices.Contains(has, a) {
			add = append(add, a)
		}
	}
	for _, a := range has {
		if b.pool.contains(a) && !wanted[a] {
			remove = append(remove, a)
		}
	}
	if len(add)+len(remove) == 0 {
		return nil
	}
	return b.machine.change(ctx, remove, add)
}

// tell writes a Service's address into its status, or takes it out there when
// the Service is not the lab's to balance any more.
func (b *balancer) tell(ctx context.Context, s *corev1.Service, granted netip.Addr) error {
	if b.pool.statusAddress(s) == granted {
		return nil
	}
	updated := s.DeepCopy()
	updated.Status.LoadBalancer.Ingress = nil
	if granted.IsValid() {
		updated.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: granted.String()}}
	}
	_, err := b.client.CoreV1().Services(s.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		// The watch is behind; a later event brings the Service here again.
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing the status of Service %q: %w", s.Namespace+"/"+s.Name, err)
	}
	b.logf("Service %s/%s has the addresses %v", s.Namespace, s.Name, updated.Status.LoadBalancer.Ingress)
	return nil
}

// machineInterface is a device in a machine's network namespace, which this
// computer reaches without the machine.
type machineInterface struct{ namespace, device string }

func interfaceOf(m MachineSpec) machineInterface { return machineInterface{m.namespace(), "eth0"} }

func (i machineInterface) list(context.Context) ([]netip.Addr, error) {
	var found []netip.Addr
	err := callInNamespace(i.namespace, func() error {
		device, err := net.InterfaceByName(i.device)
		if err != nil {
			return fmt.Errorf("finding device %q: %w", i.device, err)
		}
		has, err := device.Addrs()
		if err != nil {
			return fmt.Errorf("listing the addresses of %q: %w", i.device, err)
		}
		for _, a := range has {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				found = append(found, prefix.Addr())
			}
		}
		return nil
	})
	return found, err
}

func (i machineInterface) change(ctx context.Context, remove, add []netip.Addr) error {
	var lines []string
	for _, a := range remove {
		lines = append(lines, fmt.Sprintf("address delete %s/32 dev %s", a, i.device))
	}
	for _, a := range add {
		lines = append(lines, fmt.Sprintf("address add %s/32 dev %s", a, i.device))
	}
	if err := ipBatch(ctx, i.namespace, lines...); err != nil {
		return fmt.Errorf("changing the addresses in %q: %w", i.namespace, err)
	}
	return nil
}
