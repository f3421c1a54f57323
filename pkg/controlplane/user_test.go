package controlplane

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/pki"
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
			certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateFailed,
				Message: s.refusal})
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

// signing is a provisioner whose cluster signs.
func signing(t *testing.T) (*Provisioner, *signer) {
	t.Helper()
	p := provisioner(t, specified)
	p.Now = nil // certificates of a connection are held against the clock
	k, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	s := &signer{t: t}
	s.ca, err = tls.X509KeyPair(k.cluster.Cert, k.cluster.Key)
	assert.NilError(t, err)
	serving, err := k.cluster.Issue(pki.Leaf{CommonName: "a", Hosts: []string{"127.0.0.1"},
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, p.now())
	assert.NilError(t, err)
	pair, err := tls.X509KeyPair(serving.Cert, serving.Key)
	assert.NilError(t, err)
	server := httptest.NewUnstartedServer(s)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	assert.NilError(t, err)
	number, err := strconv.Atoi(port)
	assert.NilError(t, err)
	admin, _, err := p.administrator(t.Context(), k, Endpoint{Host: "127.0.0.1", API: number})
	assert.NilError(t, err)
	hold(t, p, p.Cluster.KubeconfigSecret(), admin)
	return p, s
}

func TestAUsersKubeconfigIsSignedByTheClusterAndStaysForHalfItsTime(t *testing.T) {
	p, s := signing(t)
	alice := UserOptions{User: "alice", Groups: []string{"developers"}, Life: time.Hour}
	first, err := p.Kubeconfig(t.Context(), alice, func(string) {})
	assert.NilError(t, err)
	assert.Assert(t, first.Changed)
	assert.Assert(t, strings.HasPrefix(first.String(),
		`Secret team-a-kubeconfig-alice, key value: kubeconfig of user "alice", groups developers, holds until `),
		first.String())
	assert.DeepEqual(t, s.requests[1:], []string{"POST ", "PUT /argosy-kubeconfig-x/approval",
		"GET /argosy-kubeconfig-x", "DELETE /argosy-kubeconfig-x"})
	assert.Equal(t, s.held.Spec.SignerName, certificatesv1.KubeAPIServerClientSignerName)

	held, err := p.Host.CoreV1().Secrets("tenant").Get(t.Context(), first.Secret, metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Equal(t, held.Labels[ClusterLabel], "team-a", "it goes with the cluster")
	pair, _ := readKubeconfig(held.Data["value"])
	_, why := pki.Fit(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.Certificate[0]}), pair,
		alice.leaf())
	assert.Equal(t, why, "")

	again, err := p.Kubeconfig(t.Context(), alice, func(string) {})
	assert.NilError(t, err)
	assert.Assert(t, !again.Changed && strings.HasSuffix(again.String(), "; unchanged"), again.String())
	assert.Equal(t, s.signed, 1)
	for _, changed := range []UserOptions{
		{User: "alice", Groups: []string{"developers"}, Life: 3 * time.Hour},
		{User: "alice", Groups: []string{"operators"}, Life: time.Hour},
	} {
		signed := s.signed
		anew, err := p.Kubeconfig(t.Context(), changed, func(string) {})
		assert.NilError(t, err)
		assert.Assert(t, anew.Changed)
		assert.Equal(t, s.signed, signed+1)
	}
}

func TestARequestThatIsNotSignedIsSaidSoAndRemoved(t *testing.T) {
	p, s := signing(t)
	s.refusal = "the usage is not allowed"
	_, err := p.Kubeconfig(t.Context(), UserOptions{User: "alice", Life: time.Hour}, func(string) {})
	assert.ErrorContains(t, err, "the usage is not allowed")
	assert.Equal(t, s.requests[len(s.requests)-1], "DELETE /argosy-kubeconfig-x")
}

func TestASecretOfAnotherOriginIsNotReplacedByAUsersKubeconfig(t *testing.T) {
	p, s := signing(t)
	hold(t, p, "team-a-kubeconfig-alice", map[string][]byte{"value": []byte("mine")})
	_, err := p.Kubeconfig(t.Context(), UserOptions{User: "alice", Life: time.Hour}, func(string) {})
	assert.ErrorContains(t, err, "give the user another name")
	assert.Equal(t, s.signed, 0)
}

func TestUsersThatNoCertificateCanBeForAreRefused(t *testing.T) {
	long := strings.Repeat("a", 65)
	for name, test := range map[string]struct {
		options UserOptions
		says    string
	}{
		"nobody": {UserOptions{Life: time.Hour}, "there is no user"},
		"one of Kubernetes": {UserOptions{User: "system:kube-scheduler", Life: time.Hour},
			"those of Kubernetes itself"},
		"almighty": {UserOptions{User: "alice", Groups: []string{"system:masters"}, Life: time.Hour},
			"whatever RBAC says"},
		"a group without name": {UserOptions{User: "alice", Groups: []string{"a", ""}, Life: time.Hour},
			"a group has no name"},
		"a long name": {UserOptions{User: long, Life: time.Hour}, "up to 64 letters"},
		"a long group": {UserOptions{User: "alice", Groups: []string{long}, Life: time.Hour},
			"up to 64 letters"},
		"lines":    {UserOptions{User: "alice\nbob", Life: time.Hour}, "that can be printed"},
		"a moment": {UserOptions{User: "alice", Life: time.Minute}, "signs for 10m0s to 8760h0m0s"},
		"for ever": {UserOptions{User: "alice", Life: maxUserLife + 1}, "signs for 10m0s to 8760h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := provisioner(t, specified).Kubeconfig(t.Context(), test.options, func(string) {})
			assert.ErrorContains(t, err, test.says)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
	p := provisioner(t, specified)
	p.Cluster.Fleet.Cluster.KubeconfigSecret = "theirs"
	assert.Assert(t, !p.Cluster.Hosted())
	_, err := p.Kubeconfig(t.Context(), UserOptions{User: "alice", Life: time.Hour}, func(string) {})
	assert.ErrorContains(t, err, "is not one that Argosy provisioned")
}

func TestEveryUserHasASecretOfTheirOwn(t *testing.T) {
	seen := map[string]string{}
	for _, user := range []string{"alice", "Alice", "alice@example.com", "alice.example.com", "ärger", "…",
		strings.Repeat("A", 64), strings.Repeat("A", 63)} {
		name := names("team-a").kubeconfigOf(user)
		part, ours := strings.CutPrefix(name, "team-a-kubeconfig-")
		assert.Assert(t, ours && len(part) <= 63 && notInNames.ReplaceAllString(part, "-") == part && part != "", name)
		assert.Equal(t, seen[name], "", "%s and %s", seen[name], user)
		seen[name] = user
	}
	assert.Equal(t, seen["team-a-kubeconfig-alice"], "alice")
}
