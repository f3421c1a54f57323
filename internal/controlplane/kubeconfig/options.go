package kubeconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation"

	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/pkg/errclass"
)

// Bounds of how long a user's certificate holds.
const (
	// DefaultLife is short, since a certificate can't be revoked.
	DefaultLife = 24 * time.Hour
	// minLife is the shortest time that the cluster signs for.
	minLife = 10 * time.Minute
	// maxLife is the longest time that the controller manager signs for.
	maxLife = 365 * 24 * time.Hour
)

// maxSubject bounds a name in a certificate, in bytes, as X.509 does.
const maxSubject = 64

// Options name the user of a kubeconfig.
type Options struct {
	// User is the name by which the cluster knows the user, and Groups are the user's.
	User   string
	Groups []string
	// Life is how long the kubeconfig holds.
	Life time.Duration
}

// check refuses users that the cluster would refuse, and names that carry rights already.
func (o Options) check() error {
	var mistakes []error
	if o.User == "" {
		mistakes = append(mistakes, errors.New("user is empty: give the name by which the cluster is to know the user"))
	}
	if reserved(o.User) {
		mistakes = append(mistakes, fmt.Errorf("user %q is reserved for Kubernetes itself and for Argosy; give "+
			"another name", o.User))
	}
	for _, name := range append([]string{o.User}, o.Groups...) {
		if len(name) > maxSubject || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			mistakes = append(mistakes, fmt.Errorf("%q can't be in a certificate: give up to %d printable letters",
				name, maxSubject))
		}
	}
	if slices.Contains(o.Groups, "") {
		mistakes = append(mistakes, errors.New("a group has no name: separate names by one comma"))
	}
	for _, group := range o.Groups {
		if reserved(group) {
			mistakes = append(mistakes, fmt.Errorf("group %q carries rights in every cluster: give a group of "+
				"your own, and bind a role to it in the cluster", group))
		}
	}
	if o.Life < minLife || o.Life > maxLife {
		mistakes = append(mistakes, fmt.Errorf("a kubeconfig can't hold for %s: the cluster signs for %s to %s",
			o.Life, minLife, maxLife))
	}
	return errclass.With(errclass.Configuration, errors.Join(mistakes...))
}

// reserved reports whether a user or a group has rights in every cluster: those of Kubernetes, kubeadm's group of
// administrators, the API server towards kubelets, and Argosy's own. A kubeconfig with such a name would give these
// rights to everyone who may submit a workflow, e.g. those of a machine with group system:bootstrappers.
func reserved(name string) bool {
	return slices.ContainsFunc([]string{"system:", "kubeadm:", "argosy:", "kube-apiserver"}, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

func (o Options) leaf() pki.Leaf { return certificates.ClientLeaf(o.User, o.Groups...) }

// notInNames matches the characters that a Secret's name can't have.
var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// maxReadable leaves room for a digest in the 63 letters of a label.
const maxReadable = 54

// secretName returns the name of the Secret with a user's kubeconfig. A user name that can't be part of a Secret's name
// gets a digest, so that no two users share a Secret.
func secretName(names hosted.Names, user string) string {
	part := user
	if len(validation.IsDNS1123Label(user)) > 0 {
		sum := sha256.Sum256([]byte(user))
		part = strings.Trim(notInNames.ReplaceAllString(strings.ToLower(user), "-"), "-")
		part = strings.TrimPrefix(part[:min(len(part), maxReadable)]+"-"+hex.EncodeToString(sum[:4]), "-")
	}
	return string(names) + "-kubeconfig-" + part
}
