package controlplane

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"

	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/controlplanetest"
)

var endpoint = Endpoint{Host: "192.0.2.10", API: 443, Konnectivity: konnectivityPort, Bundles: bundlesPort}

func TestAuthoritiesAreMadeOnce(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	first, changes, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, apply.Summary(changes), "1 created")
	second, changes, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(changes), 0)
	assert.DeepEqual(t, first.Cluster.Cert, second.Cluster.Cert)
	assert.DeepEqual(t, first.SigningPrivate, second.SigningPrivate)
}

func TestImmutableSettingsAreCheckedBeforeAnyChange(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	_, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	changed, err := config.Parse("team-a", []byte(strings.Replace(controlplanetest.SQLite, "10.64.0.0/16",
		"10.65.0.0/16", 1)),
		[]byte(controlplanetest.Fleet))
	assert.NilError(t, err)
	changed.Namespace = p.Cluster.Namespace
	p.Cluster.Cluster = changed
	_, _, err = p.ensureKeys(t.Context())
	assert.ErrorContains(t, err, "networking.podCIDR")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

func TestKeysThatAreDamagedAreNeverReplaced(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	_, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	secrets := p.Host.CoreV1().Secrets(p.Namespace)
	held, err := secrets.Get(t.Context(), "team-a-pki", metav1.GetOptions{})
	assert.NilError(t, err)
	delete(held.Data, "ca.key")
	_, err = secrets.Update(t.Context(), held, metav1.UpdateOptions{})
	assert.NilError(t, err)
	_, _, err = p.ensureKeys(t.Context())
	assert.ErrorContains(t, err, "restore it from a backup")
}

func TestOnlyWornCertificatesAreSignedAnew(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	k, err := certificates.NewKeys(p.Now())
	assert.NilError(t, err)
	ensure := func(e Endpoint) (map[string][]byte, map[string]string) {
		data, reasons, err := p.ensureCerts(t.Context(), p.Names().Certs(), p.controlPlaneCerts(k, e), k.Cluster.Cert)
		assert.NilError(t, err)
		return data, reasons
	}
	first, reasons := ensure(endpoint)
	assert.Equal(t, len(reasons), 6, "%v", reasons)
	controlplanetest.PutSecret(t, p.Cluster, p.Names().Certs(), first)

	same, reasons := ensure(endpoint)
	assert.Equal(t, len(reasons), 0, "%v", reasons)
	assert.Equal(t, digestOf(same), digestOf(first))

	moved := endpoint
	moved.Host = "192.0.2.11"
	_, reasons = ensure(moved)
	assert.DeepEqual(t, reasons, map[string]string{"apiserver": "it is for other addresses"})

	p.Clock = func() time.Time { return controlplanetest.Noon().Add(pki.LeafLife - 89*24*time.Hour) }
	_, reasons = ensure(endpoint)
	assert.Equal(t, len(reasons), 6, "%v", reasons)
	assert.Equal(t, reasons["scheduler.conf"], "it ends on 2027-03-01")

	p.Clock, p.renew = nil, true
	_, reasons = ensure(endpoint)
	assert.Equal(t, len(reasons), 6, "%v", reasons)
}

func TestCallsToKubeletsAreNoAdministrators(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	k, err := certificates.NewKeys(p.Now())
	assert.NilError(t, err)
	list := p.controlPlaneCerts(k, endpoint)
	at := slices.IndexFunc(list, func(w certificates.Wanted) bool { return w.File == certKubeletClient })
	assert.Equal(t, list[at].Leaf.CommonName, "kube-apiserver-kubelet-client")
	assert.Equal(t, len(list[at].Leaf.Organizations), 0, "RBAC binds the user to system:kubelet-api-admin")

	older := list[at]
	older.Leaf.Organizations = []string{administratorGroup}
	held, err := older.By.Issue(older.Leaf, p.Now())
	assert.NilError(t, err)
	assert.Assert(t, list[at].By.Worn(held, list[at].Leaf, p.Now()) != "", "one of before is replaced")
}

func TestKubeconfigFollowsTheEndpoint(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	k, err := certificates.NewKeys(p.Now())
	assert.NilError(t, err)
	data, _, err := p.administrator(t.Context(), k, endpoint)
	assert.NilError(t, err)
	assert.Equal(t, string(data["bundles"]), "https://192.0.2.10:8444")
	controlplanetest.PutSecret(t, p.Cluster, "team-a-kubeconfig", data)
	moved := endpoint
	moved.Host = "192.0.2.11"
	data, reasons, err := p.administrator(t.Context(), k, moved)
	assert.NilError(t, err)
	assert.DeepEqual(t, reasons, map[string]string{"value": "the server's address changed"})
	_, server := certificates.ReadKubeconfig(data["value"])
	assert.Equal(t, server, "https://192.0.2.11:443")
}

func TestPodsAreReplacedWhenTheDataSourceChanges(t *testing.T) {
	const inDocument = "controlPlane:\n  backingStore: {database: {external: {enabled: true, dataSource: " +
		"'postgres://u:PASSWORD@db:5432/a'}}}"
	for name, vcluster := range map[string]string{
		"a Secret of the user's": controlplanetest.ExternalSection,
		"the document":           inDocument,
	} {
		t.Run(name, func(t *testing.T) {
			p := provisioner(t, controlplanetest.With(vcluster))
			k, err := certificates.NewKeys(p.Now())
			assert.NilError(t, err)
			digest := func(password string) string {
				controlplanetest.PutSecret(t, p.Cluster, "team-a-database",
					map[string][]byte{dataSourceKey: []byte("postgres://u:" + password +
						"@db:5432/a")})
				changeDocuments(t, p, controlplanetest.With(strings.Replace(vcluster, "PASSWORD", password, 1)))
				inputs, err := p.podInputs(t.Context(), k, endpoint)
				assert.NilError(t, err)
				for _, object := range inputs.objects {
					if secret, is := object.(*corev1.Secret); is {
						controlplanetest.PutSecret(t, p.Cluster, secret.Name, secret.Data)
					}
				}
				return inputs.digest
			}
			first := digest("one")
			assert.Equal(t, digest("one"), first)
			assert.Assert(t, digest("two") != first)
		})
	}
}
