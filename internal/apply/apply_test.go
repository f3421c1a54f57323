package apply_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/apply/applytest"
	"argosy.dev/argosy/pkg/errclass"
)

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app.kubernetes.io/name: web}}
  template:
    metadata: {labels: {app.kubernetes.io/name: web}}
    spec:
      containers:
      - {name: web, image: "registry.example.com/web:1", args: [serve]}
      - {name: logs, image: "registry.example.com/logs:1"}
`

// ours returns a document as it is once it was set: a person who edits it leaves our label there.
func ours(document string) string {
	return strings.Replace(document, "namespace: default",
		"namespace: default, labels: {app.kubernetes.io/managed-by: argosy}", 1)
}

const webPath = "/apis/apps/v1/namespaces/default/deployments/web"

func configMap(name string, data ...string) string {
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: default, name: " + name + "}\ndata:\n  key: value\n"
	for _, line := range data {
		text += "  " + line + "\n"
	}
	return text
}

func configMapPath(name string) string { return "/api/v1/namespaces/default/configmaps/" + name }

func decode(t *testing.T, documents ...string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := apply.Decode([]byte(strings.Join(documents, "\n---\n")))
	assert.NilError(t, err)
	return objects
}

func start(t *testing.T) (*applytest.Server, *apply.Setter) {
	t.Helper()
	server := applytest.New(t)
	setter, err := apply.New(server.Config())
	assert.NilError(t, err)
	return server, setter
}

func set(t *testing.T, setter *apply.Setter, documents ...string) string {
	t.Helper()
	changes, err := setter.Set(t.Context(), decode(t, documents...), apply.Options{})
	assert.NilError(t, err)
	return apply.Summary(changes)
}

func TestSetReturnsTheOutcomeOfEachObject(t *testing.T) {
	server, setter := start(t)
	assert.Equal(t, set(t, setter, deployment, configMap("a"), configMap("b")), "3 created")
	assert.Equal(t, set(t, setter, deployment, configMap("a"), configMap("b", "more: things")),
		"1 changed (ConfigMap default/b), 2 unchanged")
	assert.Equal(t, set(t, setter, deployment, configMap("a"), configMap("b")),
		"1 changed (ConfigMap default/b), 2 unchanged")

	data, _, err := unstructured.NestedStringMap(server.Get(configMapPath("b")).Object, "data")
	assert.NilError(t, err)
	assert.DeepEqual(t, data, map[string]string{"key": "value"})
	assert.Equal(t, server.Get(webPath).GetLabels()[apply.ManagedByLabel], "argosy")
}

func TestStatusWrittenMeanwhileIsNoChange(t *testing.T) {
	server, setter := start(t)
	set(t, setter, deployment)
	server.Refuse(func(verb, _ string) error {
		if verb == "patch" {
			server.Edit(t, "kube-controller-manager", ours(deployment)+"status: {readyReplicas: 1}\n")
		}
		return nil
	})
	assert.Equal(t, set(t, setter, deployment), "1 unchanged")
}

func TestFieldsThatOthersSetStayTheirs(t *testing.T) {
	tests := []struct {
		name, edited string
		left         []string
	}{
		{
			"a number", strings.Replace(ours(deployment), "replicas: 1", "replicas: 4", 1),
			[]string{"spec.replicas is kubectl's"},
		},
		{
			"a container's image", strings.Replace(ours(deployment), "/web:1", "/web:2", 1),
			[]string{`spec.template.spec.containers[name="web"].image is kubectl's`},
		},
		{
			"a list", strings.Replace(ours(deployment), "[serve]", "[serve, --loud]", 1),
			[]string{`spec.template.spec.containers[name="web"].args is kubectl's`},
		},
		{
			"a label with dots", strings.Replace(ours(deployment), "managed-by: argosy", "managed-by: Helm", 1),
			[]string{"metadata.labels.app.kubernetes.io/managed-by is kubectl's"},
		},
		{
			"several", strings.NewReplacer("replicas: 1", "replicas: 4", "/logs:1",
				"/logs:2").Replace(ours(deployment)),
			[]string{"spec.replicas is kubectl's", `spec.template.spec.containers[name="logs"].image is kubectl's`},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server, setter := start(t)
			set(t, setter, deployment)
			server.Edit(t, "kubectl", test.edited)
			theirs := server.Get(webPath)

			for range 2 {
				changes, err := setter.Set(t.Context(), decode(t, deployment), apply.Options{})
				assert.NilError(t, err)
				assert.Equal(t, changes[0].Outcome, apply.Unchanged)
				slices.Sort(changes[0].LeftTo)
				assert.DeepEqual(t, changes[0].LeftTo, test.left)
			}
			assert.DeepEqual(t, server.Get(webPath).Object["spec"], theirs.Object["spec"])

			changes, err := setter.Set(t.Context(), decode(t, deployment), apply.Options{Force: true})
			assert.NilError(t, err)
			assert.Equal(t, apply.Summary(changes), "1 changed (Deployment default/web)")
		})
	}
}

