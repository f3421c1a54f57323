package offload_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/internal/offload"
	"argosy.dev/argosy/pkg/errclass"
)

var owner = offload.Owner{Name: "join-x", Namespace: "team-a", UID: "u1"}

func TestAValueIsReadAsItWasWritten(t *testing.T) {
	random := make([]byte, 1<<20) // gzip does not make it smaller
	_, err := rand.Read(random)
	assert.NilError(t, err)
	for name, value := range map[string]any{
		"small": []string{"m1", "m2"}, "in parts": random, "nothing": []string{},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			store := offload.Store{Client: client}
			kept, err := store.Write(t.Context(), owner, "plan", value)
			assert.NilError(t, err)
			assert.Assert(t, strings.HasPrefix(kept, "join-x-argosy-plan-"), kept)
			again, err := store.Write(t.Context(), owner, "plan", value)
			assert.NilError(t, err)
			assert.Equal(t, again, kept)

			if want, is := value.([]byte); is {
				var got []byte
				assert.NilError(t, store.Read(t.Context(), owner, kept, &got))
				assert.Assert(t, bytes.Equal(got, want))
			} else {
				var got []string
				assert.NilError(t, store.Read(t.Context(), owner, kept, &got))
				assert.Assert(t, slices.Equal(got, value.([]string)))
			}
			all, err := client.CoreV1().ConfigMaps("team-a").List(t.Context(), metav1.ListOptions{})
			assert.NilError(t, err)
			assert.Equal(t, len(all.Items) > 1, name == "in parts")
			for _, one := range all.Items {
				assert.Assert(t, one.Size() < 1<<20)
				assert.Equal(t, len(one.OwnerReferences), 1)
				assert.Equal(t, string(one.OwnerReferences[0].UID), "u1")
				assert.Equal(t, one.OwnerReferences[0].Kind, "Workflow")
			}
		})
	}
}

func TestAnObjectOfAnotherOwnerIsNotRead(t *testing.T) {
	foreign := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "team-a", Namespace: "team-a"},
		Data:       map[string]string{"vcluster.yaml": "secret"},
	}
	store := offload.Store{Client: fake.NewClientset(foreign)}
	var into []string
	err := store.Read(t.Context(), owner, "team-a", &into)
	assert.ErrorContains(t, err, `workflow "join-x" does not own it`)
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)

	// A workflow of the same name that was deleted and made again has another UID.
	kept, err := store.Write(t.Context(), owner, "plan", []string{"m1"})
	assert.NilError(t, err)
	later := owner
	later.UID = "u2"
	assert.ErrorContains(t, store.Read(t.Context(), later, kept, &into), "does not own it")
	other, err := store.Write(t.Context(), later, "plan", []string{"m1"})
	assert.NilError(t, err)
	assert.Assert(t, other != kept)
}

func TestDamagedObjectsAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		parts string
		data  []byte
		says  string
	}{
		"no number of parts": {"", nil, `annotation "argosy.dev/parts" is ""`},
		"too many parts":     {"33", nil, "give a number from 1 to 32"},
		"a missing part":     {"2", nil, `reading ConfigMap "kept-1"`},
		"no gzip":            {"1", []byte("{}"), "decompressing"},
	} {
		t.Run(name, func(t *testing.T) {
			store := offload.Store{Client: fake.NewClientset(&corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{
					Name: "kept", Namespace: "team-a", Annotations: map[string]string{"argosy.dev/parts": test.parts},
					OwnerReferences: []metav1.OwnerReference{{UID: "u1"}},
				},
				BinaryData: map[string][]byte{"json.gz": test.data},
			})}
			var into []string
			assert.ErrorContains(t, store.Read(t.Context(), owner, "kept", &into), test.says)
		})
	}
}

func TestAMissingPermissionNamesTheWayOut(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "configmaps", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "x",
			fmt.Errorf("no rule"))
	})
	_, err := offload.Store{Client: client}.Write(t.Context(), owner, "plan", []string{"m1"})
	assert.ErrorContains(t, err, "apply install/ to the namespace again")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}
