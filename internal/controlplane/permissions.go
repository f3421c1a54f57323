package controlplane

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/errclass"
)

// Rule is a permission in the cluster's namespace.
type Rule struct {
	Group, Resource string
	Verbs           []string
}

// Rules returns all permissions that provisioning needs; install/rbac/provision grants them, and a run checks them
// first.
func Rules() []Rule {
	keep := []string{"get", "list", "create", "patch", "delete"}
	return []Rule{
		{"", "configmaps", keep},
		{"", "secrets", keep},
		{"", "services", keep},
		{"", "persistentvolumeclaims", keep},
		{"", "namespaces", []string{"get"}},
		{"", "pods", []string{"get", "list"}},
		{"", "pods/log", []string{"get"}},
		{"", "events", []string{"list"}},
		{"apps", "statefulsets", keep},
		{"batch", "jobs", keep},
		{"policy", "poddisruptionbudgets", keep},
		{networkPolicyGroup, "networkpolicies", keep},
	}
}

// networkPolicyGroup is the API group of NetworkPolicies, whose permissions only policies.networkPolicy needs.
const networkPolicyGroup = "networking.k8s.io"

// CheckPermissions asks the host cluster for the plugin's permissions in the namespace. Its error lists all that are
// missing.
func (p *Provisioner) CheckPermissions(ctx context.Context) error {
	review, err := p.Host.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx,
		&authorizationv1.SelfSubjectRulesReview{
			Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: p.Namespace},
		}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("asking for the plugin's permissions in namespace %q: %w", p.Namespace, apply.Classify(err))
	}
	var lines []string
	for _, rule := range Rules() {
		if rule.Group == networkPolicyGroup && !p.VCluster.Policies.NetworkPolicy.Enabled {
			continue // a role of an earlier release lacks them
		}
		verbs := slices.DeleteFunc(slices.Clone(rule.Verbs),
			func(verb string) bool { return granted(review.Status.ResourceRules, rule, verb) })
		if len(verbs) == 0 {
			continue
		}
		// Some authorizers can't list their rules, but each answers a single question.
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
			"install/rbac/provision there", p.Namespace, strings.Join(lines, "; "))
	}
	return nil
}

// String returns the resource and its group: "statefulsets.apps".
func (r Rule) String() string {
	if r.Group == "" {
		return r.Resource
	}
	return r.Resource + "." + r.Group
}

// granted reports whether one of the rules held gives a verb on all objects of a resource.
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
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{
					ResourceAttributes: &authorizationv1.ResourceAttributes{
						Namespace: p.Namespace, Verb: verb, Group: rule.Group, Resource: resource,
						Subresource: subresource,
					},
				},
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