func TestConfigMapOwnedByOthersIsLeftAlone(t *testing.T) {
	server, setter := start(t)
	set(t, setter, configMap("a"))
	server.Edit(t, "kubectl", strings.Replace(ours(configMap("a")), "key: value", "key: mine", 1)+"  more: mine\n")
	assert.Equal(t, set(t, setter, configMap("a")), "1 unchanged; ConfigMap default/a: data.key is kubectl's")
}

func TestObjectsAreSetAfterTheirDependencies(t *testing.T) {
	server, setter := start(t)
	definition := `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec: {group: example.com, scope: Namespaced, names: {kind: Boat, plural: boats}, versions: [{name: v1}]}`
	boat := "apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: argo, namespace: sea}"
	inSea := strings.ReplaceAll(deployment, "namespace: default", "namespace: sea")
	assert.Equal(t, set(t, setter, boat, inSea, definition, "apiVersion: v1\nkind: Namespace\nmetadata: {name: sea}"),
		"4 created")

	var patched []string
	for _, request := range server.Requests() {
		if path, ok := strings.CutPrefix(request, "PATCH "); ok {
			patched = append(patched, path)
		}
	}
	assert.DeepEqual(t, patched, []string{
		"/api/v1/namespaces/sea", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.example.com",
		"/apis/apps/v1/namespaces/sea/deployments/web", "/apis/example.com/v1/namespaces/sea/boats/argo",
	})
}

