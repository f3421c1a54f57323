package controlplane

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/store"
)

func TestWhereARestoreMayBegin(t *testing.T) {
	const noted = `{"archive":"team-a-20260301T120000Z.tar.zst","keys":305}`
	for _, tt := range []struct {
		name    string
		keys    bool
		note    string
		objects func(p *Provisioner) []runtime.Object
		options RestoreOptions
		goesOn  bool
		says    string
	}{
		{name: "an empty namespace"},
		{name: "archives alone", objects: func(p *Provisioner) []runtime.Object {
			return []runtime.Object{&corev1.PersistentVolumeClaim{ObjectMeta: p.meta("team-a-backups",
				componentBackup)}}
		}},
		{name: "a volume with state", objects: volume, says: "team-a-data holds the state of an earlier control plane"},
		{name: "a volume with state that may go", objects: volume, options: RestoreOptions{ReplaceVolumes: true}},
		{name: "a control plane without keys", objects: func(p *Provisioner) []runtime.Object {
			return []runtime.Object{&appsv1.StatefulSet{ObjectMeta: p.meta("team-a-control-plane",
				componentControlPlane)}}
		}, says: "whose keys are gone"},
		{name: "the cluster is there", keys: true, says: "submit deprovision first"},
		{name: "interrupted", keys: true, note: noted, goesOn: true},
		{name: "interrupted, by name", keys: true, note: noted,
			options: RestoreOptions{Archive: "team-a-20260301T120000Z.tar.zst"}, goesOn: true},
		{name: "interrupted, of another archive", keys: true, note: noted,
			options: RestoreOptions{Archive: "team-a-20260302T120000Z.tar.zst"},
			says:    `from archive "team-a-20260301T120000Z.tar.zst" was interrupted`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := allowed(provisioner(t, specified))
			if tt.keys {
				_, _, err := p.ensureKeys(t.Context())
				assert.NilError(t, err)
			}
			if tt.note != "" {
				assert.NilError(t, p.annotate(t.Context(), restoreAnnotation, tt.note))
			}
			if tt.objects != nil {
				add(t, p, tt.objects(p)...)
			}
			begun, err := p.begun(t.Context(), &tt.options)
			if tt.says != "" {
				assert.ErrorContains(t, err, tt.says)
				assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
				return
			}
			assert.NilError(t, err)
			assert.Equal(t, begun != nil, tt.goesOn)
		})
	}
}

func volume(p *Provisioner) []runtime.Object {
	return []runtime.Object{&corev1.PersistentVolumeClaim{ObjectMeta: p.meta("team-a-data", componentControlPlane)}}
}

// allowed grants every permission that is asked for.
func allowed(p *Provisioner) *Provisioner {
	client := p.Host.(*fake.Clientset)
	client.PrependReactor("create", "selfsubjectaccessreviews",
		func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, &authorizationv1.SelfSubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true}}, nil
		})
	client.PrependReactor("create", "selfsubjectrulesreviews",
		func(clienttesting.Action) (bool, runtime.Object, error) {
			all := []authorizationv1.ResourceRule{{Verbs: []string{"*"}, APIGroups: []string{"*"},
				Resources: []string{"*"}}}
			return true, &authorizationv1.SelfSubjectRulesReview{Status: authorizationv1.SubjectRulesReviewStatus{ResourceRules: all}}, nil
		})
	return p
}

func TestAStoreThatIsNotCompleteIsUsedByItsRestoreAlone(t *testing.T) {
	p := provisioner(t, specified)
	_, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	state := &progress{Archive: "team-a-20260301T120000Z.tar.zst"}
	assert.NilError(t, p.noteRestore(t.Context(), state))
	_, _, err = p.ensureKeys(t.Context())
	assert.ErrorContains(t, err, "submit workflow restore again")
	restores := *p
	restores.restores = true
	_, _, err = restores.ensureKeys(t.Context())
	assert.NilError(t, err)

	state.Loaded = true
	assert.NilError(t, p.noteRestore(t.Context(), state))
	_, _, err = p.ensureKeys(t.Context())
	assert.NilError(t, err, "with a complete store, provisioning finishes it as well")

	assert.NilError(t, p.noteRestore(t.Context(), nil))
	held, err := p.Host.CoreV1().Secrets("tenant").Get(t.Context(), "team-a-pki", metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Assert(t, restoring(held) == nil)
}

func TestNewKeysAreNotMadeBesideTheStateOfAnEarlierControlPlane(t *testing.T) {
	p := provisioner(t, specified)
	add(t, p, volume(p)...)
	_, _, err := p.ensureKeys(t.Context())
	assert.ErrorContains(t, err, "submit restore to have that cluster again, or delete the claim")
}

func TestNewKeysAreNotMadeForAControlPlaneThatStands(t *testing.T) {
	for _, name := range []string{"team-a-control-plane", "team-a-etcd"} {
		p := allowed(provisioner(t, specified))
		add(t, p, &appsv1.StatefulSet{ObjectMeta: p.meta(name, componentControlPlane)})
		_, _, provisioned := p.ensureKeys(t.Context())
		_, validated := p.Validate(t.Context(), func(string) {})
		for _, err := range []error{provisioned, validated} {
			assert.ErrorContains(t, err, "(StatefulSet \""+name+"\") whose keys are gone")
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		}
	}
}

func TestAnArchiveOfAnotherClusterIsRefusedAndOfAnotherStoreIsNot(t *testing.T) {
	p := provisioner(t, replace(specified, "controlPlane:", etcdStored))
	identity, err := json.Marshal(provisioner(t, specified).Cluster.Identity())
	assert.NilError(t, err)
	archive := store.Result{Archive: "a", Manifest: store.Manifest{About: store.About{Identity: identity}}}
	assert.NilError(t, p.checkIdentity(archive))

	archive.Identity = []byte(strings.Replace(string(identity), "10.64.0.0/16", "10.65.0.0/16", 1))
	err = p.checkIdentity(archive)
	assert.ErrorContains(t, err, `archive "a" is of another cluster`)
	assert.ErrorContains(t, err, "networking.podCIDR")
}

func TestKeysComeSealedThroughTheLogAndIntoASecretThatNotesTheRestore(t *testing.T) {
	p := provisioner(t, specified)
	reader, err := store.NewReader()
	assert.NilError(t, err)
	sealed, err := store.Seal(reader.Address(), map[string][]byte{"ca.key": []byte("secret")})
	assert.NilError(t, err)
	fakes := p.Host
	p.Host = logging(t, "checking\n"+SealedPrefix+sealed+"\n")
	files, err := p.unseal(t.Context(), "pod", reader)
	assert.NilError(t, err)
	p.Host = logging(t, "checking\n")
	_, err = p.unseal(t.Context(), "pod", reader)
	assert.ErrorContains(t, err, "keys are not in it")

	p.Host = fakes
	begun := &progress{Archive: "a", Keys: 3}
	assert.NilError(t, p.createKeys(t.Context(), files, begun))
	held, err := p.Host.CoreV1().Secrets("tenant").Get(t.Context(), "team-a-pki", metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Equal(t, string(held.Data["ca.key"]), "secret")
	assert.DeepEqual(t, restoring(held), begun)
	assert.ErrorContains(t, p.createKeys(t.Context(), files, begun), "already exists", "keys are never replaced")
}

// logging is a host cluster in which every pod's log is text.
func logging(t *testing.T, text string) kubernetes.Interface {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Check(t, strings.HasSuffix(r.URL.Path, "/log"), r.URL.Path)
		_, _ = fmt.Fprint(w, text)
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	assert.NilError(t, err)
	return client
}
