package factory

import (
	"context"
	"fmt"
	"net/url"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/sources"
	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/secret"
)

// openRepository returns the source of the cluster's node bundles: the repository in the documents, or the control
// plane itself, whose server is verified by the cluster's own authority. The documents may name allowed hosts only.
func openRepository(ctx context.Context, documents *config.Cluster, target *join.Target,
	allowed sources.List,
) (*bundle.Repository, error) {
	bundles := &documents.Fleet.Bundles
	repository := &bundle.Repository{
		URL: bundles.Repository, Format: bundles.Format, SHA256: bundles.SHA256,
		AllowUnverified: bundles.AllowUnverified,
	}
	if !documents.BundlesFromControlPlane() {
		repository.CACert = []byte(bundles.CACert)
		return repository, checkRepository(bundles.Repository, allowed)
	}
	if target.BundlesURL == "" {
		return nil, errclass.Errorf(errclass.Configuration,
			"the control plane of cluster %q serves no node bundles yet: submit workflow provision, or set "+
				"bundles.repository in argosy.yaml", documents.Name)
	}
	token, err := bundlesToken(ctx, target)
	if err != nil {
		return nil, err
	}
	bundles.CACert = target.CACert
	repository.URL, repository.Token = target.BundlesURL, token
	repository.Renew = func(ctx context.Context) (secret.Value, error) { return bundlesToken(ctx, target) }
	repository.CACert = []byte(bundles.CACert)
	return repository, nil
}

// checkRepository refuses a repository on a host that is not allowed. None at all is the join's to refuse.
func checkRepository(repository string, allowed sources.List) error {
	if repository == "" {
		return nil
	}
	address, err := url.Parse(repository)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "reading bundles.repository of argosy.yaml: %w", err)
	}
	return allowed.Check("bundles.repository of argosy.yaml", address.Host)
}

// tokenLife is how long the plugin may fetch bundles with one token, in seconds. A workflow that lasts longer gets
// another.
const tokenLife = 12 * 60 * 60

// bundlesToken returns the token with which the plugin reads from the bundle server. Machines use their own bootstrap
// tokens.
func bundlesToken(ctx context.Context, target *join.Target) (secret.Value, error) {
	life := int64(tokenLife)
	made, err := target.Client.CoreV1().ServiceAccounts(metav1.NamespaceSystem).CreateToken(ctx,
		controlplane.BundlesAccount,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &life}},
		metav1.CreateOptions{})
	if err != nil {
		return secret.Value{}, fmt.Errorf("getting a token for the control plane's bundle server: %w",
			apply.Classify(err))
	}
	return secret.New(made.Status.Token), nil
}
