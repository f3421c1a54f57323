package applytest

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
)

// builtin are the kinds that the server knows from the start.
func builtin() []Kind {
	var kinds []Kind
	add := func(group, version string, namespaced bool, resources map[string]string) {
		for kind, resource := range resources {
			kinds = append(kinds, Kind{
				schema.GroupVersionKind{Group: group, Version: version, Kind: kind},
				resource,
				namespaced,
			})
		}
	}
	add("", "v1", false, map[string]string{"Namespace": "namespaces", "Node": "nodes"})
	add("", "v1", true, map[string]string{
		"ConfigMap": "configmaps", "Secret": "secrets", "Service": "services", "ServiceAccount": "serviceaccounts",
		"PersistentVolumeClaim": "persistentvolumeclaims", "Pod": "pods",
	})
	add("", "v1", true, map[string]string{"Endpoints": "endpoints"})
	add("discovery.k8s.io", "v1", true, map[string]string{"EndpointSlice": "endpointslices"})
	add("apps", "v1", true, map[string]string{
		"Deployment": "deployments", "DaemonSet": "daemonsets",
		"StatefulSet": "statefulsets",
	})
	add("policy", "v1", true, map[string]string{"PodDisruptionBudget": "poddisruptionbudgets"})
	add("networking.k8s.io", "v1", true, map[string]string{"NetworkPolicy": "networkpolicies"})
	add("rbac.authorization.k8s.io", "v1", true, map[string]string{"Role": "roles", "RoleBinding": "rolebindings"})
	add("rbac.authorization.k8s.io", "v1", false, map[string]string{
		"ClusterRole":        "clusterroles",
		"ClusterRoleBinding": "clusterrolebindings",
	})
	add("storage.k8s.io", "v1", false, map[string]string{"StorageClass": "storageclasses"})
	add("scheduling.k8s.io", "v1", false, map[string]string{"PriorityClass": "priorityclasses"})
	add("apiextensions.k8s.io", "v1", false, map[string]string{"CustomResourceDefinition": "customresourcedefinitions"})
	add("apiregistration.k8s.io", "v1", false, map[string]string{"APIService": "apiservices"})
	return kinds
}

func (s *Server) kindOf(wanted schema.GroupVersionKind) (Kind, bool) {
	i := slices.IndexFunc(s.kinds, func(kind Kind) bool { return kind.GroupVersionKind == wanted })
	if i < 0 {
		return Kind{}, false
	}
	return s.kinds[i], true
}

func (k Kind) root() string {
	if k.Group == "" {
		return "/api/" + k.Version
	}
	return "/apis/" + k.Group + "/" + k.Version
}

func (k Kind) collection(namespace string) string {
	if namespace == "" {
		return k.root() + "/" + k.Resource
	}
	return k.root() + "/namespaces/" + namespace + "/" + k.Resource
}

func (k Kind) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Resource}
}

func empty(kind Kind) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{}}
	object.SetGroupVersionKind(kind.GroupVersionKind)
	return object
}

// discovery returns the server's answer to a discovery request; nil for any other path.
func (s *Server) discovery(path string) any {
	switch path {
	case "/api":
		return &metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}}
	case "/apis":
		return s.groups()
	}
	resources := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}}
	for _, kind := range s.kinds {
		if kind.root() != path {
			continue
		}
		resources.GroupVersion = kind.GroupVersion().String()
		resources.APIResources = append(resources.APIResources, metav1.APIResource{
			Name: kind.Resource, Kind: kind.Kind, Namespaced: kind.Namespaced,
			Verbs: metav1.Verbs{"get", "list", "patch", "delete"},
		})
	}
	if resources.GroupVersion == "" {
		return nil
	}
	return resources
}

func (s *Server) groups() any {
	list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	for _, kind := range s.kinds {
		version := metav1.GroupVersionForDiscovery{GroupVersion: kind.GroupVersion().String(), Version: kind.Version}
		i := slices.IndexFunc(list.Groups, func(group metav1.APIGroup) bool { return group.Name == kind.Group })
		switch {
		case kind.Group == "":
		case i < 0:
			list.Groups = append(list.Groups, metav1.APIGroup{
				Name:     kind.Group,
				Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
			})
		case !slices.Contains(list.Groups[i].Versions, version):
			list.Groups[i].Versions = append(list.Groups[i].Versions, version)
		}
	}
	return list
}

// managerOf returns the manager that merges a kind's objects and keeps their ownership: by its schema if it is one of
// client-go's, by the shape of its objects otherwise.
func managerOf(kind Kind) *managedfields.FieldManager {
	converter := managedfields.NewDeducedTypeConverter()
	if scheme.Scheme.Recognizes(kind.GroupVersionKind) {
		converter = applyconfigurations.NewTypeConverter(scheme.Scheme)
	}
	manager, err := managedfields.NewDefaultFieldManager(converter, oneVersion{}, noDefaults{}, emptyObjects{},
		kind.GroupVersionKind, kind.GroupVersion(), "", nil)
	if err != nil {
		panic(err) // only an impossible kind can't have a manager
	}
	return manager
}

// oneVersion converts nothing: every object has the one version that is served.
type oneVersion struct{}

func (oneVersion) Convert(any, any, any) error { return nil }

func (oneVersion) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	return in, nil
}

func (oneVersion) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

type noDefaults struct{}

func (noDefaults) Default(runtime.Object) {}

type emptyObjects struct{}

func (emptyObjects) New(kind schema.GroupVersionKind) (runtime.Object, error) {
	return empty(Kind{GroupVersionKind: kind}), nil
}
