package join

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
)

// ServingAnnotation of a node holds until when the kubelet's serving certificate holds, RFC 3339, once the cluster has
// signed one for a machine of the inventory.
const ServingAnnotation = "argosy.dev/serving-certificate-until"

// Bounds of the wait for a kubelet's request, which it makes about a second after its node has addresses.
const (
	servingTimeout  = 45 * time.Second
	servingInterval = time.Second
)

// HasServingCertificate reports whether a node's kubelet serves with a certificate that the cluster signed.
func HasServingCertificate(node *corev1.Node, now time.Time) bool {
	until, err := time.Parse(time.RFC3339, node.Annotations[ServingAnnotation])
	return err == nil && now.Before(until)
}

// requestsServing reports whether the cluster's kubelet-config has kubelets ask the cluster for serving certificates.
func (t *Target) requestsServing() bool {
	var wanted struct {
		ServerTLSBootstrap bool   `json:"serverTLSBootstrap"`
		TLSCertFile        string `json:"tlsCertFile"`
	}
	return decodeYAML(t.KubeletConfig, &wanted) == nil && wanted.ServerTLSBootstrap && wanted.TLSCertFile == ""
}

// ensureServing waits for the serving certificate of a node that has none noted, and approves the kubelet's request
// where all that it asks for is the machine's. A kubelet that asks for none in time is left to a later run; a request
// for names or addresses of others is an error.
func (j *Joiner) ensureServing(ctx context.Context, node *corev1.Node, progress operation.Progress) error {
	if !j.Target.requestsServing() {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, servingTimeout)
	defer cancel()
	for {
		refused, err := j.approveServing(wait, map[string]*corev1.Node{node.Name: node})
		switch {
		case apierrors.IsForbidden(err):
			return nil // another program approves in a cluster that is not ours
		case err != nil && ctx.Err() != nil:
			return err
		case refused[node.Name] != "":
			return errclass.Errorf(errclass.Configuration, "approving the serving certificate of node %q: its "+
				"kubelet %s", node.Name, refused[node.Name])
		case HasServingCertificate(node, time.Now()):
			return nil
		}
		operation.Reportf(progress, "waiting: the kubelet of node %s has no serving certificate yet", node.Name)
		select {
		case <-wait.Done():
			return ctx.Err()
		case <-time.After(servingInterval):
		}
	}
}

// approveServing approves the pending requests of the nodes' kubelets for serving certificates, and notes at the nodes
// those that were signed. It returns by node the reasons why requests were left.
func (j *Joiner) approveServing(ctx context.Context, nodes map[string]*corev1.Node) (map[string]string, error) {
	if !j.Target.requestsServing() {
		return nil, nil
	}
	requests, err := j.Target.Client.CertificatesV1().CertificateSigningRequests().List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.signerName",
			certificatesv1.KubeletServingSignerName).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("listing the kubelets' requests for certificates: %w", apply.Classify(err))
	}
	all, err := j.Target.Nodes(ctx, j.Cluster.Name)
	if err != nil {
		return nil, err
	}
	// A kubelet whose node has got another address has made a newer request, and waits for that one.
	slices.SortStableFunc(requests.Items, func(a, b certificatesv1.CertificateSigningRequest) int {
		return b.CreationTimestamp.Compare(a.CreationTimestamp.Time)
	})
	refused, newer := map[string]string{}, map[string]bool{}
	for i := range requests.Items {
		request := &requests.Items[i]
		name := strings.TrimPrefix(request.Spec.Username, nodeUser)
		if request.Spec.SignerName != certificatesv1.KubeletServingSignerName || nodes[name] == nil ||
			all[name] == nil {
			continue
		}
		if newer[name] && len(request.Status.Conditions) == 0 {
			continue
		}
		newer[name] = true
		reason, err := j.approveOne(ctx, request, nodes[name], all)
		if err != nil {
			return refused, err
		}
		if reason != "" {
			refused[name] = reason
		}
	}
	return refused, nil
}

// approveOne approves a request, or returns why not; one that was signed is noted at its node.
func (j *Joiner) approveOne(ctx context.Context, request *certificatesv1.CertificateSigningRequest, node *corev1.Node,
	all map[string]*corev1.Node,
) (string, error) {
	machine, known := j.machineOf(node.Name)
	if !known {
		return "", nil
	}
	for _, condition := range request.Status.Conditions {
		if condition.Type != certificatesv1.CertificateApproved {
			return "", nil // it was denied, or the signer refused it
		}
	}
	asked, reason := parseServing(request)
	if reason == "" {
		reason = j.namesOf(machine, all).foreign(asked)
	}
	if reason != "" {
		if len(request.Status.Conditions) > 0 {
			return "", nil // another approver's business
		}
		return reason, nil
	}
	if len(request.Status.Certificate) > 0 {
		return "", j.noteServing(ctx, node, request.Status.Certificate)
	}
	if len(request.Status.Conditions) > 0 {
		return "", nil
	}
	request.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "MachineOfInventory",
		Message: fmt.Sprintf("All names and addresses are those of machine %s.", machine.Name),
	}}
	_, err := j.Target.Client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, request.Name, request,
		metav1.UpdateOptions{FieldManager: apply.Manager})
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("approving CertificateSigningRequest %q: %w", request.Name, apply.Classify(err))
	}
	return "", nil
}