func TestAnErrorNamesEveryObjectThatFailedAndWhy(t *testing.T) {
	configMaps := schema.GroupResource{Resource: "configmaps"}
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	tests := []struct {
		name   string
		refuse map[string]error // by verb and path
		class  errclass.Class
		texts  []string
	}{
		{
			"a missing permission is named as a rule",
			map[string]error{"patch " + configMapPath("a"): apierrors.NewForbidden(configMaps, "a",
				fmt.Errorf(`User "argosy" cannot patch resource "configmaps" in API group "" in the namespace "default"`))},
			errclass.Configuration,
			[]string{"setting 1 of 2 objects: ConfigMap default/a: missing permission: patch " +
				"configmaps in default (a rule of a Role)"},
		},
		{
			"a missing permission of the cluster is named with its group",
			map[string]error{"get " + webPath: apierrors.NewForbidden(deployments, "web",
				fmt.Errorf(`User "argosy" cannot get resource "deployments" in API group "apps" at the cluster scope`))},
			errclass.Configuration,
			[]string{"Deployment default/web: missing permission: get deployments.apps (a " +
				"rule of a ClusterRole)"},
		},
		{
			"a Namespace is the cluster's",
			map[string]error{"get " + webPath: apierrors.NewForbidden(deployments, "web",
				fmt.Errorf(`User "argosy" cannot get resource "namespaces" in API group "" in the namespace "sea"`))},
			errclass.Configuration,
			[]string{"missing permission: get namespaces (a rule of a ClusterRole)"},
		},
		{
			"a quota is not a missing permission",
			map[string]error{"patch " + webPath: apierrors.NewForbidden(deployments, "web",
				fmt.Errorf("exceeded quota: small"))},
			errclass.Configuration,
			[]string{`Deployment default/web: deployments.apps "web" is forbidden: exceeded quota: small`},
		},
		{
			"all that fail are named, and the worst decides",
			map[string]error{
				"patch " + configMapPath("a"): apierrors.NewTooManyRequests("wait", 0),
				"patch " + configMapPath("b"): apierrors.NewBadRequest("nonsense"),
			},
			errclass.Permanent,
			[]string{
				"setting 2 of 2 objects", "ConfigMap default/a: ",
				"ConfigMap default/b: nonsense",
			},
		},
		{
			"a broken server",
			map[string]error{"get " + webPath: apierrors.NewInternalError(fmt.Errorf("etcd is away"))},
			errclass.Transient,
			[]string{"etcd is away"},
		},
		{
			"a change in between",
			map[string]error{"patch " +
				webPath: apierrors.NewConflict(deployments, "web", fmt.Errorf("it changed"))},
			errclass.Transient,
			[]string{"it changed"},
		},
		{
			"bad credentials",
			map[string]error{"get " + webPath: apierrors.NewUnauthorized("who?")},
			errclass.Configuration,
			[]string{"does not accept these credentials"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server, setter := start(t)
			server.Refuse(func(verb, path string) error { return test.refuse[verb+" "+path] })
			_, err := setter.Set(t.Context(), decode(t, deployment, configMap("a"), configMap("b")), apply.Options{})
			assert.Equal(t, errclass.ClassOf(err), test.class, "%v", err)
			for _, text := range test.texts {
				assert.ErrorContains(t, err, text)
			}
		})
	}
}

func TestNothingIsChangedWhenAnObjectCanNotBeRead(t *testing.T) {
	server, setter := start(t)
	server.Refuse(func(verb, path string) error {
		if verb == "get" && (path == webPath || path == configMapPath("b")) {
			return apierrors.NewInternalError(fmt.Errorf("etcd is away"))
		}
		return nil
	})
	changes, err := setter.Set(t.Context(), decode(t, configMap("a"), configMap("b"), deployment), apply.Options{})
	assert.ErrorContains(t, err, "reading 2 of 3 objects: ConfigMap default/b: ")
	assert.ErrorContains(t, err, "Deployment default/web: ")
	assert.Equal(t, len(changes), 0)
	assert.Assert(t, server.Get(configMapPath("a")) == nil)
}

func TestFailedRankIsReportedBeforeLaterRanksBegin(t *testing.T) {
	tests := []struct {
		name, document, text string
		class                errclass.Class
	}{
		{
			"no such kind", "apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: argo}",
			"the API server does not serve this kind", errclass.Permanent,
		},
		{
			"no namespace given", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}",
			"metadata.namespace is required",
			errclass.Configuration,
		},
		{
			"no such namespace", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: nowhere}",
			`namespace "nowhere" does not exist`, errclass.Configuration,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, setter := start(t)
			changes, err := setter.Set(t.Context(), decode(t, test.document), apply.Options{})
			assert.ErrorContains(t, err, test.text)
			assert.Equal(t, errclass.ClassOf(err), test.class)
			assert.Equal(t, len(changes), 0)
		})
	}
}

func TestAnObjectThatIsBeingDeletedIsWaitedFor(t *testing.T) {
	server, setter := start(t)
	server.Edit(t, "kubectl", "apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: default, name: a, "+
		"deletionTimestamp: \"2026-01-01T00:00:00Z\", finalizers: [example.com/held]}")
	_, err := setter.Set(t.Context(), decode(t, configMap("a")), apply.Options{})
	assert.ErrorContains(t, err, `it is being deleted, which waits for the finalizers ["example.com/held"]`)
	assert.Assert(t, errclass.IsTransient(err))
}

