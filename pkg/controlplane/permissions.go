package controlplane

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/fault"
	"golang.org/x/sync/errgroup"
)

// Rule is what provisioning may do in the cluster's namespace.
type Rule struct {
	Group, Resource string
	Verbs           []string
}

// Rules are all that provisioning needs; install/rbac/provision grants them, and a run checks them first.
func Rules() []Rule {
	keep := []string{"get", "list", "watch", "create", "patch", "delete"}
	return []Rule{
		{"", "configmaps", keep},
		{"", "secrets", keep},
		{"", "services", keep},
		{"", "persistentvolumeclaims", keep},
		{"", "pods", []string{"get", "list", "watch", "delete"}},
		{"", "pods/log", []string{"get"}},
		{"", "events", []string{"list"}},
		{"apps", "statefulsets", keep},
		{"batch", "jobs", keep},
		{"policy", "poddisruptionbudgets", keep},
	}
}

// reviewsAtOnce bounds the questions to the API server.
const reviewsAtOnce = 16

// checkPermissions asks the host cluster for every rule and names all that are missing at once.
func (p *Provisioner) checkPermissions(ctx context.Context) error {
	rules := Rules()
	missing := make([][]string, len(rules))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(reviewsAtOnce)
	for i, rule := range rules {
		group.Go(func() error {
			var err error
			missing[i], err = p.missing(ctx, rule)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var lines []string
	for i, verbs := range missing {
		if len(verbs) > 0 {
			name := rules[i].Resource
			if rules[i].Group != "" {
				name += "." + rules[i].Group
			}
			lines = append(lines, fmt.Sprintf("%s %s", strings.Join(verbs, ", "), name))
		}
	}
	if len(lines) > 0 {
		return fault.As(fault.Configuration, fmt.Errorf("missing permissions in namespace %s: %s; apply install/rbac/provision there", p.namespace(), strings.Join(lines, "; ")))
	}
	return nil
}

// missing returns the verbs of a rule that are not granted.
func (p *Provisioner) missing(ctx context.Context, rule Rule) ([]string, error) {
	var verbs []string
	resource, subresource, _ := strings.Cut(rule.Resource, "/")
	for _, verb := range rule.Verbs {
		review, err := p.Host.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: p.namespace(), Verb: verb, Group: rule.Group, Resource: resource, Subresource: subresource,
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("asking whether the plugin may %s %s: %w", verb, rule.Resource, apply.Classify(err))
		}
		if !review.Status.Allowed {
			verbs = append(verbs, verb)
		}
	}
	return verbs, nil
}
