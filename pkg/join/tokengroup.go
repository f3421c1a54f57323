package join

import (
	"context"
	"fmt"
	"strings"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"argosy.dev/argosy/internal/apply"
)

// Groups of bootstrap tokens.
const (
	// BootstrapGroup is the group that kubeadm's roles are bound to: the cluster approves any node's certificate for
	// it.
	BootstrapGroup = "system:bootstrappers:kubeadm:default-node-token"
	// approvedGroup has the same rights but that one: the cluster approves nothing for it.
	approvedGroup = "system:bootstrappers:argosy"
)

// bootstrapName is the name of the roles of approvedGroup, and of their bindings.
const bootstrapName = "argosy:node-bootstrap"

// approverRights are those that the plugin needs to approve kubelets' requests itself.
var approverRights = []authorizationv1.ResourceAttributes{
	{Verb: "list", Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"},
	{Verb: "watch", Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"},
	{
		Verb: "update", Group: certificatesv1.GroupName, Resource: "certificatesigningrequests",
		Subresource: "approval",
	},
	{
		Verb: "approve", Group: certificatesv1.GroupName, Resource: "signers",
		Name: certificatesv1.KubeAPIServerClientKubeletSignerName,
	},
}

// tokenGroups finds out once which group the tokens of a cluster get. The zero value has not asked yet.
type tokenGroups struct {
	mu sync.Mutex
	// unbound has the answers, by whether the roles were made or only tried.
	unbound map[bool]string
}

// whyUnbound returns why tokens have to be of BootstrapGroup, and are good for any node; "" when they can be of
// approvedGroup. It makes the roles of that group where they are absent, or with dryRun only tries to.
func (g *tokenGroups) whyUnbound(ctx context.Context, client kubernetes.Interface, dryRun bool) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if why, known := g.unbound[dryRun]; known {
		return why, nil
	}
	why, err := whyUnbound(ctx, client, dryRun)
	if err != nil {
		return "", fmt.Errorf("preparing the rights of bootstrap tokens: %w", err)
	}
	if g.unbound == nil {
		g.unbound = map[bool]string{}
	}
	g.unbound[dryRun] = why
	return why, nil
}

func whyUnbound(ctx context.Context, client kubernetes.Interface, dryRun bool) (string, error) {
	lacking, err := lackingRight(ctx, client)
	if err == nil && lacking == "" {
		lacking, err = ensureBootstrapRoles(ctx, client, dryRun)
	}
	if err != nil {
		return "", err
	}
	if lacking != "" {
		return "the account of the kubeconfig may not " + lacking, nil
	}
	approves, err := approvesByItself(ctx, client)
	if approves {
		return "the cluster approves the requests of all bootstrap tokens by itself", nil
	}
	return "", err
}

// unboundRemark tells that a bootstrap token is good for any node, and why.
func unboundRemark(why string) string {
	return "The bootstrap token of the join can get the certificate of any node while it lasts, since " + why + "."
}

// approvesByItself reports whether the cluster approves the certificate of any node for tokens of approvedGroup, too,
// as one does that binds the role for it to all of system:bootstrappers. An account that may not ask gets no answer.
func approvesByItself(ctx context.Context, client kubernetes.Interface) (bool, error) {
	review, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User:   bootstrapapi.BootstrapUserPrefix + "argosy",
			Groups: []string{bootstrapapi.BootstrapDefaultGroup, approvedGroup, "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: "create", Group: certificatesv1.GroupName, Resource: "certificatesigningrequests",
				Subresource: "nodeclient",
			},
		},
	}, metav1.CreateOptions{})
	if apierrors.IsForbidden(err) {
		return false, nil
	}
	return err == nil && review.Status.Allowed, apply.Classify(err)
}

// lackingRight returns the first of approverRights that the account lacks.
func lackingRight(ctx context.Context, client kubernetes.Interface) (string, error) {
	for _, right := range approverRights {
		review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx,
			&authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &right},
			}, metav1.CreateOptions{})
		switch {
		case apierrors.IsForbidden(err):
			return "create selfsubjectaccessreviews", nil
		case err != nil:
			return "", apply.Classify(err)
		case !review.Status.Allowed:
			return rightName(right), nil
		}
	}
	return "", nil
}

