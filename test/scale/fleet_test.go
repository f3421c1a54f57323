package scale

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/test/simulated"
)

const (
	oldVersion = "v1.36.5"
	newVersion = serverVersion
	// roundTrip to each machine.
	roundTrip = 20 * time.Millisecond
)

// fleet is simulated machines, which share an SSH server and have an address each.
type fleet struct {
	server   *simulated.Server
	client   kubernetes.Interface
	uid      string
	machines []*machine
	byAddr   map[string]*machine

	mu         sync.Mutex
	violations []string
	// working are the operations that run, by kind, and the joins that ask the API server, by that phase; most are the
	// highest numbers so far.
	working, most map[string]int
}

// Of a hundred machines three fail their upgrade, and two lose their power in it.
func fails(i int) bool { return i%33 == 21 }

func boots(i int) bool { return i%50 == 25 && !fails(i) }

// rackSize is the number of canaries.
func rackSize(machines int) int { return max(1, min(20, machines/10)) }

// newFleet makes machines, and a login for them in the API's folder.
func newFleet(t *testing.T, a *api, number int) *fleet {
	t.Helper()
	system, err := a.client.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceSystem, metav1.GetOptions{})
	assert.NilError(t, err)
	f := &fleet{
		client: a.client, uid: string(system.UID), byAddr: map[string]*machine{},
		working: map[string]int{}, most: map[string]int{},
	}
	for i := range number {
		m := &machine{
			fleet: f, name: fmt.Sprintf("worker-%05d", i), rack: fmt.Sprintf("r%02d", i/rackSize(number)),
			address: fmt.Sprintf("127.1.%d.%d", i/200, i%200+1), changed: make(chan struct{}),
			statuses: map[string]spec.Status{}, began: map[spec.Kind]int{}, admitted: map[string]chan struct{}{},
			// Not one of the canaries, after which a person would stop.
			fails: i >= rackSize(number) && fails(i), boots: boots(i),
		}
		f.machines = append(f.machines, m)
		f.byAddr[m.address] = m
	}
	f.server, err = simulated.Start(simulated.Options{
		Listen: "0.0.0.0:22", Delay: roundTrip / 2,
		Run:    func(session simulated.Session) { f.byAddr[session.At].run(session) },
		Refuse: func(at string) bool { return f.byAddr[at] == nil || !f.byAddr[at].answers() },
	})
	assert.NilError(t, err)
	t.Cleanup(f.server.Close)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	assert.NilError(t, err)
	key, err := ssh.MarshalPrivateKey(private, "")
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(filepath.Join(a.folder, "login.key"), pem.EncodeToMemory(key), 0o600))
	return f
}

// violate notes that something happened that must not.
func (f *fleet) violate(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.violations = append(f.violations, fmt.Sprintf(format, args...))
}

func (f *fleet) violated() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.violations[:min(len(f.violations), 10)]
}

func (f *fleet) began(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.working[kind]++
	f.most[kind] = max(f.most[kind], f.working[kind])
}

func (f *fleet) ended(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.working[kind]--
}

// register adds a machine's node, as its kubelet does.
func (f *fleet) register(m *machine, version string) {
	_, err := f.client.CoreV1().Nodes().Create(context.Background(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: m.name, Labels: map[string]string{corev1.LabelHostname: m.name}},
	}, metav1.CreateOptions{})
	if err != nil {
		f.violate("registering node %s: %v", m.name, err)
	}
	f.report(m, version, true)
}

// report sets a node's version and condition, as its kubelet does. A real node has some 20 KB of images in its status.
func (f *fleet) report(m *machine, version string, ready bool) {
	condition, message := corev1.ConditionTrue, "kubelet is posting ready status"
	if !ready {
		condition, message = corev1.ConditionFalse, "container runtime is down"
	}
	images := make([]corev1.ContainerImage, 50)
	for i := range images {
		name := fmt.Sprintf("registry.example.com/team/application-%02d", i)
		images[i] = corev1.ContainerImage{SizeBytes: 123456789, Names: []string{
			name + "@sha256:" + fmt.Sprintf("%064d", i), name + ":v1.2.3",
		}}
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"nodeInfo": map[string]any{"kubeletVersion": version},
		"images":   images,
		"conditions": []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: condition, Reason: "KubeletReady", Message: message,
			LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		}},
	}})
	if err == nil {
		_, err = f.client.CoreV1().Nodes().Patch(context.Background(), m.name, types.StrategicMergePatchType, patch,
			metav1.PatchOptions{}, "status")
	}
	if err != nil {
		f.violate("reporting the status of node %s: %v", m.name, err)
	}
}

// deploy runs pods on each node that may be evicted, and end at once when they are. None takes their place.
func (f *fleet) deploy(t *testing.T, onEach int) {
	t.Helper()
	var workers errgroup.Group
	workers.SetLimit(16)
	isTrue, zero := true, int64(0)
	owner := metav1.OwnerReference{
		APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "application", UID: "1", Controller: &isTrue,
	}
	for _, m := range f.machines {
		workers.Go(func() error {
			for i := range onEach {
				pod := &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{
						Name: fmt.Sprintf("%s-%d", m.name, i), Labels: map[string]string{"app": "application"},
						OwnerReferences: []metav1.OwnerReference{owner},
					},
					Spec: corev1.PodSpec{
						NodeName: m.name, TerminationGracePeriodSeconds: &zero,
						Containers: []corev1.Container{{Name: "application", Image: "application"}},
					},
				}
				made, err := f.client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
				if err != nil {
					return err
				}
				made.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
					Type: corev1.PodReady, Status: corev1.ConditionTrue,
				}}}
				_, err = f.client.CoreV1().Pods("default").UpdateStatus(t.Context(), made, metav1.UpdateOptions{})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	assert.NilError(t, workers.Wait())
}