func TestMissingServerIsTransientAndCancelledSetIsCancelled(t *testing.T) {
	server := applytest.New(t)
	config := server.Config()
	config.Host = "http://127.0.0.1:1"
	setter, err := apply.New(config)
	assert.NilError(t, err)
	_, err = setter.Set(t.Context(), decode(t, configMap("a")), apply.Options{})
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient, "%v", err)

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = setter.Set(cancelled, decode(t, configMap("a")), apply.Options{})
	assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled, "%v", err)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestRemoveDeletesOnlyObjectsOfArgosy(t *testing.T) {
	server, setter := start(t)
	set(t, setter, configMap("ours"))
	server.Edit(t, "kubectl", configMap("theirs"))
	changes, err := setter.Remove(t.Context(), decode(t, configMap("ours"), configMap("theirs"), configMap("missing"),
		"apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: argo}"))
	assert.NilError(t, err)
	assert.Equal(t, apply.Summary(changes), "1 removed (ConfigMap default/ours)")
	assert.Assert(t, server.Get(configMapPath("ours")) == nil)
	assert.Assert(t, server.Get(configMapPath("theirs")) != nil)
}

func TestDefinitionAndNamespaceStayWhileUsersHaveObjects(t *testing.T) {
	server, setter := start(t)
	documents := decode(t, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec: {group: example.com, scope: Namespaced, names: {kind: Boat, plural: boats}, versions: [{name: v1}]}`,
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: sea}",
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: land}")
	inventory := types.NamespacedName{Namespace: "kube-system", Name: "argosy-addons"}
	sync := func(objects []*unstructured.Unstructured) string {
		changes, err := setter.Sync(t.Context(), inventory, objects, apply.Options{})
		assert.NilError(t, err)
		return apply.Summary(changes)
	}
	assert.Equal(t, sync(documents), "3 created")
	const owners = "metadata: {name: oar, namespace: land, ownerReferences: [{apiVersion: v1, kind: Pod, name: p, " +
		"uid: u}]}"
	server.Edit(t, "controller", "apiVersion: example.com/v1\nkind: Boat\n"+owners)
	server.Edit(t, "kubectl", "apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: argo, namespace: sea}")

	const kept = "2 kept (CustomResourceDefinition boats.example.com, Namespace sea)" +
		"; CustomResourceDefinition boats.example.com: Boat sea/argo is not Argosy's; Namespace sea: Boat sea/argo " +
		"is not Argosy's"
	assert.Equal(t, sync(nil), "1 removed (Namespace land), "+kept)
	assert.Equal(t, sync(nil), kept) // they are not forgotten
}

func TestNamespaceStaysWhileUsersHaveObjectsInIt(t *testing.T) {
	for _, tt := range []struct {
		name, manager, document string
		kept                    string
	}{
		{"nothing", "", "", ""},
		{
			"a ConfigMap", "kubectl", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes, namespace: sea}",
			"ConfigMap sea/notes is not Argosy's",
		},
		{
			"a Deployment of another manager", "helm", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, " +
				"namespace: sea, labels: {app.kubernetes.io/managed-by: Helm}}", "Deployment sea/web is not Argosy's",
		},
		{
			"a volume", "kubectl", "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, " +
				"namespace: sea}",
			"PersistentVolumeClaim sea/data is not Argosy's",
		},
		{
			"a custom resource", "kubectl", "apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: argo, " +
				"namespace: sea}", "Boat sea/argo is not Argosy's",
		},
		{
			"what every namespace has", "kube-controller-manager",
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-root-ca.crt, namespace: sea}", "",
		},
		{
			"what a controller made", "kube-controller-manager", "apiVersion: v1\nkind: Pod\nmetadata: {name: p, " +
				"namespace: sea, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: r, uid: u}]}", "",
		},
		{
			"another namespace", "kubectl", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes, " +
				"namespace: default}", "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, setter := start(t)
			set(t, setter, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec: {group: example.com, scope: Namespaced, names: {kind: Boat, plural: boats}, versions: [{name: v1}]}`)
			inventory := types.NamespacedName{Namespace: "kube-system", Name: "argosy-addons"}
			sync := func(objects []*unstructured.Unstructured) string {
				changes, err := setter.Sync(t.Context(), inventory, objects, apply.Options{})
				assert.NilError(t, err)
				return apply.Summary(changes)
			}
			assert.Equal(t, sync(decode(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: sea}",
				"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: ours, namespace: sea}")), "2 created")
			if tt.document != "" {
				server.Edit(t, tt.manager, tt.document)
			}
			if tt.kept == "" {
				assert.Equal(t, sync(nil), "2 removed (ServiceAccount sea/ours, Namespace sea)")
				return
			}
			const kept = "1 kept (Namespace sea); Namespace sea: "
			assert.Equal(t, sync(nil), "1 removed (ServiceAccount sea/ours), "+kept+tt.kept)
			assert.Equal(t, sync(nil), kept+tt.kept) // it is not forgotten
			assert.Assert(t, server.Get("/api/v1/namespaces/sea") != nil)
		})
	}
}