// rightName returns a right in words: "approve signers kubernetes.io/kube-apiserver-client-kubelet".
func rightName(right authorizationv1.ResourceAttributes) string {
	name := right.Verb + " " + right.Resource
	if right.Subresource != "" {
		name += "/" + right.Subresource
	}
	return strings.TrimSpace(name + " " + right.Name)
}

// ensureBootstrapRoles makes the roles of approvedGroup and their bindings where they are absent. Those that are there
// stay as they are. It returns the right that the account lacks for it.
func ensureBootstrapRoles(ctx context.Context, client kubernetes.Interface, dryRun bool) (string, error) {
	rbac := client.RbacV1()
	clusterRole, clusterBinding := clusterBootstrap()
	role, binding := systemBootstrap()
	for _, one := range []struct {
		resource string
		ensure   func() error
	}{
		{"clusterroles", func() error { return ensure(ctx, rbac.ClusterRoles(), clusterRole, dryRun) }},
		{"clusterrolebindings", func() error {
			return ensure(ctx, rbac.ClusterRoleBindings(), clusterBinding, dryRun)
		}},
		{"roles", func() error { return ensure(ctx, rbac.Roles(metav1.NamespaceSystem), role, dryRun) }},
		{"rolebindings", func() error {
			return ensure(ctx, rbac.RoleBindings(metav1.NamespaceSystem), binding, dryRun)
		}},
	} {
		err := one.ensure()
		if apierrors.IsForbidden(err) {
			return fmt.Sprintf("get and create %s %s", one.resource, bootstrapName), nil
		}
		if err != nil {
			return "", fmt.Errorf("making %s %q: %w", one.resource, bootstrapName, apply.Classify(err))
		}
	}
	return "", nil
}

// client is a typed client of one kind.
type client[T any] interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
	Create(ctx context.Context, object T, options metav1.CreateOptions) (T, error)
}

// ensure creates an object named bootstrapName unless there is one.
func ensure[T any](ctx context.Context, objects client[T], wanted T, dryRun bool) error {
	_, err := objects.Get(ctx, bootstrapName, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	options := metav1.CreateOptions{FieldManager: apply.Manager}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	_, err = objects.Create(ctx, wanted, options)
	// The API server looks for the role of a binding, which a dry run has not made.
	if apierrors.IsAlreadyExists(err) || dryRun && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// clusterBootstrap returns the rights of approvedGroup in the whole cluster: to ask for a certificate and to see
// whether it is there, and to read nodes.
func clusterBootstrap() (*rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding) {
	role := &rbacv1.ClusterRole{ObjectMeta: bootstrapMeta(""), Rules: []rbacv1.PolicyRule{
		{
			APIGroups: []string{certificatesv1.GroupName}, Resources: []string{"certificatesigningrequests"},
			Verbs: []string{"create", "get", "list", "watch"},
		},
		{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}},
	}}
	return role, &rbacv1.ClusterRoleBinding{
		ObjectMeta: bootstrapMeta(""), Subjects: bootstrapSubjects(),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: bootstrapName},
	}
}

// systemBootstrap returns the rights of approvedGroup in kube-system: to read the configurations for kubeadm join.
func systemBootstrap() (*rbacv1.Role, *rbacv1.RoleBinding) {
	role := &rbacv1.Role{ObjectMeta: bootstrapMeta(metav1.NamespaceSystem), Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"},
		ResourceNames: []string{"kubeadm-config", "kubelet-config", "kube-proxy"},
	}}}
	return role, &rbacv1.RoleBinding{
		ObjectMeta: bootstrapMeta(metav1.NamespaceSystem), Subjects: bootstrapSubjects(),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: bootstrapName},
	}
}

func bootstrapMeta(namespace string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: bootstrapName,
		Labels: map[string]string{apply.ManagedByLabel: apply.Manager},
	}
}

func bootstrapSubjects() []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: approvedGroup}}
}
