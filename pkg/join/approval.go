package join

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/operation"
)

// approvalInterval is how long the requests are watched before they are listed again, since a watch may be lost without
// a word.
const approvalInterval = 5 * time.Second

// approver approves the request of one machine's kubelet for its client certificate, made with the bootstrap token of
// its join, and denies all others that were made with it.
type approver struct {
	client        kubernetes.Interface
	machine, node string
	progress      operation.Progress

	// users of the machine's tokens.
	users []string
	// noted has a sentence for each request of these that is not the node's, by the request's name.
	noted map[string]string
	// waiting is why the node's own request is not approved yet; empty when nothing keeps it.
	waiting string
	// err of the last attempt.
	err error
}

// run approves and denies until ctx ends. It needs no word from the machine, so that it can begin in the middle of a
// join that another process began.
func (a *approver) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := a.round(ctx)
		if ctx.Err() != nil {
			return
		}
		if a.err = err; err != nil {
			operation.Reportf(a.progress, "waiting: %v", err)
			sleep(ctx, time.Second)
		}
	}
}

// round decides on the requests that are there, and on those that come while approvalInterval lasts.
func (a *approver) round(ctx context.Context) error {
	users, err := boundTokens(ctx, a.client, a.machine, a.node)
	if err != nil {
		return err
	}
	a.users = users
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.signerName",
		certificatesv1.KubeAPIServerClientKubeletSignerName).String()}
	requests, err := a.client.CertificatesV1().CertificateSigningRequests().List(ctx, options)
	if err != nil {
		return fmt.Errorf("listing the kubelets' requests for certificates: %w", apply.Classify(err))
	}
	for i := range requests.Items {
		if err := a.decide(ctx, &requests.Items[i]); err != nil {
			return err
		}
	}
	options.ResourceVersion = requests.ResourceVersion
	return a.watch(ctx, options)
}

func (a *approver) watch(ctx context.Context, options metav1.ListOptions) error {
	ctx, cancel := context.WithTimeout(ctx, approvalInterval)
	defer cancel()
	changes, err := a.client.CertificatesV1().CertificateSigningRequests().Watch(ctx, options)
	if err != nil {
		return fmt.Errorf("watching the kubelets' requests for certificates: %w", apply.Classify(err))
	}
	defer changes.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, open := <-changes.ResultChan():
			request, is := event.Object.(*certificatesv1.CertificateSigningRequest)
			if !open || !is {
				sleep(ctx, time.Second) // the watch ended; a server that ends each at once is not asked without end
				return nil
			}
			if event.Type == watch.Deleted {
				continue
			}
			if err := a.decide(ctx, request); err != nil {
				return err
			}
		}
	}
}

// decide approves or denies a request of one of the machine's tokens. A decision of another approver stays.
func (a *approver) decide(ctx context.Context, request *certificatesv1.CertificateSigningRequest) error {
	if !slices.Contains(a.users, request.Spec.Username) ||
		request.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	reason := wrongClient(request, a.node)
	if len(request.Status.Conditions) > 0 {
		if reason != "" && isApproved(request) {
			a.note(request, "was approved by another approver, although it "+reason)
		}
		return nil
	}
	if reason == "" {
		ready, err := a.nodeReady(ctx)
		if err != nil {
			return err
		}
		if a.waiting = ""; ready {
			// It may be so for a while after the kubelet was stopped.
			a.waiting = fmt.Sprintf("CertificateSigningRequest %s is not approved while node %s is Ready: a kubelet "+
				"with credentials serves it", request.Name, a.node)
			operation.Reportf(a.progress, "waiting: %s", a.waiting)
			return nil
		}
		return a.answer(ctx, request, certificatesv1.CertificateApproved, fmt.Sprintf(
			"It is of node %s, and the bootstrap token was made for that node.", a.node))
	}
	a.note(request, "was denied: it "+reason)
	return a.answer(ctx, request, certificatesv1.CertificateDenied, fmt.Sprintf(
		"The bootstrap token was made for the join of node %s; this request %s.", a.node, reason))
}

