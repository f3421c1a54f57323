package kubeconfig

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/pkg/errclass"

	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

// signer is an API server that signs requests which are approved, as its controller manager would.
type signer struct {
	t        *testing.T
	ca       tls.Certificate
	held     *certificatesv1.CertificateSigningRequest
	refusal  string // of the signer, when it does not sign
	signed   int
	requests []string
}

func (s *signer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests = append(s.requests, r.Method+" "+strings.TrimPrefix(r.URL.Path,
		"/apis/certificates.k8s.io/v1/certificatesigningrequests"))
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/readyz":
		return
	case r.Method == http.MethodPost:
		s.held = s.read(r)
		s.held.Name = s.held.GenerateName + "x"
	case r.Method == http.MethodPut:
		s.held.Status.Conditions = s.read(r).Status.Conditions
		s.sign()
	}
	s.held.APIVersion, s.held.Kind = "certificates.k8s.io/v1", "CertificateSigningRequest"
	_ = json.NewEncoder(w).Encode(s.held)
}

func (s *signer) read(r *http.Request) *certificatesv1.CertificateSigningRequest {
	body, err := io.ReadAll(r.Body)
	assert.Check(s.t, err)
	request := &certificatesv1.CertificateSigningRequest{}
	_, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, request)
	assert.Check(s.t, err)
	return request
}

func (s *signer) sign() {
	if s.refusal != "" {
		s.held.Status.Conditions = append(s.held.Status.Conditions,
			certificatesv1.CertificateSigningRequestCondition{
				Type:    certificatesv1.CertificateFailed,
				Message: s.refusal,
			})
		return
	}
	block, _ := pem.Decode(s.held.Spec.Request)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	assert.Check(s.t, err)
	s.signed++
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(int64(s.signed)), Subject: request.Subject,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now(), NotAfter: time.Now().Add(time.Duration(*s.held.Spec.ExpirationSeconds) * time.Second),
	}, s.ca.Leaf, request.PublicKey, s.ca.PrivateKey)
	assert.Check(s.t, err)
	s.held.Status.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// signing returns a cluster whose API server signs.
func signing(t *testing.T) (hosted.Cluster, *signer) {
	t.Helper()
	c := controlplanetest.New(t, controlplanetest.SQLite)
	c.Clock = nil // certificates of a connection are checked against the real time
	k := controlplanetest.AddKeys(t, c)
	s := &signer{t: t}
	var err error
	s.ca, err = tls.X509KeyPair(k.Cluster.Cert, k.Cluster.Key)
	assert.NilError(t, err)
	serving, err := k.Cluster.Issue(pki.Leaf{
		CommonName: "a", Hosts: []string{"127.0.0.1"},
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, c.Now())
	assert.NilError(t, err)
	pair, err := tls.X509KeyPair(serving.Cert, serving.Key)
	assert.NilError(t, err)
	server := httptest.NewUnstartedServer(s)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	issuer := certificates.Issuer{Cluster: c.Name, CACert: k.Cluster.Cert, Now: c.Now()}
	admin, _, err := issuer.Ensure(nil, []certificates.Wanted{{
		File: certificates.KubeconfigKey, By: k.Cluster,
		Leaf: certificates.ClientLeaf("admin"), Server: server.URL,
	}})
	assert.NilError(t, err)
	controlplanetest.PutSecret(t, c, c.KubeconfigSecret(), admin)
	return c, s
}

func TestKubeconfigIsKeptForHalfOfItsLife(t *testing.T) {
	c, s := signing(t)
	alice := Options{User: "alice", Groups: []string{"developers"}, Life: time.Hour}
	first, err := Ensure(t.Context(), c, alice, func(string) {})
	assert.NilError(t, err)
	assert.Assert(t, first.Changed)
	assert.Assert(t, strings.HasPrefix(first.String(),
		`Secret team-a-kubeconfig-alice, key value: kubeconfig of user "alice", groups developers, holds until `),
		first.String())
	assert.DeepEqual(t, s.requests[1:], []string{
		"POST ", "PUT /argosy-kubeconfig-x/approval",
		"GET /argosy-kubeconfig-x", "DELETE /argosy-kubeconfig-x",
	})
	assert.Equal(t, s.held.Spec.SignerName, certificatesv1.KubeAPIServerClientSignerName)

	held, err := c.Host.CoreV1().Secrets("tenant").Get(t.Context(), first.Secret, metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Equal(t, held.Labels[hosted.ClusterLabel], "team-a", "it goes with the cluster")
	pair, _ := certificates.ReadKubeconfig(held.Data["value"])
	_, why := pki.Fit(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.Certificate[0]}), pair,
		alice.leaf())
	assert.Equal(t, why, "")
	parts, err := tls.X509KeyPair(held.Data["tls.crt"], held.Data["tls.key"])
	assert.NilError(t, err)
	assert.Equal(t, parts.Leaf.Subject.CommonName, "alice")
	assert.Assert(t, strings.HasPrefix(string(held.Data["ca.crt"]), "-----BEGIN CERTIFICATE-----"))

	again, err := Ensure(t.Context(), c, alice, func(string) {})
	assert.NilError(t, err)
	assert.Assert(t, !again.Changed && strings.HasSuffix(again.String(), "; unchanged"), again.String())
	assert.Equal(t, s.signed, 1)
	for _, changed := range []Options{
		{User: "alice", Groups: []string{"developers"}, Life: 3 * time.Hour},
		{User: "alice", Groups: []string{"operators"}, Life: time.Hour},
	} {
		signed := s.signed
		anew, err := Ensure(t.Context(), c, changed, func(string) {})
		assert.NilError(t, err)
		assert.Assert(t, anew.Changed)
		assert.Equal(t, s.signed, signed+1)
	}
}

