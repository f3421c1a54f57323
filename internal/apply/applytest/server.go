// Package applytest is a simulated API server for tests. It keeps objects in memory and merges server-side apply with
// the API server's own field manager, so that ownership and conflicts are real; it fills in no defaults, validates
// nothing and runs no controllers, but that a CustomResourceDefinition is established and its kind served at once.
package applytest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// Server is a simulated API server.
type Server struct {
	mu       sync.Mutex
	http     *httptest.Server
	kinds    []Kind
	objects  map[string]*unstructured.Unstructured // by the path of the URL
	version  int
	refuse   func(verb, path string) error
	requests []string
}

// Kind is a kind that the server serves.
type Kind struct {
	schema.GroupVersionKind
	Resource   string
	Namespaced bool
}

// New starts a server with the usual kinds of Kubernetes and the namespaces default and kube-system. It ends with the
// test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{kinds: builtin(), objects: map[string]*unstructured.Unstructured{}}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.http.Close)
	for _, name := range []string{"default", "kube-system"} {
		s.Edit(t, "kube-apiserver", "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+name+"}")
	}
	return s
}

// Config returns how to connect.
func (s *Server) Config() *rest.Config { return &rest.Config{Host: s.http.URL} }

// Refuse answers requests with the error that refuse returns for them, until Refuse is called with nil. The path is the
// URL's, the verb get, patch or delete. Changes that refuse makes to the server happen before the request.
func (s *Server) Refuse(refuse func(verb, path string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

// Requests returns the requests since the last call, "PATCH /api/v1/namespaces/default/configmaps/a", and forgets them.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := s.requests
	s.requests = nil
	return requests
}

// Get returns the object at a path of the URL, nil when there is none.
func (s *Server) Get(path string) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	if object := s.objects[path]; object != nil {
		return object.DeepCopy()
	}
	return nil
}

// Edit replaces an object, given as YAML, as another client would that reads and writes it whole: under the field
// manager named.
func (s *Server) Edit(t testing.TB, manager, document string) {
	t.Helper()
	object := &unstructured.Unstructured{}
	assert.NilError(t, yaml.Unmarshal([]byte(document), &object.Object))
	s.mu.Lock()
	defer s.mu.Unlock()
	kind, ok := s.kindOf(object.GroupVersionKind())
	assert.Assert(t, ok, "no kind %s", object.GroupVersionKind())
	path := kind.collection(object.GetNamespace()) + "/" + object.GetName()
	live := empty(kind)
	if there := s.objects[path]; there != nil {
		live = there.DeepCopy()
	}
	object.SetUID(live.GetUID())
	object.SetCreationTimestamp(live.GetCreationTimestamp())
	object.SetManagedFields(live.GetManagedFields()) // without them, all ownership would be forgotten
	merged, err := managerOf(kind).Update(live, object, manager)
	assert.NilError(t, err)
	s.store(path, merged.(*unstructured.Unstructured))
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	answer, err := s.answer(r)
	code := http.StatusOK
	if err != nil {
		var status apierrors.APIStatus = apierrors.NewInternalError(err)
		if known, ok := err.(apierrors.APIStatus); ok {
			status = known
		}
		content := status.Status()
		content.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		answer, code = content, int(content.Code)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer)
}

var verbs = map[string]string{http.MethodGet: "get", http.MethodPatch: "patch", http.MethodDelete: "delete"}

func (s *Server) answer(r *http.Request) (any, error) {
	s.mu.Lock()
	refuse := s.refuse
	s.mu.Unlock()
	if refuse != nil {
		if err := refuse(verbs[r.Method], r.URL.Path); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	if document := s.discovery(r.URL.Path); document != nil {
		return document, nil
	}
	kind, name, ok := s.route(r.URL.Path)
	if !ok {
		return nil, apierrors.NewGenericServerResponse(http.StatusNotFound, r.Method, schema.GroupResource{}, "", "", 0,
			true)
	}
	switch verbs[r.Method] {
	case "get":
		if name == "" {
			return s.list(kind, r)
		}
		return s.get(kind, name, r.URL.Path)
	case "patch":
		return s.apply(kind, name, r)
	case "delete":
		return s.delete(kind, name, r)
	}
	return nil, apierrors.NewMethodNotSupported(kind.groupResource(), r.Method)
}

func (s *Server) get(kind Kind, name, path string) (any, error) {
	if object := s.objects[path]; object != nil {
		return object.DeepCopy(), nil
	}
	return nil, apierrors.NewNotFound(kind.groupResource(), name)
}

func (s *Server) list(kind Kind, r *http.Request) (any, error) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	for _, object := range s.objects {
		elsewhere := r.URL.Path != kind.collection("") && r.URL.Path != kind.collection(object.GetNamespace())
		if object.GroupVersionKind() == kind.GroupVersionKind && !elsewhere &&
			selector.Matches(labels.Set(object.GetLabels())) {
			list.Items = append(list.Items, *object.DeepCopy())
		}
	}
	return list, nil
}