// noteServing notes at a node until when its serving certificate holds, unless a later one is noted.
func (j *Joiner) noteServing(ctx context.Context, node *corev1.Node, certificate []byte) error {
	block, _ := pem.Decode(certificate)
	if block == nil {
		return nil
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	if noted, err := time.Parse(time.RFC3339, node.Annotations[ServingAnnotation]); err == nil &&
		!noted.Before(parsed.NotAfter) {
		return nil
	}
	until := parsed.NotAfter.UTC().Format(time.RFC3339)
	patch := map[string]any{"metadata": map[string]any{"annotations": map[string]string{ServingAnnotation: until}}}
	if _, err := apply.PatchNode(ctx, j.Target.Client, node.Name, patch); err != nil {
		return fmt.Errorf("noting the serving certificate of node %q: %w", node.Name, err)
	}
	if node.Annotations == nil {
		node.Annotations = map[string]string{}
	}
	node.Annotations[ServingAnnotation] = until
	return nil
}

func (j *Joiner) machineOf(node string) (config.Machine, bool) {
	i := slices.IndexFunc(j.Cluster.Fleet.Machines, func(m config.Machine) bool { return m.NodeName == node })
	if i < 0 {
		return config.Machine{}, false
	}
	return j.Cluster.Fleet.Machines[i], true
}

// nodeUser begins the name of a kubelet's user, and nodesGroup is its group.
const (
	nodeUser   = "system:node:"
	nodesGroup = "system:nodes"
)

// servingUsages are those that a kubelet asks for; key encipherment is only asked for with an RSA key.
var servingUsages = []certificatesv1.KeyUsage{
	certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageServerAuth,
}

// parseRequest reads the certificate that a request asks for, or returns why it cannot be read.
func parseRequest(request *certificatesv1.CertificateSigningRequest) (*x509.CertificateRequest, string) {
	block, _ := pem.Decode(request.Spec.Request)
	if block == nil {
		return nil, "sent a request that is no PEM"
	}
	asked, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Sprintf("sent a request that cannot be read: %v", err)
	}
	return asked, ""
}

// parseServing reads a request, and holds its form against the signer's rules:
// https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
func parseServing(request *certificatesv1.CertificateSigningRequest) (*x509.CertificateRequest, string) {
	asked, reason := parseRequest(request)
	if reason != "" {
		return nil, reason
	}
	unusual := func(usage certificatesv1.KeyUsage) bool { return !slices.Contains(servingUsages, usage) }
	switch {
	case !slices.Contains(request.Spec.Groups, nodesGroup) || asked.Subject.CommonName != request.Spec.Username ||
		!slices.Equal(asked.Subject.Organization, []string{nodesGroup}):
		return nil, fmt.Sprintf("asks for a certificate of %q, which is another user", asked.Subject.CommonName)
	case slices.ContainsFunc(request.Spec.Usages, unusual) ||
		!slices.Contains(request.Spec.Usages, certificatesv1.UsageServerAuth):
		return nil, fmt.Sprintf("asks for a certificate to be used for %q", request.Spec.Usages)
	case len(asked.EmailAddresses)+len(asked.URIs) > 0:
		return nil, "asks for a certificate with e-mail addresses or URIs"
	case len(asked.DNSNames)+len(asked.IPAddresses) == 0:
		return nil, "asks for a certificate without names and addresses"
	}
	return asked, ""
}

// servingNames are the names and addresses that belong to one machine, and those that belong to others.
type servingNames struct{ own, others []string }

// namesOf returns a machine's names: those of the inventory, and those that its node reports. A kubelet writes the
// latter itself, so that those of other machines and of the API server are never its own.
func (j *Joiner) namesOf(machine config.Machine, nodes map[string]*corev1.Node) servingNames {
	names := servingNames{
		own:    append(addressesOf(nodes[machine.NodeName]), machine.NodeName, machine.Address),
		others: []string{"localhost", "kubernetes"},
	}
	if server, err := url.Parse(j.Target.Server); err == nil {
		names.others = append(names.others, server.Hostname())
	}
	for _, other := range j.Cluster.Fleet.Machines {
		if other.Name != machine.Name {
			names.others = append(names.others, other.NodeName, other.Address)
		}
	}
	for name, node := range nodes {
		if name != machine.NodeName {
			names.others = append(append(names.others, name), addressesOf(node)...)
		}
	}
	return names
}

func addressesOf(node *corev1.Node) []string {
	var addresses []string
	if node != nil {
		for _, address := range node.Status.Addresses {
			addresses = append(addresses, address.Address)
		}
	}
	return addresses
}

// foreign returns why a request asks for more than the machine's own; "" when it does not.
func (n servingNames) foreign(asked *x509.CertificateRequest) string {
	wanted := slices.Clone(asked.DNSNames)
	for _, ip := range asked.IPAddresses {
		if ip.IsLoopback() || ip.IsUnspecified() {
			return fmt.Sprintf("asks for a certificate for %s", ip)
		}
		wanted = append(wanted, ip.String())
	}
	for _, name := range wanted {
		if strings.HasPrefix(name, "kubernetes.") || holds(n.others, name) {
			return fmt.Sprintf("asks for a certificate for %s, which belongs to another machine or to the API server",
				name)
		}
		if !holds(n.own, name) {
			return fmt.Sprintf("asks for a certificate for %s, which is no name or address of the machine", name)
		}
	}
	return ""
}

// holds reports whether a list has a name, in any spelling of an address and in any case.
func holds(list []string, name string) bool {
	ip := net.ParseIP(name)
	return slices.ContainsFunc(list, func(one string) bool {
		if other := net.ParseIP(one); ip != nil && other != nil {
			return ip.Equal(other)
		}
		return strings.EqualFold(strings.TrimSuffix(one, "."), strings.TrimSuffix(name, "."))
	})
}
