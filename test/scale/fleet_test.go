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
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/test/simulated"
)

const (
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
	// working are the operations that run, by kind, and most the highest numbers so far.
	working, most map[spec.Kind]int
}

// newFleet makes machines, and a login for them in the API's folder.
func newFleet(t *testing.T, a *api, number int) *fleet {
	t.Helper()
	system, err := a.client.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceSystem, metav1.GetOptions{})
	assert.NilError(t, err)
	f := &fleet{
		client: a.client, uid: string(system.UID), byAddr: map[string]*machine{},
		working: map[spec.Kind]int{}, most: map[spec.Kind]int{},
	}
	for i := range number {
		m := &machine{
			fleet: f, name: fmt.Sprintf("worker-%05d", i),
			address: fmt.Sprintf("127.1.%d.%d", i/200, i%200+1), changed: make(chan struct{}),
			statuses: map[string]spec.Status{}, began: map[spec.Kind]int{},
		}
		f.machines = append(f.machines, m)
		f.byAddr[m.address] = m
	}
	f.server, err = simulated.Start(simulated.Options{
		Listen: "0.0.0.0:22", Delay: roundTrip / 2,
		Run:    func(session simulated.Session) { f.byAddr[session.At].run(session) },
		Refuse: func(at string) bool { return f.byAddr[at] == nil },
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

func (f *fleet) began(kind spec.Kind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.working[kind]++
	f.most[kind] = max(f.most[kind], f.working[kind])
}

func (f *fleet) ended(kind spec.Kind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.working[kind]--
}

// register adds a machine's node, as its kubelet does. Its status is as long as a real one's, some 10 KB of images.
func (f *fleet) register(m *machine) {
	_, err := f.client.CoreV1().Nodes().Create(context.Background(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: m.name, Labels: map[string]string{corev1.LabelHostname: m.name}},
	}, metav1.CreateOptions{})
	if err != nil {
		f.violate("registering node %s: %v", m.name, err)
	}
	images := make([]corev1.ContainerImage, 50)
	for i := range images {
		name := fmt.Sprintf("registry.example.com/team/application-%02d", i)
		images[i] = corev1.ContainerImage{SizeBytes: 123456789, Names: []string{
			name + "@sha256:" + fmt.Sprintf("%064d", i), name + ":v1.2.3",
		}}
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"nodeInfo": map[string]any{"kubeletVersion": m.version},
		"images":   images,
		"conditions": []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
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