func TestSecretOfAnEarlierVersionGetsItsPartsWithoutANewCertificate(t *testing.T) {
	c, s := signing(t)
	alice := Options{User: "alice", Life: time.Hour}
	first, err := Ensure(t.Context(), c, alice, func(string) {})
	assert.NilError(t, err)
	secrets := c.Host.CoreV1().Secrets("tenant")
	held, err := secrets.Get(t.Context(), first.Secret, metav1.GetOptions{})
	assert.NilError(t, err)
	pair := held.Data["tls.crt"]
	held.Data = map[string][]byte{"value": held.Data["value"]}
	_, err = secrets.Update(t.Context(), held, metav1.UpdateOptions{})
	assert.NilError(t, err)

	again, err := Ensure(t.Context(), c, alice, func(string) {})
	assert.NilError(t, err)
	assert.Assert(t, again.Changed)
	assert.Equal(t, s.signed, 1)
	held, err = secrets.Get(t.Context(), first.Secret, metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Equal(t, string(held.Data["tls.crt"]), string(pair))
	assert.Assert(t, len(held.Data["tls.key"]) > 0 && len(held.Data["ca.crt"]) > 0)
}

func TestRefusedRequestIsReportedAndRemoved(t *testing.T) {
	c, s := signing(t)
	s.refusal = "the usage is not allowed"
	_, err := Ensure(t.Context(), c, Options{User: "alice", Life: time.Hour}, func(string) {})
	assert.ErrorContains(t, err, "the usage is not allowed")
	assert.Equal(t, s.requests[len(s.requests)-1], "DELETE /argosy-kubeconfig-x")
}

func TestForeignSecretIsNotReplacedByAKubeconfig(t *testing.T) {
	c, s := signing(t)
	controlplanetest.PutSecret(t, c, "team-a-kubeconfig-alice", map[string][]byte{"value": []byte("mine")})
	_, err := Ensure(t.Context(), c, Options{User: "alice", Life: time.Hour}, func(string) {})
	assert.ErrorContains(t, err, "give the user another name")
	assert.Equal(t, s.signed, 0)
}

func TestInvalidUsersAreRefused(t *testing.T) {
	long := strings.Repeat("a", 65)
	for name, test := range map[string]struct {
		options Options
		says    string
	}{
		"nobody": {Options{Life: time.Hour}, "user is empty"},
		"one of Kubernetes": {
			Options{User: "system:kube-scheduler", Life: time.Hour},
			"reserved for Kubernetes itself",
		},
		"the API server towards kubelets": {
			Options{User: "kube-apiserver-kubelet-client", Life: time.Hour},
			"reserved for Kubernetes itself",
		},
		"Argosy's own": {Options{User: "argosy:team-a", Life: time.Hour}, "and for Argosy"},
		"almighty": {
			Options{User: "alice", Groups: []string{"system:masters"}, Life: time.Hour},
			`group "system:masters" carries rights`,
		},
		"an administrator": {
			Options{User: "alice", Groups: []string{"developers", "kubeadm:cluster-admins"}, Life: time.Hour},
			`group "kubeadm:cluster-admins" carries rights`,
		},
		"a machine that joins": {
			Options{User: "alice", Groups: []string{"system:bootstrappers:kubeadm"}, Life: time.Hour},
			"bind a role to it",
		},
		"a service account": {
			Options{User: "alice", Groups: []string{"system:serviceaccounts:kube-system"}, Life: time.Hour},
			"bind a role to it",
		},
		"a group without name": {
			Options{User: "alice", Groups: []string{"a", ""}, Life: time.Hour},
			"a group has no name",
		},
		"a long name": {Options{User: long, Life: time.Hour}, "up to 64 printable letters"},
		"a long group": {
			Options{User: "alice", Groups: []string{long}, Life: time.Hour},
			"up to 64 printable letters",
		},
		"lines":    {Options{User: "alice\nbob", Life: time.Hour}, "printable letters"},
		"a moment": {Options{User: "alice", Life: time.Minute}, "signs for 10m0s to 8760h0m0s"},
		"for ever": {Options{User: "alice", Life: maxLife + 1}, "signs for 10m0s to 8760h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Ensure(t.Context(), controlplanetest.New(t, controlplanetest.SQLite), test.options,
				func(string) {})
			assert.ErrorContains(t, err, test.says)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
	c := controlplanetest.New(t, controlplanetest.SQLite)
	c.Fleet.Cluster.KubeconfigSecret = "theirs"
	assert.Assert(t, !c.Hosted())
	_, err := Ensure(t.Context(), c, Options{User: "alice", Life: time.Hour}, func(string) {})
	assert.ErrorContains(t, err, "was not provisioned by Argosy")
}

func TestEveryUserHasAnOwnSecret(t *testing.T) {
	seen := map[string]string{}
	for _, user := range []string{
		"alice", "Alice", "alice@example.com", "alice.example.com", "ärger", "…",
		strings.Repeat("A", 64), strings.Repeat("A", 63),
	} {
		name := secretName("team-a", user)
		part, ours := strings.CutPrefix(name, "team-a-kubeconfig-")
		assert.Assert(t, ours && len(part) <= 63 && notInNames.ReplaceAllString(part, "-") == part && part != "", name)
		assert.Equal(t, seen[name], "", "%s and %s", seen[name], user)
		seen[name] = user
	}
	assert.Equal(t, seen["team-a-kubeconfig-alice"], "alice")
}
