package controlplane

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/pki"
)

// requestCertificate has the cluster itself sign a certificate, as administrators would by hand. The key is made here
// and leaves in the kubeconfig alone; the authority's is not touched. The request is removed, whatever became of it.
func (p *Provisioner) requestCertificate(ctx context.Context, cluster kubernetes.Interface, o UserOptions,
	report func(string)) (pki.Pair, error) {
	text, key, err := pki.Request(o.leaf())
	if err != nil {
		return pki.Pair{}, err
	}
	requests := cluster.CertificatesV1().CertificateSigningRequests()
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
	defer removeRequest(ctx, cluster, request.Name)
	request.Status.Conditions = append(request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Requested",
		Message: "A kubeconfig was asked for.",
	})
	if _, err := requests.UpdateApproval(ctx, request.Name, request,
		metav1.UpdateOptions{FieldManager: apply.Manager}); err != nil {
		return pki.Pair{}, fmt.Errorf("approving CertificateSigningRequest %q: %w", request.Name, apply.Classify(err))
	}
	pair := pki.Pair{Key: key}
	err = p.wait(ctx, report, func(ctx context.Context) (string, error) {
		held, err := requests.Get(ctx, request.Name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("reading CertificateSigningRequest %q: %w", request.Name, apply.Classify(err))
		}
		pair.Cert = held.Status.Certificate
		return unsigned(held)
	})
	return pair, err
}

// unsigned says what a request that is approved waits for; "" when it is signed. It is an error when it never will be.
func unsigned(request *certificatesv1.CertificateSigningRequest) (string, error) {
	for _, condition := range request.Status.Conditions {
		if condition.Type == certificatesv1.CertificateFailed || condition.Type == certificatesv1.CertificateDenied {
			return "", errclass.Errorf(errclass.Permanent, "the cluster does not sign CertificateSigningRequest %q: "+
				"%s: %s", request.Name, condition.Reason, condition.Message)
		}
	}
	if len(request.Status.Certificate) == 0 {
		return fmt.Sprintf("the controller manager has not signed CertificateSigningRequest %s yet", request.Name), nil
	}
	return "", nil
}

// removeRequest needs no success: the cluster removes what is signed after an hour.
func removeRequest(ctx context.Context, cluster kubernetes.Interface, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	_ = cluster.CertificatesV1().CertificateSigningRequests().Delete(ctx, name, metav1.DeleteOptions{})
}
