package join

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
)

// servingKey is that of all kubelets of these tests.
var servingKey = func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}()

// requestOf returns the request that the kubelet of a node makes for names and addresses, changed by edit.
func requestOf(t *testing.T, node string, names []string, addresses []string,
	edit func(*x509.CertificateRequest, *certificatesv1.CertificateSigningRequestSpec),
) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	template := &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
		DNSNames: names,
	}
	for _, address := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(address))
	}
	spec := certificatesv1.CertificateSigningRequestSpec{
		SignerName: certificatesv1.KubeletServingSignerName,
		Username:   "system:node:" + node, Groups: []string{"system:nodes", "system:authenticated"},
		Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth},
	}
	if edit != nil {
		edit(template, &spec)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, servingKey)
	assert.NilError(t, err)
	spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	return &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "csr-" + node}, Spec: spec}
}

func servingNode(name string, addresses ...string) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}}
	for _, address := range addresses {
		node.Status.Addresses = append(node.Status.Addresses,
			corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address})
	}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	return node
}

// servingJoiner returns a joiner of machines m1 and m2, whose nodes and requests are objects.
func servingJoiner(t *testing.T, kubelet string, objects ...runtime.Object) (*Joiner, *fake.Clientset) {
	t.Helper()
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), []byte(`
apiVersion: argosy.dev/v1alpha1
kind: Fleet
cluster: {kubeconfigSecret: kubeconfig}
machines:
  - {name: m1, address: 192.0.2.1}
  - {name: m2, address: 192.0.2.2}
`))
	assert.NilError(t, err)
	client := fake.NewClientset(objects...)
	return &Joiner{Cluster: cluster, Version: "v1.34.4", Target: &Target{
		Client: client, Server: "https://192.0.2.100:6443", KubeletConfig: kubelet,
	}}, client
}

const bootstraps = "serverTLSBootstrap: true\n"

// sign has the controller manager sign every request once it is approved.
func sign(t *testing.T, client *fake.Clientset, until time.Time) {
	t.Helper()
	certificate := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.Add(-time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, certificate, certificate, servingKey.Public(), servingKey)
	assert.NilError(t, err)
	client.PrependReactor("update", "certificatesigningrequests",
		func(action clienttesting.Action) (bool, runtime.Object, error) {
			request := action.(clienttesting.UpdateAction).GetObject().(*certificatesv1.CertificateSigningRequest)
			request.Status.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
			return false, nil, nil
		})
}

func approved(t *testing.T, client *fake.Clientset, name string) bool {
	t.Helper()
	held, err := client.CertificatesV1().CertificateSigningRequests().Get(t.Context(), name, metav1.GetOptions{})
	assert.NilError(t, err)
	return len(held.Status.Conditions) == 1 && held.Status.Conditions[0].Type == certificatesv1.CertificateApproved
}

func TestAKubeletGetsAServingCertificateForItsOwnNames(t *testing.T) {
	until := time.Now().Add(24 * time.Hour).Truncate(time.Second).UTC()
	joiner, client := servingJoiner(t, bootstraps, servingNode("m1", "192.0.2.1", "10.0.0.1"),
		servingNode("m2", "192.0.2.2"), requestOf(t, "m1", []string{"M1"}, []string{"192.0.2.1", "10.0.0.1"}, nil))
	sign(t, client, until)
	node, err := joiner.WaitReady(t.Context(), "m1", "", operation.AsText(func(string) {}))
	assert.NilError(t, err)
	assert.Assert(t, approved(t, client, "csr-m1"))
	assert.Assert(t, HasServingCertificate(node, until.Add(-time.Second)))
	assert.Assert(t, !HasServingCertificate(node, until))

	before := len(client.Actions())
	_, err = joiner.WaitReady(t.Context(), "m1", "", operation.AsText(func(string) {}))
	assert.NilError(t, err)
	for _, action := range client.Actions()[before:] {
		assert.Assert(t, action.GetVerb() == "get" || action.GetVerb() == "list", action)
	}
}

func otherUser(r *x509.CertificateRequest, _ *certificatesv1.CertificateSigningRequestSpec) {
	r.Subject.CommonName = "system:node:m2"
}

func otherGroup(r *x509.CertificateRequest, _ *certificatesv1.CertificateSigningRequestSpec) {
	r.Subject.Organization = []string{"system:nodes", "system:masters"}
}

func outsideGroup(_ *x509.CertificateRequest, s *certificatesv1.CertificateSigningRequestSpec) {
	s.Groups = []string{"system:authenticated"}
}

func clientUsage(_ *x509.CertificateRequest, s *certificatesv1.CertificateSigningRequestSpec) {
	s.Usages = append(s.Usages, certificatesv1.UsageClientAuth)
}

func withURI(r *x509.CertificateRequest, _ *certificatesv1.CertificateSigningRequestSpec) {
	r.URIs = []*url.URL{{Scheme: "spiffe", Host: "a"}}
}

