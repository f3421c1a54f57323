package apply

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const pathsDocument = `{
	"metadata": {"labels": {"a": "1", "a.b/c": "2", "a.b": "3"}, "finalizers": ["x", "y]"]},
	"spec": {"ports": [{"port": 80, "protocol": "TCP", "name": "web"}, {"port": 80, "protocol": "UDP"}], "flag": true
	}, "data": {"only": "value"}
}`

func parsed(t testing.TB, document string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	assert.NilError(t, json.Unmarshal([]byte(document), &object.Object))
	return object
}

func TestFieldIsDroppedByTheServersNameForIt(t *testing.T) {
	tests := []struct{ path, goes string }{
		{".spec.flag", `, "flag": true`},
		{".metadata.labels.a.b/c", `"a.b/c": "2", `},
		{".metadata.labels.a.b", `, "a.b": "3"`},
		{".metadata.labels.a", `"a": "1", `},
		{`.spec.ports[port=80,protocol="TCP"].name`, `, "name": "web"`},
		{`.spec.ports[port=80,protocol="UDP"]`, `, {"port": 80, "protocol": "UDP"}`},
		{`.metadata.finalizers[="y]"]`, `, "y]"`},
		{".data.only", `, "data": {"only": "value"}`}, // and with it the map that it leaves empty
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			want := strings.Replace(pathsDocument, test.goes, "", 1)
			assert.Assert(t, want != pathsDocument)
			object := parsed(t, pathsDocument)
			assert.Assert(t, drop(object, test.path))
			assert.DeepEqual(t, object.Object, parsed(t, want).Object)
		})
	}
}

func TestAFieldThatIsNotThereIsNotDropped(t *testing.T) {
	for _, path := range []string{
		"", ".spec.none", ".spec.flag.deeper", `.spec.ports[port=81].name`, ".spec.ports",
		"spec", "[", ".spec.ports[", ".spec.ports[port", ".spec.ports[port=80", ".metadata.labels.a.b/",
	} {
		object := parsed(t, pathsDocument)
		if drop(object, path) {
			assert.Equal(t, path, ".spec.ports") // the one that is there
			continue
		}
		assert.DeepEqual(t, object.Object, parsed(t, pathsDocument).Object)
	}
}

func FuzzAnyPathLeavesAnObject(f *testing.F) {
	for _, path := range []string{".spec.ports[port=80,protocol=\"TCP\"].name", `[="a"]`, ".a[b=c]", `.a[="\"]`} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		object := parsed(t, pathsDocument)
		found := drop(object, path)
		assert.Assert(t, found == (len(object.Object) == 0 ||
			!sameJSON(t, object.Object, parsed(t, pathsDocument).Object)), "%q", path)
	})
}

func sameJSON(t *testing.T, a, b any) bool {
	t.Helper()
	first, err := json.Marshal(a)
	assert.NilError(t, err)
	second, err := json.Marshal(b)
	assert.NilError(t, err)
	return string(first) == string(second)
}

func TestOwnersOfAFieldAreNamedTogether(t *testing.T) {
	cause := func(message string) metav1.StatusCause {
		return metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Field: ".spec.replicas", Message: message}
	}
	err := apierrors.NewApplyConflict([]metav1.StatusCause{
		cause(`conflict with "kubectl" with subresource "scale" using apps/v1`),
		cause(`conflict with "a \"b\"" using apps/v1`), cause("something new"),
		{Type: metav1.CauseTypeFieldValueInvalid, Field: ".spec.other"},
	}, "conflicts")
	conflicts := conflictsOf(err)
	assert.Equal(t, len(conflicts), 1)
	assert.Equal(t, conflicts[0].String(), `spec.replicas is kubectl and a "b" and another manager's`)
	assert.Equal(t, len(conflictsOf(errors.New("no answer of the server"))), 0)
}