func TestSyncRemovesObsoleteObjects(t *testing.T) {
	server, setter := start(t)
	inventory := types.NamespacedName{Namespace: "default", Name: "inventory"}
	sync := func(documents ...string) string {
		changes, err := setter.Sync(t.Context(), inventory, decode(t, documents...), apply.Options{})
		assert.NilError(t, err)
		return apply.Summary(changes)
	}
	assert.Equal(t, sync(configMap("a"), configMap("b"), deployment), "3 created")
	assert.Equal(t, sync(configMap("a"), configMap("b"), deployment), "3 unchanged")
	assert.Equal(t, sync(configMap("a")), "2 removed (Deployment default/web, ConfigMap default/b), 1 unchanged")
	assert.Equal(t, sync(configMap("a")), "1 unchanged")
	data, _, _ := unstructured.NestedString(server.Get(configMapPath("inventory")).Object, "data", "objects")
	assert.Equal(t, data, "v1 ConfigMap default/a\n")
}

func TestInterruptedSyncForgetsNoObject(t *testing.T) {
	server, setter := start(t)
	inventory := types.NamespacedName{Namespace: "default", Name: "inventory"}
	server.Refuse(func(verb, path string) error {
		if verb == "patch" && path == webPath {
			return apierrors.NewGenericServerResponse(http.StatusServiceUnavailable, verb, schema.GroupResource{}, "",
				"gone", 0, true)
		}
		return nil
	})
	_, err := setter.Sync(t.Context(), inventory, decode(t, configMap("a"), deployment), apply.Options{})
	assert.Assert(t, errclass.IsTransient(err), "%v", err)
	server.Refuse(nil)
	recorded, err := setter.Recorded(t.Context(), inventory)
	assert.NilError(t, err)
	assert.Assert(t, cmp.Len(recorded, 2))

	changes, err := setter.Sync(t.Context(), inventory, nil, apply.Options{})
	assert.NilError(t, err)
	assert.Equal(t, apply.Summary(changes), "1 removed (ConfigMap default/a)")
}

func TestASecondRunOverManyObjectsWritesNothing(t *testing.T) {
	server, setter := start(t)
	var documents []string
	for i := range 80 {
		documents = append(documents, configMap(fmt.Sprintf("c%d", i)))
	}
	inventory := types.NamespacedName{Namespace: "default", Name: "inventory"}
	_, err := setter.Sync(t.Context(), inventory, decode(t, documents...), apply.Options{})
	assert.NilError(t, err)
	versions := func() (versions []string) {
		for i := range 80 {
			versions = append(versions, server.Get(configMapPath(fmt.Sprintf("c%d", i))).GetResourceVersion())
		}
		return versions
	}
	before := versions()
	server.Requests()
	changes, err := setter.Sync(t.Context(), inventory, decode(t, documents...), apply.Options{})
	assert.NilError(t, err)
	assert.Equal(t, apply.Summary(changes), "80 unchanged")
	assert.DeepEqual(t, versions(), before)
	// the inventory once, and of each object the live and the wanted one
	assert.Equal(t, len(server.Requests()), 161)
}
