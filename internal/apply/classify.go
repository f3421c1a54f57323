package apply

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"argosy.dev/argosy/pkg/errclass"
)

// Classify gives the error of a request to an API server its class: an error that a repetition may cure is transient, a
// refusal of the server or of its certificate is not. It names the rule of a missing permission. nil stays nil.
func Classify(err error) error {
	var verification *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return errclass.With(errclass.Cancelled, err)
	case meta.IsNoMatchError(err):
		return errclass.Errorf(errclass.Permanent, "the API server does not serve this kind: %w", err)
	case errors.As(err, &verification), errors.As(err, &unknown):
		return errclass.With(errclass.Configuration, err)
	case apierrors.IsUnauthorized(err):
		return errclass.Errorf(errclass.Configuration, "the API server does not accept these credentials: %w", err)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return errclass.With(errclass.Transient, err)
	case apierrors.IsForbidden(err):
		return errclass.With(errclass.Configuration, refused(err))
	case apierrors.IsNotFound(err):
		return notFound(err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsMethodNotSupported(err),
		apierrors.IsRequestEntityTooLargeError(err), apierrors.IsUnsupportedMediaType(err),
		apierrors.IsNotAcceptable(err):
		return errclass.With(errclass.Permanent, err)
	}
	return errclass.With(errclass.Transient, err)
}

// notFound tells a missing namespace, which a person must create, from a kind that is not served yet.
func notFound(err error) error {
	status, _ := statusOf(err)
	switch {
	case status.Details != nil && status.Details.Kind == "namespaces":
		return errclass.Errorf(errclass.Configuration, "namespace %q does not exist; create it: %w",
			status.Details.Name, err)
	case apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse):
		return errclass.With(errclass.Transient, err)
	}
	return errclass.With(errclass.Permanent, err)
}

var deniedVerb = regexp.MustCompile(`cannot (\w+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?`)

// refused names the rule that is missing, as "patch deployments.apps in kube-system". A refusal that is not about RBAC
// (a quota, an admission policy) stays as it is.
func refused(err error) error {
	match := deniedVerb.FindStringSubmatch(err.Error())
	if match == nil {
		return err
	}
	verb, resource, group, namespace := match[1], match[2], match[3], match[4]
	if group != "" {
		resource += "." + group
	}
	if namespace == "" || resource == "namespaces" { // a Namespace counts as lying in itself
		return fmt.Errorf("missing permission: %s %s (a rule of a ClusterRole): %w", verb, resource, err)
	}
	return fmt.Errorf("missing permission: %s %s in %s (a rule of a Role): %w", verb, resource, namespace, err)
}

// joinErrors makes one error of those of many objects; failed[i] is that of objects[i]. Its class is that of the
// failure that a retry helps least.
func joinErrors(doing string, objects []*unstructured.Unstructured, failed []error) error {
	var errs []error
	var texts []string
	classes := map[errclass.Class]bool{}
	for i, err := range failed {
		if err == nil {
			continue
		}
		err = fmt.Errorf("%s: %w", nameOf(objects[i]), err)
		errs, texts = append(errs, err), append(texts, err.Error())
		classes[errclass.ClassOf(err)] = true
	}
	if len(errs) == 0 {
		return nil
	}
	all := &failures{text: fmt.Sprintf("%s %d of %d objects: %s", doing, len(errs), len(objects),
		strings.Join(texts, "; ")), errs: errs}
	for _, class := range []errclass.Class{errclass.Cancelled, errclass.Configuration, errclass.Permanent} {
		if classes[class] {
			return errclass.With(class, all)
		}
	}
	return errclass.With(errclass.Transient, all)
}

// failures holds the errors of several objects, in one line since it ends in a message of Argo.
type failures struct {
	text string
	errs []error
}

func (f *failures) Error() string   { return f.text }
func (f *failures) Unwrap() []error { return f.errs }
