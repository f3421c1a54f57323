package config_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

func configMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "team-a", Namespace: "fleet"}, Data: data}
}

func TestAClusterIsLoadedFromItsConfigMap(t *testing.T) {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "admin", Namespace: "fleet"},
		Data:       map[string][]byte{"value": []byte("kubeconfig")},
	}
	source := config.FromAPI(fake.NewClientset(configMap(map[string]string{
		"vcluster.yaml": goodVCluster, "argosy.yaml": goodFleet,
	}), secret), "fleet")
	c, err := config.Load(t.Context(), source, "team-a")
	assert.NilError(t, err)
	assert.Equal(t, c.Name, "team-a")
	assert.Equal(t, c.Namespace, "fleet")
	values, err := source.Secret(t.Context(), "admin")
	assert.NilError(t, err)
	assert.Equal(t, values["value"].Reveal(), "kubeconfig")
}

func TestAMissingConfigMapIsReportedWithACommand(t *testing.T) {
	const command = "kubectl create configmap team-a -n fleet --from-file=vcluster.yaml --from-file=argosy.yaml"
	for name, test := range map[string]struct {
		objects []runtime.Object
		want    string
	}{
		"no ConfigMap": {nil, `reading ConfigMap "team-a" in namespace "fleet": not found`},
		"no key": {
			[]runtime.Object{configMap(map[string]string{"vcluster.yaml": goodVCluster})},
			`has no key "argosy.yaml"`,
		},
		"misspelt key": {[]runtime.Object{configMap(map[string]string{
			"vcluster.yaml": goodVCluster,
			"argosy.yml":    goodFleet,
		})}, `but one named "argosy.yml"`},
		"another space": {[]runtime.Object{&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name:      "team-a",
			Namespace: "other",
		}}}, "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(t.Context(), config.FromAPI(fake.NewClientset(test.objects...), "fleet"), "team-a")
			assert.ErrorContains(t, err, test.want)
			assert.ErrorContains(t, err, command)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}

func TestAnInvalidClusterNameIsRefusedBeforeReading(t *testing.T) {
	client := fake.NewClientset()
	for _, name := range []string{"", "a/b", "../a", "$(id)", "a b", "A"} {
		_, err := config.Load(t.Context(), config.FromAPI(client, "fleet"), name)
		assert.ErrorContains(t, err, "is not a valid name of a ConfigMap")
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
	assert.Equal(t, len(client.Actions()), 0)
}

func TestProblemsSurviveLoading(t *testing.T) {
	source := config.FromAPI(fake.NewClientset(configMap(map[string]string{
		"vcluster.yaml": "x: 1",
		"argosy.yaml":   goodFleet,
	})), "fleet")
	_, err := config.Load(t.Context(), source, "team-a")
	var problems config.Problems
	assert.Assert(t, errors.As(err, &problems))
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

func TestErrorsOfTheAPIHaveAClass(t *testing.T) {
	resource := schema.GroupResource{Resource: "secrets"}
	for name, test := range map[string]struct {
		err   error
		class errclass.Class
		want  string
	}{
		"not found": {apierrors.NewNotFound(resource, "key"), errclass.Configuration, "not found"},
		"forbidden": {
			apierrors.NewForbidden(resource, "key", errors.New("no")), errclass.Configuration,
			`a Role with verb get on secrets named "key"`,
		},
		"unauthorized": {apierrors.NewUnauthorized("no"), errclass.Permanent, "reading Secret"},
		"busy":         {apierrors.NewTooManyRequests("wait", 1), errclass.Transient, "reading Secret"},
		"broken":       {apierrors.NewInternalError(errors.New("no")), errclass.Transient, "reading Secret"},
		"unreachable":  {errors.New("connection refused"), errclass.Transient, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object,
				error,
			) {
				return true, nil, test.err
			})
			_, err := config.FromAPI(client, "fleet").Secret(t.Context(), "key")
			assert.ErrorContains(t, err, test.want)
			assert.Equal(t, errclass.ClassOf(err), test.class)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	client := fake.NewClientset()
	client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil,
			context.Canceled
	})
	_, err := config.FromAPI(client, "fleet").Secret(ctx, "key")
	assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled)
}

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		assert.NilError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func indent(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }

func TestAFolderOfManifestsIsASource(t *testing.T) {
	dir := config.Dir{In: "fleet", Path: write(t, map[string]string{
		"cluster.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: team-a\n  namespace: fleet\ndata:\n  " +
			"vcluster.yaml: |\n" + indent(goodVCluster) + "\n  argosy.yaml: |\n" + indent(goodFleet) +
			"\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: team-a, namespace: other}\n",
		"secrets.yml": "apiVersion: v1\nkind: Secret\nmetadata: {name: key}\ndata: {password: aHVudGVyMg==, user: " +
			"b3Bz}\nstringData: {user: root}\n---\n# nothing\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: " +
			"other}\n",
		"workflow.yaml": "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {generateName: join-}\n",
		"plain.yaml":    "metadata: [not, a, manifest]\n",
		"notes.txt":     "\tnot YAML at all: [",
		"secret.json":   `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "json"}, "stringData": {"a": "b"}}`,
	})}
	c, err := config.Load(t.Context(), dir, "team-a")
	assert.NilError(t, err)
	assert.Equal(t, c.Fleet.Machines[0].Name, "alpha")
	assert.Equal(t, c.Namespace, "fleet")

	values, err := dir.Secret(t.Context(), "key")
	assert.NilError(t, err)
	assert.Equal(t, values["password"].Reveal(), "hunter2")
	assert.Equal(t, values["user"].Reveal(), "root")
	values, err = dir.Secret(t.Context(), "json")
	assert.NilError(t, err)
	assert.Equal(t, values["a"].Reveal(), "b")
}

func TestAWrongFolderIsReportedWithoutItsSecrets(t *testing.T) {
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: key}\n"
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"missing":     {nil, "not found"},
		"twice":       {map[string]string{"a.yaml": secret, "b.yaml": secret}, `reading Secret "key": found in "`},
		"no base64":   {map[string]string{"a.yaml": secret + "data: {a: 'hunter2!'}\n"}, "data in base64"},
		"unknown key": {map[string]string{"a.yaml": secret + "hunter2: {}\n"}, "not a valid manifest"},
		"no YAML":     {map[string]string{"a.yaml": "a: [\n"}, "a.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Dir{Path: write(t, test.files)}.Secret(t.Context(), "key")
			assert.ErrorContains(t, err, test.want)
			assert.Assert(t, !strings.Contains(err.Error(), "hunter2"), err)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
	_, err := config.Dir{Path: "/does/not/exist"}.Secret(t.Context(), "key")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	assert.Equal(t, config.Dir{}.Namespace(), "default")
}
