package backup

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/apply/applytest"
	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/controlplane/certificates"
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

func TestAnInterruptedRestoreStaysAtItsArchivesVersion(t *testing.T) {
	const archived = "v1.35.8"
	p := provisioner(controlplanetest.New(t, controlplanetest.SQLite))
	now := p.Now()
	p.Clock = func() time.Time { now = now.Add(time.Second); return now } // Jobs are named after it
	setter, err := apply.New(applytest.New(t).Config())
	assert.NilError(t, err)
	p.Objects = setter
	_, err = setter.Set(t.Context(), []*unstructured.Unstructured{{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "tenant"},
	}}}, apply.Options{})
	assert.NilError(t, err)
	controlplanetest.AllowAll(p.Cluster)
	controlplanetest.Add(t, p.Cluster,
		&corev1.PersistentVolumeClaim{ObjectMeta: controlplanetest.Meta(p.Cluster, "team-a-backups", hosted.Backup)},
		&corev1.Service{
			ObjectMeta: controlplanetest.Meta(p.Cluster, p.Names().Service(), hosted.ControlPlane),
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{
				Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.10"}},
			}},
		})
	keys, err := certificates.NewKeys(p.Now())
	assert.NilError(t, err)
	identity, err := json.Marshal(p.Cluster.Identity())
	assert.NilError(t, err)
	read, err := json.Marshal(store.Result{Archive: "a", Manifest: store.Manifest{About: store.About{
		Kubernetes: archived, Identity: identity, Endpoint: "192.0.2.10:443",
	}}})
	assert.NilError(t, err)
	logs := &logged{t: t}
	var loads []string
	controlplanetest.RunJobs(t, p.Cluster, func(job *batchv1.Job) (string, int32) {
		pod := job.Spec.Template.Spec
		for _, arg := range pod.Containers[0].Args {
			if reader, is := strings.CutPrefix(arg, "--seal-for="); is {
				sealed, err := store.Seal(reader, keys.Data())
				assert.NilError(t, err)
				logs.text = store.SealedPrefix + sealed
				return string(read), 0
			}
		}
		logs.text = "no space left on device"
		for _, container := range pod.InitContainers {
			if container.Name == hosted.Kine {
				loads = append(loads, container.Image)
			}
		}
		return "", 1
	})
	logs.Interface = p.Host
	p.Host = logs

	for range 2 { // the second one continues
		_, err = Restore(t.Context(), p, RestoreOptions{}, func(string) {})
		assert.ErrorContains(t, err, "no space left on device")
		held, err := p.Host.CoreV1().Secrets("tenant").Get(t.Context(), "team-a-pki", metav1.GetOptions{})
		assert.NilError(t, err)
		assert.Equal(t, controlplane.RestorationOf(held).Kubernetes, archived)
		assert.NilError(t, p.RemoveJobs(t.Context(), hosted.Restore))
	}
	const image = "ghcr.io/loft-sh/kubernetes:" + archived + "-full"
	assert.DeepEqual(t, loads, []string{image, image})
}

// logged is a host cluster in which the log of every pod is text.
type logged struct {
	kubernetes.Interface
	t    *testing.T
	text string
}

func (l *logged) CoreV1() typedcorev1.CoreV1Interface { return loggedCore{l.Interface.CoreV1(), l} }

type loggedCore struct {
	typedcorev1.CoreV1Interface
	logs *logged
}

func (c loggedCore) Pods(namespace string) typedcorev1.PodInterface {
	return loggedPods{c.CoreV1Interface.Pods(namespace), c.logs}
}

type loggedPods struct {
	typedcorev1.PodInterface
	logs *logged
}

func (p loggedPods) GetLogs(name string, o *corev1.PodLogOptions) *rest.Request {
	return logging(p.logs.t, p.logs.text).CoreV1().Pods("tenant").GetLogs(name, o)
}

func TestARestoreNamesItsArchive(t *testing.T) {
	outcome := controlplane.Outcome{Server: "https://192.0.2.10:443", Version: "v1.34.4"}
	assert.Equal(t, Restored{Outcome: outcome, Archive: "a", Taken: controlplanetest.Noon(), Keys: 3}.String(),
		"restored as it was at 2026-03-01T12:00:00Z (archive a, 3 keys): "+outcome.String())
}