func (s *Server) apply(kind Kind, name string, r *http.Request) (any, error) {
	query := r.URL.Query()
	if r.Header.Get("Content-Type") != string(types.ApplyPatchType) {
		return nil, apierrors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "patch", kind.groupResource(),
			name, "only apply", 0, true)
	}
	wanted := &unstructured.Unstructured{}
	if err := json.NewDecoder(r.Body).Decode(&wanted.Object); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if namespace := wanted.GetNamespace(); namespace != "" && s.objects["/api/v1/namespaces/"+namespace] == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, namespace)
	}
	live := empty(kind)
	if there := s.objects[r.URL.Path]; there != nil {
		live = there.DeepCopy()
	}
	force, _ := strconv.ParseBool(query.Get("force"))
	merged, err := managerOf(kind).Apply(live, wanted, query.Get("fieldManager"), force)
	if err != nil {
		return nil, err
	}
	return s.store(r.URL.Path, merged.(*unstructured.Unstructured)).DeepCopy(), nil
}

func (s *Server) delete(kind Kind, name string, r *http.Request) (any, error) {
	var options metav1.DeleteOptions
	if err := json.NewDecoder(r.Body).Decode(&options); err != nil && err != io.EOF {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	live := s.objects[r.URL.Path]
	if live == nil {
		return nil, apierrors.NewNotFound(kind.groupResource(), name)
	}
	if options.Preconditions != nil && options.Preconditions.UID != nil && *options.Preconditions.UID != live.GetUID() {
		return nil, apierrors.NewConflict(kind.groupResource(), name, fmt.Errorf("the UID is another"))
	}
	delete(s.objects, r.URL.Path)
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// store keeps object, with a new version when it differs, times aside, from the one before.
func (s *Server) store(path string, object *unstructured.Unstructured) *unstructured.Unstructured {
	live := s.objects[path]
	if live != nil && written(live) == written(object) {
		return live
	}
	s.version++
	object.SetResourceVersion(strconv.Itoa(s.version))
	if live == nil {
		object.SetUID(types.UID("uid-" + strconv.Itoa(s.version)))
	}
	if object.GetKind() == "CustomResourceDefinition" {
		s.establish(object)
	}
	s.objects[path] = object
	return object
}

// written returns the part of an object that counts as a difference.
func written(object *unstructured.Unstructured) string {
	object = object.DeepCopy()
	object.SetResourceVersion("")
	fields := object.GetManagedFields()
	for i := range fields {
		fields[i].Time = nil
	}
	object.SetManagedFields(fields)
	content, _ := json.Marshal(object.Object)
	return string(content)
}

// establish serves the kind that a definition defines.
func (s *Server) establish(definition *unstructured.Unstructured) {
	field := func(path ...string) string {
		value, _, _ := unstructured.NestedString(definition.Object, path...)
		return value
	}
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	for _, each := range versions {
		version, _ := each.(map[string]any)["name"].(string)
		kind := Kind{
			GroupVersionKind: schema.GroupVersionKind{
				Group: field("spec", "group"), Version: version,
				Kind: field("spec", "names", "kind"),
			},
			Resource: field("spec", "names", "plural"), Namespaced: field("spec", "scope") == "Namespaced",
		}
		if !slices.Contains(s.kinds, kind) {
			s.kinds = append(s.kinds, kind)
		}
	}
	_ = unstructured.SetNestedSlice(definition.Object, []any{map[string]any{"type": "Established", "status": "True"}},
		"status", "conditions")
}

// route finds the kind and the name that a path of a URL is about.
func (s *Server) route(path string) (kind Kind, name string, ok bool) {
	for _, kind := range s.kinds {
		base := kind.collection("")
		rest, ok := strings.CutPrefix(path, base+"/")
		if path == base {
			return kind, "", true
		}
		if ok && !strings.Contains(rest, "/") {
			return kind, rest, true
		}
		parts := strings.Split(strings.TrimPrefix(path, kind.root()+"/namespaces/"), "/")
		if kind.Namespaced && strings.HasPrefix(path, kind.root()+"/namespaces/") && len(parts) >= 2 &&
			parts[1] == kind.Resource {
			return kind, strings.Join(parts[2:], "/"), true
		}
	}
	return Kind{}, "", false
}
