package controlplane

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/errclass"
)

// Rule is what provisioning may do in the cluster's namespace.
type Rule struct {
	Group, Resource string
	Verbs           []string
}

// Rules are all that provisioning needs; install/rbac/provision grants them, and a run checks them first.
func Rules() []Rule {
	keep := []string{"get", "list", "create", "patch", "delete"}
	return []Rule{
		{"", "configmaps", keep},
		{"", "secrets", keep},
		{"", "services", keep},
		{"", "persistentvolumeclaims", keep},
		{"", "pods", []string{"get", "list"}},
		{"", "pods/log", []string{"get"}},
		{"", "events", []string{"list"}},
		{"apps", "statefulsets", keep},
		{"batch", "jobs", keep},
		{"policy", "poddisruptionbudgets", keep},
	}
}

// checkPermissions asks the host cluster what the plugin may do in the namespace and names all that is missing at once.
func (p *Provisioner) checkPermissions(ctx context.Context) error {
	review, err := p.Host.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx,
		&authorizationv1.SelfSubjectRulesReview{
			Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: p.namespace()},
		}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("asking what the plugin may do in namespace %q: %w", p.namespace(), apply.Classify(err))
	}
	var lines []string
	for _, rule := range Rules() {
		verbs := slices.DeleteFunc(slices.Clone(rule.Verbs),
			func(verb string) bool { return granted(review.Status.ResourceRules, rule, verb) })
		if len(verbs) == 0 {
			continue
		}
		// The list is not complete where an authorizer can't tell one; the answer to a single question is.
		if review.Status.Incomplete {
			if verbs, err = p.missing(ctx, rule, verbs); err != nil {
				return err
			}
		}
		if len(verbs) > 0 {
			lines = append(lines, fmt.Sprintf("%s %s", strings.Join(verbs, ", "), rule))
		}
	}
	if len(lines) > 0 {
		return errclass.Errorf(errclass.Configuration, "missing permissions in namespace %s: %s; apply "+
			"install/rbac/provision there", p.namespace(), strings.Join(lines, "; "))
	}
	return nil
}

// String names what a rule is about: "statefulsets.apps".
func (r Rule) String() string {
	if r.Group == "" {
		return r.Resource
	}
	return r.Resource + "." + r.Group
}

// granted says whether one of the rules that hold gives a verb on all objects of a resource.
func granted(held []authorizationv1.ResourceRule, wanted Rule, verb string) bool {
	return slices.ContainsFunc(held, func(rule authorizationv1.ResourceRule) bool {
		return len(rule.ResourceNames) == 0 && has(rule.Verbs, verb) && has(rule.APIGroups, wanted.Group) &&
			has(rule.Resources, wanted.Resource)
	})
}

func has(list []string, item string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, item)
}

// missing returns those of a rule's verbs that are not granted, asked one by one.
func (p *Provisioner) missing(ctx context.Context, rule Rule, verbs []string) ([]string, error) {
	var refused []string
	resource, subresource, _ := strings.Cut(rule.Resource, "/")
	for _, verb := range verbs {
		review, err := p.Host.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx,
			&authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: p.namespace(), Verb: verb, Group: rule.Group, Resource: resource,
					Subresource: subresource,
				}},
			}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("asking whether the plugin may %s %s: %w", verb, rule, apply.Classify(err))
		}
		if !review.Status.Allowed {
			refused = append(refused, verb)
		}
	}
	return refused, nil
}