// note remembers a request that the join did not make, and reports it once.
func (a *approver) note(request *certificatesv1.CertificateSigningRequest, outcome string) {
	if a.noted[request.Name] != "" {
		return
	}
	if a.noted == nil {
		a.noted = map[string]string{}
	}
	id := strings.TrimPrefix(request.Spec.Username, bootstrapapi.BootstrapUserPrefix)
	a.noted[request.Name] = fmt.Sprintf("CertificateSigningRequest %s, made with bootstrap token %s of node %s, %s",
		request.Name, id, a.node, outcome)
	operation.Reportf(a.progress, "%s", a.noted[request.Name])
}

// notes returns the sentences on requests that the join did not make, in a fixed order.
func (a *approver) notes() []string {
	var notes []string
	for _, note := range a.noted {
		notes = append(notes, note)
	}
	slices.Sort(notes)
	return notes
}

// explain adds to the error of a join why its machine may have got no certificate.
func (a *approver) explain(err error) error {
	causes := a.notes()
	if a.waiting != "" {
		causes = append(causes, a.waiting)
	}
	if a.err != nil {
		causes = append(causes, a.err.Error())
	}
	if err == nil || len(causes) == 0 {
		return err
	}
	return fmt.Errorf("%w\n  - %s", err, strings.Join(causes, "\n  - "))
}

// nodeReady reports whether the node is Ready. Its kubelet then has a certificate, by which it asks for the next one,
// and a request by token is not that kubelet's.
func (a *approver) nodeReady(ctx context.Context) (bool, error) {
	node, err := a.client.CoreV1().Nodes().Get(ctx, a.node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading node %q: %w", a.node, apply.Classify(err))
	}
	return ReadyCondition(node).Status == corev1.ConditionTrue, nil
}

// answer sets the condition of a request. One that changed or ended meanwhile comes again, or is gone.
func (a *approver) answer(ctx context.Context, request *certificatesv1.CertificateSigningRequest,
	condition certificatesv1.RequestConditionType, message string,
) error {
	request = request.DeepCopy()
	request.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
		Type: condition, Status: corev1.ConditionTrue, Reason: "BootstrapTokenOfNode", Message: message,
	}}
	_, err := a.client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, request.Name, request,
		metav1.UpdateOptions{FieldManager: apply.Manager})
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("answering CertificateSigningRequest %q: %w", request.Name, apply.Classify(err))
	}
	return nil
}

func isApproved(request *certificatesv1.CertificateSigningRequest) bool {
	return slices.ContainsFunc(request.Status.Conditions,
		func(condition certificatesv1.CertificateSigningRequestCondition) bool {
			return condition.Type == certificatesv1.CertificateApproved
		})
}

// clientUsages are those that a kubelet asks for; key encipherment is only asked for with an RSA key.
var clientUsages = []certificatesv1.KeyUsage{
	certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageClientAuth,
}

// wrongClient returns how a request differs from that of node's kubelet; "" when it does not.
func wrongClient(request *certificatesv1.CertificateSigningRequest, node string) string {
	asked, reason := parseRequest(request)
	if reason != "" {
		return reason
	}
	unusual := func(usage certificatesv1.KeyUsage) bool { return !slices.Contains(clientUsages, usage) }
	switch {
	case asked.Subject.CommonName != nodeUser+node || !slices.Equal(asked.Subject.Organization, []string{nodesGroup}):
		return fmt.Sprintf("asks for a certificate of user %q in groups %q", asked.Subject.CommonName,
			asked.Subject.Organization)
	case slices.ContainsFunc(request.Spec.Usages, unusual) ||
		!slices.Contains(request.Spec.Usages, certificatesv1.UsageClientAuth):
		return fmt.Sprintf("asks for a certificate to be used for %q", request.Spec.Usages)
	case alternativeNames(asked) > 0:
		return "asks for a certificate with names and addresses"
	}
	return ""
}

func alternativeNames(asked *x509.CertificateRequest) int {
	return len(asked.DNSNames) + len(asked.IPAddresses) + len(asked.EmailAddresses) + len(asked.URIs)
}

// sleep waits for a time, or until ctx ends.
func sleep(ctx context.Context, duration time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(duration):
	}
}
