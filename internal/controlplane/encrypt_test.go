package controlplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/encryption"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// encrypting sets the encryption that a provisioner's documents want.
func encrypting(p *Provisioner, provider config.EncryptionProvider, key string) {
	p.Fleet.ControlPlane.Encryption = config.Encryption{
		Provider: provider, KeyName: key, Resources: []string{"secrets"},
	}
}

// keysOf returns the keys that Secret <cluster>-pki has.
func keysOf(t *testing.T, p *Provisioner) *certificates.Keys {
	t.Helper()
	keys, _, err := p.loadKeys(t.Context())
	assert.NilError(t, err)
	return keys
}

func TestANewClustersKeysHoldThatOfItsStore(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	encrypting(p, config.ProviderSecretbox, "key1")
	_, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	keys := keysOf(t, p)
	assert.Assert(t, strings.Contains(string(keys.Encryption), "secretbox"))
	nothing := func([]string) error { return errors.New("a new store has nothing to be written again") }
	assert.NilError(t, p.takeSteps(t.Context(), keys, nothing, nothing))
}

func TestOnlyTheAPIServerGetsTheKeyOfTheStore(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	p.encrypts = true
	set, err := p.controlPlane("")
	assert.NilError(t, err)
	for _, container := range set.Spec.Template.Spec.Containers {
		has := slices.Contains(certFiles(container), encryption.File)
		assert.Equal(t, has, container.Name == hosted.APIServer, container.Name)
		if has {
			assert.Assert(t, slices.Contains(container.Args,
				"--encryption-provider-config=/etc/argosy/certs/encryption.yaml"))
		}
	}
	assert.Equal(t, p.certsSecret(encryption.File), "team-a-pki")
}

// A run that ends after any of its actions is repeated. An API server then has the configuration before the last one
// that was noted, at most, and never another one beside that.
func TestARotationGoesOnWhereItEnded(t *testing.T) {
	ended := errors.New("the run ends")
	for last := range 12 {
		p := provisioner(t, controlplanetest.SQLite)
		_, _, err := p.ensureKeys(t.Context())
		assert.NilError(t, err)
		for _, name := range []string{"key1", "key2"} {
			encrypting(p, config.ProviderSecretbox, name)
			rotateWithEnd(t, p, last, ended)
			held, err := encryption.Parse(keysOf(t, p).Encryption)
			assert.NilError(t, err)
			assert.Equal(t, len(held["secrets"]), 1)
			assert.Equal(t, held["secrets"][0].Name, name)
		}
	}
}

func rotateWithEnd(t *testing.T, p *Provisioner, last int, ended error) {
	t.Helper()
	var actions []string
	act := func(text string) error {
		if actions = append(actions, text); len(actions) == last+1 {
			return ended
		}
		return nil
	}
	for {
		keys := keysOf(t, p)
		rolledOut := string(keys.Encryption) // a provision begins with it
		if err := act("roll out"); err != nil {
			continue
		}
		err := p.takeSteps(t.Context(), keys, func(resources []string) error {
			assert.Equal(t, string(keysOf(t, p).Encryption), rolledOut, "all API servers have what is noted")
			return act(strings.Join(append([]string{"rewrite"}, resources...), " "))
		}, func([]string) error {
			if err := act("roll out"); err != nil {
				return err
			}
			rolledOut = string(keysOf(t, p).Encryption)
			return nil
		})
		if err == nil {
			assert.Assert(t, slices.Contains(actions, "rewrite secrets"), "%q", actions)
			return
		}
		assert.ErrorIs(t, err, ended)
	}
}

func TestKeysThatTheAPIServerWouldNotGetAreRefused(t *testing.T) {
	p := provisioner(t, controlplanetest.Replace(controlplanetest.SQLite, "{k8s: {",
		"{k8s: {apiServer: {extraArgs: [--encryption-provider-config=/a]}, "))
	assert.NilError(t, p.checkOwnEncryption(&certificates.Keys{}))
	err := p.checkOwnEncryption(&certificates.Keys{Encryption: []byte("kind: EncryptionConfiguration")})
	assert.ErrorContains(t, err, "provider: identity")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

// secretsServer is an API server with 1200 Secrets, whose content it gives to no client.
type secretsServer struct {
	mu      sync.Mutex
	written map[string]int
}

func (s *secretsServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata") {
		http.Error(w, "with content", http.StatusForbidden)
		return
	}
	if r.Method == http.MethodPatch {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.written[r.URL.Path]++; strings.HasSuffix(r.URL.Path, "/gone") {
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(metav1.Status{
				Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound,
			})
			return
		}
		_ = json.NewEncoder(w).Encode(metav1.PartialObjectMetadata{})
		return
	}
	begin := 0
	_, _ = fmt.Sscan(r.URL.Query().Get("continue"), &begin)
	list := metav1.PartialObjectMetadataList{}
	for i := begin; i < min(begin+500, 1200); i++ {
		name := fmt.Sprintf("s%04d", i)
		if i == 7 {
			name = "gone"
		}
		list.Items = append(list.Items, metav1.PartialObjectMetadata{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		})
	}
	if begin+500 < 1200 {
		list.Continue = fmt.Sprint(begin + 500)
	}
	_ = json.NewEncoder(w).Encode(list)
}

func TestAllObjectsAreWrittenAgainAndNoneIsRead(t *testing.T) {
	held := &secretsServer{written: map[string]int{}}
	server := httptest.NewServer(held)
	defer server.Close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1})
	assert.NilError(t, err)
	written, err := rewriteAll(t.Context(), client, schema.GroupVersionResource{Version: "v1", Resource: "secrets"})
	assert.NilError(t, err)
	assert.Equal(t, written, 1199, "one was deleted meanwhile")
	assert.Equal(t, len(held.written), 1200)
	assert.Equal(t, held.written["/api/v1/namespaces/default/secrets/s1199"], 1)
}

func TestTheAPIServerLogsByTheAuditPolicy(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	assert.Assert(t, !strings.Contains(strings.Join(p.apiServer().Args, " "), "audit"))
	p.Fleet.ControlPlane.Audit.Policy.Rules = []config.AuditRule{
		{Level: "None", NonResourceURLs: []string{"/healthz*"}}, {Level: "Metadata"},
	}
	args := p.apiServer().Args
	assert.Assert(t, slices.Contains(args, "--audit-policy-file=/etc/argosy/config/audit-policy.yaml"))
	assert.Assert(t, slices.Contains(args, "--audit-log-path=-"))
	assert.Equal(t, p.configFiles().Data[auditPolicyFile], `{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":`+
		`[{"level":"None","nonResourceURLs":["/healthz*"]},{"level":"Metadata"}]}`)
}

func TestPodsAreReplacedWhenTheKeysOfTheStoreChange(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	keys, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	before, err := p.podInputs(t.Context(), keys, endpoint)
	assert.NilError(t, err)
	_, err = p.Host.CoreV1().Secrets("tenant").Create(t.Context(), before.objects[0].(*corev1.Secret),
		metav1.CreateOptions{})
	assert.NilError(t, err)
	same, err := p.podInputs(t.Context(), keys, endpoint)
	assert.NilError(t, err)
	keys.Encryption = []byte("new")
	after, err := p.podInputs(t.Context(), keys, endpoint)
	assert.NilError(t, err)
	again, err := p.podInputs(t.Context(), keys, endpoint)
	assert.NilError(t, err)
	assert.Assert(t, same.digest != after.digest)
	assert.Equal(t, after.digest, again.digest)
}
