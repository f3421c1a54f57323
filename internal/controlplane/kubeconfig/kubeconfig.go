// Package kubeconfig makes kubeconfigs for the users of a hosted cluster. The cluster itself signs their certificates,
// so no key of an authority is read here, and RBAC in the cluster decides what a user may do.
package kubeconfig

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/pkg/errclass"
)

// Result describes a kubeconfig that was made for a user. The kubeconfig itself is in the Secret alone.
type Result struct {
	Secret  string    `json:"secret"`
	User    string    `json:"user"`
	Groups  []string  `json:"groups,omitempty"`
	Expires time.Time `json:"expires"`
	// Changed is false when the one that was there stays.
	Changed bool `json:"changed"`
}

// String returns one line for people.
func (r Result) String() string {
	text := fmt.Sprintf("Secret %s, key %s: kubeconfig of user %q", r.Secret, certificates.KubeconfigKey, r.User)
	if len(r.Groups) > 0 {
		text += ", groups " + strings.Join(r.Groups, ", ")
	}
	text += ", holds until " + r.Expires.UTC().Format(time.RFC3339)
	if !r.Changed {
		text += "; unchanged"
	}
	return text
}

// Ensure has the cluster sign a certificate for a user and writes a kubeconfig with it to a Secret of the cluster's
// namespace. One that is there, for the same user and groups, stays while half of the requested time is left.
func Ensure(ctx context.Context, cluster hosted.Cluster, o Options, report func(string)) (Result, error) {
	result := Result{Secret: secretName(cluster.Names(), o.User), User: o.User, Groups: o.Groups}
	if err := ensure(ctx, cluster, o, &result, report); err != nil {
		return result, fmt.Errorf("making a kubeconfig for user %q of cluster %q: %w", o.User, cluster.Name, err)
	}
	cluster.Info("kubeconfig made", "secret", result.Secret, "user", result.User, "groups", result.Groups, "expires",
		result.Expires, "changed", result.Changed)
	return result, nil
}

func ensure(ctx context.Context, cluster hosted.Cluster, o Options, result *Result, report func(string)) error {
	if err := cluster.CheckHosted(); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	restConfig, err := cluster.RESTConfig(ctx)
	if err != nil {
		return err
	}
	held, err := read(ctx, cluster, result.Secret)
	if err != nil {
		return err
	}
	if held != nil {
		pair, server := certificates.ReadKubeconfig(held.Data[certificates.KubeconfigKey])
		ends, unfit := pki.Fit(restConfig.CAData, pair, o.leaf())
		if unfit == "" && server == restConfig.Host && ends.Sub(cluster.Now()) >= o.Life/2 {
			result.Expires = ends
			if len(held.Data[corev1.TLSCertKey]) > 0 {
				return nil
			}
			result.Changed = true // a Secret of an earlier version, which has the kubeconfig alone
			return write(ctx, cluster, held, result.Secret, data(held.Data[certificates.KubeconfigKey],
				restConfig.CAData, pair))
		}
	}
	connection, err := cluster.Open(ctx, restConfig, report)
	if err != nil {
		return err
	}
	pair, err := requestCertificate(ctx, cluster, connection.Client, o, report)
	if err != nil {
		return err
	}
	var unfit string
	if result.Expires, unfit = pki.Fit(restConfig.CAData, pair, o.leaf()); unfit != "" {
		return errclass.Errorf(errclass.Permanent, "reading the certificate that the cluster signed: %s", unfit)
	}
	text, err := certificates.WriteKubeconfig(cluster.Name, restConfig.Host, o.User, restConfig.CAData, pair)
	if err != nil {
		return err
	}
	result.Changed = true
	return write(ctx, cluster, held, result.Secret, data(text, restConfig.CAData, pair))
}

// data returns the content of the Secret: the kubeconfig, and its parts for programs that read no kubeconfig, such as
// Prometheus, by the keys of a TLS Secret.
func data(kubeconfig, authority []byte, pair pki.Pair) map[string][]byte {
	return map[string][]byte{
		certificates.KubeconfigKey: kubeconfig, corev1.ServiceAccountRootCAKey: authority,
		corev1.TLSCertKey: pair.Cert, corev1.TLSPrivateKeyKey: pair.Key,
	}
}

// read returns the Secret that was made for the user before; nil when there is none. One that was not made here is
// refused: it may hold anything, also another cluster's keys.
func read(ctx context.Context, cluster hosted.Cluster, name string) (*corev1.Secret, error) {
	held, err := cluster.Host.CoreV1().Secrets(cluster.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %q: %w", name, apply.Classify(err))
	}
	for label, value := range cluster.Names().Labels(hosted.User) {
		if held.Labels[label] != value {
			return nil, errclass.Errorf(errclass.Configuration, "Secret %q exists and is no user's kubeconfig of "+
				"this cluster: remove it, or give the user another name", name)
		}
	}
	return held, nil
}

// write creates the Secret, or changes the one held.
func write(ctx context.Context, cluster hosted.Cluster, held *corev1.Secret, name string,
	data map[string][]byte,
) error {
	secret := cluster.Secret(name, data)
	secret.Labels = cluster.Names().Labels(hosted.User)
	secrets := cluster.Host.CoreV1().Secrets(cluster.Namespace)
	if held == nil {
		if _, err := secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: apply.Manager}); err != nil {
			return fmt.Errorf("creating Secret %q: %w", name, apply.Classify(err))
		}
		return nil
	}
	patch, err := json.Marshal(map[string]any{"data": secret.Data})
	if err != nil {
		return fmt.Errorf("encoding Secret %q: %w", name, err)
	}
	if _, err := secrets.Patch(ctx, name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: apply.Manager}); err != nil {
		return fmt.Errorf("changing Secret %q: %w", name, apply.Classify(err))
	}
	return nil
}
