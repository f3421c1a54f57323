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

// check refuses users that the cluster would refuse, and a group whose rights no RBAC rule bounds.
func (o Options) check() error {
	var mistakes []error
	if o.User == "" {
		mistakes = append(mistakes, errors.New("user is empty: give the name by which the cluster is to know the user"))
	}
	if strings.HasPrefix(o.User, "system:") {
		mistakes = append(mistakes, fmt.Errorf("user %q: names that begin with system: are reserved for Kubernetes "+
			"itself; give another one", o.User))
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
	if slices.Contains(o.Groups, "system:masters") {
		mistakes = append(mistakes, errors.New("group system:masters has every right, past RBAC, so no "+
			"binding could be taken from its members, and the API server signs no certificate for it; bind "+
			"ClusterRole cluster-admin to another group"))
	}
	if o.Life < minLife || o.Life > maxLife {
		mistakes = append(mistakes, fmt.Errorf("a kubeconfig can't hold for %s: the cluster signs for %s to %s",
			o.Life, minLife, maxLife))
	}
	return errclass.With(errclass.Configuration, errors.Join(mistakes...))
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
