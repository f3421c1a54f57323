package controlplane

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/pki"
)

// Bounds of how long a user's certificate holds.
const (
	// DefaultUserLife is short, since nothing takes a certificate back before its end.
	DefaultUserLife = 24 * time.Hour
	// minUserLife is the shortest that a cluster signs for.
	minUserLife = 10 * time.Minute
	// maxUserLife is how long the controller manager signs for at most.
	maxUserLife = 365 * 24 * time.Hour
)

// componentUser marks Secrets with users' kubeconfigs.
const componentUser = "user"

// maxSubject is how long a name in a certificate may be, as X.509 has it.
const maxSubject = 64

// UserOptions say for whom a kubeconfig is.
type UserOptions struct {
	// User is the name by which the cluster knows them, and Groups those that they are in.
	User   string
	Groups []string
	// Life is how long the kubeconfig holds.
	Life time.Duration
}

// check refuses what the cluster would refuse, or what nobody could bound.
func (o UserOptions) check() error {
	var mistakes []error
	if o.User == "" {
		mistakes = append(mistakes, errors.New("there is no user: give the name by which the cluster shall know them"))
	}
	if strings.HasPrefix(o.User, "system:") {
		mistakes = append(mistakes, fmt.Errorf("user %q: names that begin with system: are those of Kubernetes "+
			"itself; give another one", o.User))
	}
	for _, name := range append([]string{o.User}, o.Groups...) {
		if len(name) > maxSubject || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			mistakes = append(mistakes, fmt.Errorf("%q can't be in a certificate: give up to %d letters that can be "+
				"printed", name, maxSubject))
		}
	}
	if slices.Contains(o.Groups, "") {
		mistakes = append(mistakes, errors.New("a group has no name: give names with one comma between them"))
	}
	if slices.Contains(o.Groups, "system:masters") {
		mistakes = append(mistakes, errors.New("group system:masters may do everything whatever RBAC says, so no "+
			"binding could be taken from them, and the API server signs no certificate for it; bind ClusterRole "+
			"cluster-admin to another group"))
	}
	if o.Life < minUserLife || o.Life > maxUserLife {
		mistakes = append(mistakes, fmt.Errorf("a kubeconfig that holds for %s is not possible: the cluster signs "+
			"for %s to %s", o.Life, minUserLife, maxUserLife))
	}
	return errclass.With(errclass.Configuration, errors.Join(mistakes...))
}

func (o UserOptions) leaf() pki.Leaf { return client(o.User, o.Groups...) }

// notInNames is what a Secret's name can't have.
var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// maxReadable leaves room for a digest in the 63 letters of a label.
const maxReadable = 54

// kubeconfigOf is the Secret with the kubeconfig of a user. Names that are no part of a Secret's get a digest, so that
// no two users share one.
func (n names) kubeconfigOf(user string) string {
	part := user
	if len(validation.IsDNS1123Label(user)) > 0 {
		sum := sha256.Sum256([]byte(user))
		part = strings.Trim(notInNames.ReplaceAllString(strings.ToLower(user), "-"), "-")
		part = strings.TrimPrefix(part[:min(len(part), maxReadable)]+"-"+hex.EncodeToString(sum[:4]), "-")
	}
	return string(n) + kubeconfigSuffix + "-" + part
}

// UserKubeconfig is a kubeconfig that was made for a user. Itself it is in the Secret alone.
type UserKubeconfig struct {
	Secret  string    `json:"secret"`
	User    string    `json:"user"`
	Groups  []string  `json:"groups,omitempty"`
	Expires time.Time `json:"expires"`
	// Changed is false where the one that was there still holds.
	Changed bool `json:"changed"`
}

// String is one line for people.
func (k UserKubeconfig) String() string {
	text := fmt.Sprintf("Secret %s, key %s: kubeconfig of user %q", k.Secret, kubeconfigDataKey, k.User)
	if len(k.Groups) > 0 {
		text += ", groups " + strings.Join(k.Groups, ", ")
	}
	text += ", holds until " + k.Expires.UTC().Format(time.RFC3339)
	if !k.Changed {
		text += "; unchanged"
	}
	return text
}

// Kubeconfig has the cluster sign a certificate for a user and writes a kubeconfig with it to a Secret. What the user
// may do is decided by the cluster's RBAC. One that is there already, of the same user and groups, stays for as long as
// half of the time asked for is left.
func (p *Provisioner) Kubeconfig(ctx context.Context, o UserOptions, report func(string)) (UserKubeconfig, error) {
	made := UserKubeconfig{Secret: p.names().kubeconfigOf(o.User), User: o.User, Groups: o.Groups}
	if err := p.kubeconfig(ctx, o, &made, report); err != nil {
		return made, fmt.Errorf("making a kubeconfig for user %q of cluster %q: %w", o.User, p.Cluster.Name, err)
	}
	if p.Log != nil {
		p.Log.Info("kubeconfig made", "secret", made.Secret, "user", made.User, "groups", made.Groups, "expires",
			made.Expires, "changed", made.Changed)
	}
	return made, nil
}

func (p *Provisioner) kubeconfig(ctx context.Context, o UserOptions, made *UserKubeconfig, report func(string)) error {
	if err := p.checkHosted(); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	restConfig, err := p.restConfig(ctx)
	if err != nil {
		return err
	}
	held, err := p.heldKubeconfig(ctx, made.Secret)
	if err != nil {
		return err
	}
	if held != nil {
		pair, server := readKubeconfig(held.Data[kubeconfigDataKey])
		ends, why := pki.Fit(restConfig.CAData, pair, o.leaf())
		if why == "" && server == restConfig.Host && ends.Sub(p.now()) >= o.Life/2 {
			made.Expires = ends
			return nil
		}
	}
	cluster, err := p.open(ctx, restConfig, report)
	if err != nil {
		return err
	}
	pair, err := p.requestCertificate(ctx, cluster.client, o, report)
	if err != nil {
		return err
	}
	var why string
	if made.Expires, why = pki.Fit(restConfig.CAData, pair, o.leaf()); why != "" {
		return errclass.Errorf(errclass.Permanent, "reading the certificate that the cluster signed: %s", why)
	}
	text, err := writeKubeconfig(p.Cluster.Name, restConfig.Host, o.User, restConfig.CAData, pair)
	if err != nil {
		return err
	}
	made.Changed = true
	return p.writeUserSecret(ctx, held, made.Secret, text)
}

// heldKubeconfig is the Secret that was made for the user before; nil when there is none. One of another origin is
// refused: it may hold anything, also another cluster's keys.
func (p *Provisioner) heldKubeconfig(ctx context.Context, name string) (*corev1.Secret, error) {
	held, err := p.Host.CoreV1().Secrets(p.namespace()).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %q: %w", name, apply.Classify(err))
	}
	for label, value := range p.names().labels(componentUser) {
		if held.Labels[label] != value {
			return nil, errclass.Errorf(errclass.Configuration,
				"there is a Secret %q that is no user's kubeconfig of this cluster: remove it, or give the user "+
					"another name", name)
		}
	}
	return held, nil
}

func (p *Provisioner) writeUserSecret(ctx context.Context, held *corev1.Secret, name string, kubeconfig []byte) error {
	secret := p.secret(name, map[string][]byte{kubeconfigDataKey: kubeconfig})
	secret.Labels = p.names().labels(componentUser)
	secrets := p.Host.CoreV1().Secrets(p.namespace())
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
