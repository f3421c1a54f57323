package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"argosy.dev/argosy/test/site"
)

// requestForOther asks the cluster, with the bootstrap token of a machine that joins, for the certificate of another
// node, and returns the request's name.
func requestForOther(t *testing.T, machine, node string) string {
	t.Helper()
	var tokens corev1.SecretList
	eventually(t, machine+" has a bootstrap token", func() bool {
		out := kubectl(t, teamA(), "get", "secret", "--namespace", "kube-system", "--selector",
			"argosy.dev/machine="+machine, "--output", "json")
		assert.NilError(t, json.Unmarshal([]byte(out), &tokens))
		return len(tokens.Items) > 0
	}, func() string { return "none" })
	secret := tokens.Items[0].Data
	admin, err := clientcmd.BuildConfigFromFlags("", env.Lab.KubeconfigPath(site.TeamA))
	assert.NilError(t, err)
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken = string(secret["token-id"]) + "." + string(secret["token-secret"])
	client, err := kubernetes.NewForConfig(config)
	assert.NilError(t, err)

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{
		CommonName: "system:node:" + node, Organization: []string{"system:nodes"},
	}}, key)
	assert.NilError(t, err)
	request, err := client.CertificatesV1().CertificateSigningRequests().Create(t.Context(),
		&certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "stolen-"},
			Spec: certificatesv1.CertificateSigningRequestSpec{
				SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
				Usages: []certificatesv1.KeyUsage{
					certificatesv1.UsageDigitalSignature,
					certificatesv1.UsageClientAuth,
				},
				Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			},
		}, metav1.CreateOptions{})
	assert.NilError(t, err)
	return request.Name
}

func readRequest(t *testing.T, name string) certificatesv1.CertificateSigningRequest {
	t.Helper()
	var request certificatesv1.CertificateSigningRequest
	assert.NilError(t, json.Unmarshal([]byte(kubectl(t, teamA(), "get", "csr", name, "--output", "json")), &request))
	return request
}

// answeredAs reports whether Argosy has answered a request of a bootstrap token so.
func answeredAs(request certificatesv1.CertificateSigningRequest,
	answer certificatesv1.RequestConditionType,
) bool {
	return slices.ContainsFunc(request.Status.Conditions,
		func(condition certificatesv1.CertificateSigningRequestCondition) bool {
			return condition.Type == answer && condition.Reason == "BootstrapTokenOfNode"
		})
}

// assertApproved checks that Argosy approved a certificate for each machine's node since then, asked for with a
// bootstrap token.
func assertApproved(t *testing.T, since time.Time, machines ...string) {
	t.Helper()
	var requests certificatesv1.CertificateSigningRequestList
	assert.NilError(t, json.Unmarshal([]byte(kubectl(t, teamA(), "get", "csr", "--output", "json")), &requests))
	for _, machine := range machines {
		assert.Assert(t, slices.ContainsFunc(requests.Items, func(r certificatesv1.CertificateSigningRequest) bool {
			return strings.HasPrefix(r.Spec.Username, "system:bootstrap:") && nodeOfRequest(t, r) == machine &&
				!r.CreationTimestamp.Time.Before(since.Truncate(time.Second)) && len(r.Status.Certificate) > 0 &&
				answeredAs(r, certificatesv1.CertificateApproved)
		}), "no certificate of %s was approved by Argosy", machine)
	}
}

// nodeOfRequest returns the name of the node whose certificate a request is for.
func nodeOfRequest(t *testing.T, request certificatesv1.CertificateSigningRequest) string {
	t.Helper()
	block, _ := pem.Decode(request.Spec.Request)
	asked, err := x509.ParseCertificateRequest(block.Bytes)
	assert.NilError(t, err)
	return strings.TrimPrefix(asked.Subject.CommonName, "system:node:")
}
