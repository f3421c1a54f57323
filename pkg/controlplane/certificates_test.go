package controlplane

import (
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/pki"
)

var endpoint = Endpoint{Host: "192.0.2.10", API: 443, Konnectivity: KonnectivityPort, Bundles: BundlesPort}

func TestTheAuthoritiesAreMadeOnceAndForAll(t *testing.T) {
	p := provisioner(t, specified)
	first, changes, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, apply.Summary(changes), "1 created")
	second, changes, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(changes), 0)
	assert.DeepEqual(t, first.cluster.Cert, second.cluster.Cert)
	assert.DeepEqual(t, first.signingPrivate, second.signingPrivate)
}

func TestWhatCannotChangeIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	p := provisioner(t, specified)
	_, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	changed, err := config.Parse("team-a", []byte(strings.Replace(specified, "10.64.0.0/16", "10.65.0.0/16", 1)),
		[]byte(fleet))
	assert.NilError(t, err)
	changed.Namespace = p.Cluster.Namespace
	p.Cluster = changed
	_, _, err = p.ensureKeys(t.Context())
	assert.ErrorContains(t, err, "networking.podCIDR")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

func TestKeysThatAreDamagedAreNeverReplaced(t *testing.T) {
	p := provisioner(t, specified)
	_, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	secrets := p.Host.CoreV1().Secrets(p.namespace())
	held, err := secrets.Get(t.Context(), "team-a-pki", metav1.GetOptions{})
	assert.NilError(t, err)
	delete(held.Data, "ca.key")
	_, err = secrets.Update(t.Context(), held, metav1.UpdateOptions{})
	assert.NilError(t, err)
	_, _, err = p.ensureKeys(t.Context())
	assert.ErrorContains(t, err, "restore it from a backup")
}

// hold puts certificates into the namespace, as a run does.
func hold(t *testing.T, p *Provisioner, name string, data map[string][]byte) {
	t.Helper()
	secrets := p.Host.CoreV1().Secrets(p.namespace())
	if _, err := secrets.Get(t.Context(), name, metav1.GetOptions{}); err == nil {
		assert.NilError(t, secrets.Delete(t.Context(), name, metav1.DeleteOptions{}))
	}
	_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data},
		metav1.CreateOptions{})
	assert.NilError(t, err)
}

func TestCertificatesAreSignedAnewOnlyWhereTheyNoLongerDo(t *testing.T) {
	p := provisioner(t, specified)
	k, err := makeKeys(p.now())
	assert.NilError(t, err)
	ensure := func(e Endpoint) (map[string][]byte, map[string]string) {
		data, reasons, err := p.ensureCerts(t.Context(), p.names().certs(), p.controlPlaneCerts(k, e), nil,
			k.cluster.Cert)
		assert.NilError(t, err)
		return data, reasons
	}
	first, reasons := ensure(endpoint)
	assert.Equal(t, len(reasons), 6, "%v", reasons)
	hold(t, p, p.names().certs(), first)

	same, reasons := ensure(endpoint)
	assert.Equal(t, len(reasons), 0, "%v", reasons)
	assert.Equal(t, digestOf(same), digestOf(first))

	moved := endpoint
	moved.Host = "192.0.2.11"
	_, reasons = ensure(moved)
	assert.DeepEqual(t, reasons, map[string]string{"apiserver": "it is for other addresses"})

	p.Now = func() time.Time {
		return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(pki.LeafLife - 89*24*time.Hour)
	}
	_, reasons = ensure(endpoint)
	assert.Equal(t, len(reasons), 6, "%v", reasons)
	assert.Equal(t, reasons["scheduler.conf"], "it ends on 2027-03-01")

	p.Now, p.renew = nil, true
	_, reasons = ensure(endpoint)
	assert.Equal(t, len(reasons), 6, "%v", reasons)
}

func TestTheKubeconfigFollowsTheEndpointAndSaysWhereBundlesAre(t *testing.T) {
	p := provisioner(t, specified)
	k, err := makeKeys(p.now())
	assert.NilError(t, err)
	data, _, err := p.administrator(t.Context(), k, endpoint)
	assert.NilError(t, err)
	assert.Equal(t, string(data["bundles"]), "https://192.0.2.10:8444")
	hold(t, p, "team-a-kubeconfig", data)
	moved := endpoint
	moved.Host = "192.0.2.11"
	data, reasons, err := p.administrator(t.Context(), k, moved)
	assert.NilError(t, err)
	assert.DeepEqual(t, reasons, map[string]string{"value": "the server's address changed"})
	_, server := readKubeconfig(data["value"])
	assert.Equal(t, server, "https://192.0.2.11:443")
}

func TestPodsAreReplacedWhenTheDataSourceChangesWhoeverHoldsIt(t *testing.T) {
	const inDocument = "controlPlane:\n  backingStore: {database: {external: {enabled: true, dataSource: " +
		"'postgres://u:PASSWORD@db:5432/a'}}}"
	for name, vcluster := range map[string]string{"a Secret of the user's": externalStored,
		"the document": inDocument} {
		t.Run(name, func(t *testing.T) {
			p := provisioner(t, replace(specified, "controlPlane:", vcluster))
			k, err := makeKeys(p.now())
			assert.NilError(t, err)
			digest := func(password string) string {
				hold(t, p, "team-a-database", map[string][]byte{dataSourceKey: []byte("postgres://u:" + password +
					"@db:5432/a")})
				turn(t, p, replace(specified, "controlPlane:", strings.Replace(vcluster, "PASSWORD", password, 1)))
				objects, digest, _, err := p.needs(t.Context(), k, endpoint)
				assert.NilError(t, err)
				for _, object := range objects {
					if secret, is := object.(*corev1.Secret); is {
						hold(t, p, secret.Name, secret.Data)
					}
				}
				return digest
			}
			first := digest("one")
			assert.Equal(t, digest("one"), first)
			assert.Assert(t, digest("two") != first)
		})
	}
}
