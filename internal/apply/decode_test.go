package apply_test

import (
	"testing"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/errclass"
)

func TestDecodeReadsDocumentsAndLists(t *testing.T) {
	objects := decode(t, "# only a comment\n", configMap("a"), "",
		"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: sea}}\n- "+
			"{apiVersion: v1, kind: Secret, metadata: {name: key}}")
	var names []string
	for _, object := range objects {
		names = append(names, object.GetKind()+" "+object.GetName())
	}
	assert.DeepEqual(t, names, []string{"ConfigMap a", "Namespace sea", "Secret key"})
}

func TestDecodeNamesTheWrongDocument(t *testing.T) {
	tests := []struct{ name, document, text string }{
		{"a key twice", "kind: ConfigMap\nkind: Secret", "document 2"},
		{"no kind", "apiVersion: v1\nmetadata: {name: a}", "document 2"},
		{"no name", "apiVersion: v1\nkind: ConfigMap", "metadata.name"},
		{
			"no name in a list", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: ConfigMap}]",
			"metadata.name",
		},
		{"no YAML", "{", "document 2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := apply.Decode([]byte(configMap("a") + "---\n" + test.document))
			assert.ErrorContains(t, err, test.text)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}

func TestFromLeavesOutFieldsOfTheServer(t *testing.T) {
	object, err := apply.From(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			Volumes: []corev1.Volume{{
				Name:         "empty",
				VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
			}},
		}}},
		Status: appsv1.DeploymentStatus{Replicas: 3},
	})
	assert.NilError(t, err)
	assert.DeepEqual(t, object.Object, map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "web"},
		"spec": map[string]any{
			"strategy": map[string]any{},
			"template": map[string]any{
				"metadata": map[string]any{},
				"spec": map[string]any{"volumes": []any{map[string]any{
					"name":     "empty",
					"emptyDir": map[string]any{},
				}}},
			},
		},
	})
}
