package kubeconfig

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/pkg/errclass"
)

// requestCertificate has the cluster itself sign a certificate, as an administrator would by hand. The key is made here
// and leaves in the kubeconfig alone; the authority's is not read. The request is removed afterwards in every case.
func requestCertificate(ctx context.Context, cluster hosted.Cluster, client kubernetes.Interface, o Options,
	report func(string),
) (pki.Pair, error) {
	text, key, err := pki.Request(o.leaf())
	if err != nil {
		return pki.Pair{}, err
	}
	requests := client.CertificatesV1().CertificateSigningRequests()
	life := int32(o.Life / time.Second)
	request, err := requests.Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "argosy-kubeconfig-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: text, SignerName: certificatesv1.KubeAPIServerClientSignerName, ExpirationSeconds: &life,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}, metav1.CreateOptions{FieldManager: apply.Manager})
	if err != nil {
		return pki.Pair{}, fmt.Errorf("creating a CertificateSigningRequest: %w", apply.Classify(err))
	}
	defer removeRequest(ctx, client, request.Name)
	request.Status.Conditions = append(request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Requested",
		Message: "A kubeconfig was asked for.",
	})
	if _, err := requests.UpdateApproval(ctx, request.Name, request,
		metav1.UpdateOptions{FieldManager: apply.Manager}); err != nil {
		return pki.Pair{}, fmt.Errorf("approving CertificateSigningRequest %q: %w", request.Name, apply.Classify(err))
	}
	pair := pki.Pair{Key: key}
	unmet := fmt.Sprintf("CertificateSigningRequest %q not signed", request.Name)
	err = cluster.Wait(ctx, unmet, report, func(ctx context.Context) (string, error) {
		held, err := requests.Get(ctx, request.Name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("reading CertificateSigningRequest %q: %w", request.Name, apply.Classify(err))
		}
		pair.Cert = held.Status.Certificate
		return unsigned(held)
	})
	return pair, err
}

// unsigned returns the reason why an approved request is not signed yet; "" when it is. A refusal is an error.
func unsigned(request *certificatesv1.CertificateSigningRequest) (string, error) {
	for _, condition := range request.Status.Conditions {
		if condition.Type == certificatesv1.CertificateFailed || condition.Type == certificatesv1.CertificateDenied {
			return "", errclass.Errorf(errclass.Permanent, "signing CertificateSigningRequest %q: the cluster "+
				"refused: %s: %s", request.Name, condition.Reason, condition.Message)
		}
	}
	if len(request.Status.Certificate) == 0 {
		return fmt.Sprintf("the controller manager has not signed CertificateSigningRequest %s yet", request.Name), nil
	}
	return "", nil
}

// removeTimeout bounds the removal of a request.
const removeTimeout = 8 * time.Second

// removeRequest ignores errors: the cluster removes signed requests itself after an hour.
func removeRequest(ctx context.Context, client kubernetes.Interface, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	_ = client.CertificatesV1().CertificateSigningRequests().Delete(ctx, name, metav1.DeleteOptions{})
}