func TestARequestForMoreThanTheMachinesOwnIsLeft(t *testing.T) {
	for name, one := range map[string]struct {
		names, addresses []string
		edit             func(*x509.CertificateRequest, *certificatesv1.CertificateSigningRequestSpec)
		says             string
	}{
		"another machine's address": {addresses: []string{"192.0.2.1", "192.0.2.2"}, says: "192.0.2.2, which belongs"},
		"another node's address":    {addresses: []string{"10.0.0.2"}, says: "10.0.0.2, which belongs"},
		"another machine's name":    {names: []string{"m1", "m2"}, says: "m2, which belongs"},
		"the API server's":          {addresses: []string{"192.0.2.100"}, says: "192.0.2.100, which belongs"},
		"the API server's in pods":  {names: []string{"kubernetes.default.svc"}, says: "belongs to another"},
		"this machine for itself":   {addresses: []string{"127.0.0.1"}, says: "127.0.0.1"},
		"a stranger's":              {names: []string{"bank.example"}, says: "no name or address of the machine"},
		"an address mapped to IPv6": {addresses: []string{"::ffff:192.0.2.2"}, says: "belongs to another"},
		"nothing":                   {says: "without names and addresses"},
		"another user":              {names: []string{"m1"}, edit: otherUser, says: "another user"},
		"another group":             {names: []string{"m1"}, edit: otherGroup, says: "another user"},
		"a user outside the group":  {names: []string{"m1"}, edit: outsideGroup, says: "another user"},
		"a client's usage":          {names: []string{"m1"}, edit: clientUsage, says: "to be used for"},
		"a URI":                     {names: []string{"m1"}, edit: withURI, says: "URIs"},
	} {
		t.Run(name, func(t *testing.T) {
			// The node itself may report any address.
			own := servingNode("m1", "192.0.2.1", "192.0.2.2", "192.0.2.100", "10.0.0.2", "127.0.0.1")
			own.Status.Addresses = append(own.Status.Addresses,
				corev1.NodeAddress{Type: corev1.NodeInternalDNS, Address: "kubernetes.default.svc"})
			joiner, client := servingJoiner(t, bootstraps, own, servingNode("m2", "10.0.0.2"),
				requestOf(t, "m1", one.names, one.addresses, one.edit))
			_, err := joiner.WaitReady(t.Context(), "m1", "", operation.AsText(func(string) {}))
			assert.ErrorContains(t, err, one.says)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			assert.Assert(t, !approved(t, client, "csr-m1"))

			findings, err := joiner.Verify(t.Context(), joiner.Cluster.Fleet.Machines[:1])
			assert.NilError(t, err)
			assert.Assert(t, len(findings[0].Problems) > 0)
			assert.Assert(t, !approved(t, client, "csr-m1"))
		})
	}
}

func TestTheNewestRequestOfAKubeletCounts(t *testing.T) {
	now := time.Now()
	outdated := requestOf(t, "m1", []string{"m1"}, []string{"10.9.9.9"}, nil)
	outdated.Name, outdated.CreationTimestamp = "csr-a", metav1.NewTime(now.Add(-time.Minute))
	newest := requestOf(t, "m1", []string{"m1"}, []string{"192.0.2.1"}, nil)
	newest.CreationTimestamp = metav1.NewTime(now)
	joiner, client := servingJoiner(t, bootstraps, servingNode("m1", "192.0.2.1"), outdated, newest)
	sign(t, client, now.Add(time.Hour))
	_, err := joiner.WaitReady(t.Context(), "m1", "", operation.AsText(func(string) {}))
	assert.NilError(t, err)
	assert.Assert(t, approved(t, client, "csr-m1") && !approved(t, client, "csr-a"))
}

func TestOnlyMachinesOfTheInventoryAreApproved(t *testing.T) {
	joiner, client := servingJoiner(t, bootstraps, servingNode("m1", "192.0.2.1"), servingNode("other", "192.0.2.9"),
		requestOf(t, "other", []string{"other"}, []string{"192.0.2.9"}, nil),
		requestOf(t, "m1", []string{"m1"}, []string{"192.0.2.1"}, nil))
	_, err := joiner.Verify(t.Context(), joiner.Cluster.Fleet.Machines)
	assert.NilError(t, err)
	assert.Assert(t, approved(t, client, "csr-m1"), "a renewal is approved by any run")
	assert.Assert(t, !approved(t, client, "csr-other"))
}

func TestAClientsRequestIsNoServingRequest(t *testing.T) {
	request := requestOf(t, "m1", []string{"m1"}, nil, nil)
	request.Spec.SignerName = certificatesv1.KubeAPIServerClientKubeletSignerName
	joiner, client := servingJoiner(t, bootstraps, servingNode("m1", "192.0.2.1"), request)
	_, err := joiner.Verify(t.Context(), joiner.Cluster.Fleet.Machines)
	assert.NilError(t, err)
	assert.Assert(t, !approved(t, client, "csr-m1"))
}

func TestRequestsStayWhereKubeletsSignThemselvesOrOthersApprove(t *testing.T) {
	for _, kubelet := range []string{
		"", "serverTLSBootstrap: false", bootstraps + "tlsCertFile: /a.crt\n", bootstraps,
	} {
		joiner, client := servingJoiner(t, kubelet, servingNode("m1", "192.0.2.1"),
			requestOf(t, "m1", []string{"m1"}, nil, nil))
		if kubelet == bootstraps {
			client.PrependReactor("list", "certificatesigningrequests",
				func(clienttesting.Action) (bool, runtime.Object, error) {
					return true, nil, apierrors.NewForbidden(schema.GroupResource{}, "", nil)
				})
		}
		_, err := joiner.WaitReady(t.Context(), "m1", "", operation.AsText(func(string) {}))
		assert.NilError(t, err, kubelet)
		_, err = joiner.Verify(t.Context(), joiner.Cluster.Fleet.Machines)
		assert.NilError(t, err, kubelet)
		assert.Assert(t, !approved(t, client, "csr-m1"), kubelet)
	}
}
