package backup

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/errclass"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

func TestRestoreBeginsOnlyInAnEmptyNamespace(t *testing.T) {
	const noted = `{"archive":"team-a-20260301T120000Z.tar.zst","keys":305}`
	for _, tt := range []struct {
		name    string
		keys    bool
		note    string
		objects func(p *controlplane.Provisioner) []runtime.Object
		options RestoreOptions
		goesOn  bool
		says    string
	}{
		{name: "an empty namespace"},
		{name: "archives alone", objects: func(p *controlplane.Provisioner) []runtime.Object {
			return []runtime.Object{&corev1.PersistentVolumeClaim{ObjectMeta: controlplanetest.Meta(p.Cluster,
				"team-a-backups",
				hosted.Backup)}}
		}},
		{name: "a volume with state", objects: volume, says: "team-a-data holds the state of an earlier control plane"},
		{name: "a volume with state that may go", objects: volume, options: RestoreOptions{ReplaceVolumes: true}},
		{name: "a control plane without keys", objects: func(p *controlplane.Provisioner) []runtime.Object {
			return []runtime.Object{&appsv1.StatefulSet{ObjectMeta: controlplanetest.Meta(p.Cluster,
				"team-a-control-plane",
				hosted.ControlPlane)}}
		}, says: "whose keys are gone"},
		{name: "the cluster is there", keys: true, says: "submit deprovision first"},
		{name: "interrupted", keys: true, note: noted, goesOn: true},
		{
			name: "interrupted, by name", keys: true, note: noted,
			options: RestoreOptions{Archive: "team-a-20260301T120000Z.tar.zst"}, goesOn: true,
		},
		{
			name: "interrupted, of another archive", keys: true, note: noted,
			options: RestoreOptions{Archive: "team-a-20260302T120000Z.tar.zst"},
			says:    `from archive "team-a-20260301T120000Z.tar.zst" was interrupted`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := provisioner(controlplanetest.New(t, controlplanetest.SQLite))
			controlplanetest.AllowAll(p.Cluster)
			if tt.keys {
				controlplanetest.AddKeys(t, p.Cluster)
			}
			if tt.note != "" {
				assert.NilError(t, p.AnnotateKeys(t.Context(), controlplane.RestoreAnnotation, tt.note))
			}
			if tt.objects != nil {
				controlplanetest.Add(t, p.Cluster, tt.objects(p)...)
			}
			begun, err := interrupted(t.Context(), p, &tt.options)
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

func volume(p *controlplane.Provisioner) []runtime.Object {
	return []runtime.Object{&corev1.PersistentVolumeClaim{ObjectMeta: controlplanetest.Meta(p.Cluster, "team-a-data",
		hosted.ControlPlane)}}
}

func TestARestoreChecksItsPodsBeforeItRemovesAnything(t *testing.T) {
	p := provisioner(controlplanetest.New(t, controlplanetest.With(
		"controlPlane:\n  statefulSet: {persistence: {addVolumes: [{name: h, hostPath: {path: /}}]}}")))
	controlplanetest.AllowAll(p.Cluster)
	controlplanetest.Add(t, p.Cluster, volume(p)...)
	before := controlplanetest.Left(t, p.Cluster)
	_, err := interrupted(t.Context(), p, &RestoreOptions{ReplaceVolumes: true})
	assert.ErrorContains(t, err, "hostPath")
	assert.DeepEqual(t, controlplanetest.Left(t, p.Cluster), before)
}

func TestRestoreRefusesAnotherClusterButNotAnotherStore(t *testing.T) {
	p := provisioner(controlplanetest.New(t, controlplanetest.With(controlplanetest.EtcdSection)))
	identity, err := json.Marshal(provisioner(controlplanetest.New(t, controlplanetest.SQLite)).Cluster.Identity())
	assert.NilError(t, err)
	archive := store.Result{Archive: "a", Manifest: store.Manifest{About: store.About{Identity: identity}}}
	assert.NilError(t, checkIdentity(p.Cluster, archive))

	archive.Identity = []byte(strings.Replace(string(identity), "10.64.0.0/16", "10.65.0.0/16", 1))
	err = checkIdentity(p.Cluster, archive)
	assert.ErrorContains(t, err, `archive "a" is of another cluster`)
	assert.ErrorContains(t, err, "networking.podCIDR")
}

func TestSealedKeysBecomeASecretThatNotesTheRestore(t *testing.T) {
	p := provisioner(controlplanetest.New(t, controlplanetest.SQLite))
	reader, err := store.NewReader()
	assert.NilError(t, err)
	sealed, err := store.Seal(reader.Address(), map[string][]byte{"ca.key": []byte("secret")})
	assert.NilError(t, err)
	fakes := p.Host
	p.Host = logging(t, "checking\n"+store.SealedPrefix+sealed+"\n")
	files, err := unseal(t.Context(), p.Cluster, "pod", reader)
	assert.NilError(t, err)
	p.Host = logging(t, "checking\n")
	_, err = unseal(t.Context(), p.Cluster, "pod", reader)
	assert.ErrorContains(t, err, "keys are not in it")

	p.Host = fakes
	begun := &controlplane.Restoration{Archive: "a", Keys: 3}
	assert.NilError(t, createKeys(t.Context(), p.Cluster, files, begun))
	held, err := p.Host.CoreV1().Secrets("tenant").Get(t.Context(), "team-a-pki", metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Equal(t, string(held.Data["ca.key"]), "secret")
	assert.DeepEqual(t, controlplane.RestorationOf(held), begun)
	assert.ErrorContains(t, createKeys(t.Context(), p.Cluster, files, begun), "already exists",
		"keys are never replaced")
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

func TestARestoreNamesItsArchive(t *testing.T) {
	outcome := controlplane.Outcome{Server: "https://192.0.2.10:443", Version: "v1.34.4"}
	assert.Equal(t, Restored{Outcome: outcome, Archive: "a", Taken: controlplanetest.Noon(), Keys: 3}.String(),
		"restored as it was at 2026-03-01T12:00:00Z (archive a, 3 keys): "+outcome.String())
}
