package apply

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ranks are kinds in the order in which they are set: each rank may need those before it. Kinds that are not listed are
// custom resources, and come last.
var ranks = [][]string{
	{"Namespace", "PriorityClass"},
	{"CustomResourceDefinition"},
	{
		"ServiceAccount", "ConfigMap", "Secret", "Role", "ClusterRole", "StorageClass", "PersistentVolume",
		"PersistentVolumeClaim", "LimitRange", "ResourceQuota", "NetworkPolicy",
	},
	{"RoleBinding", "ClusterRoleBinding", "Service", "Endpoints", "EndpointSlice", "PodDisruptionBudget"},
	{"Pod", "ReplicaSet", "Deployment", "DaemonSet", "StatefulSet", "Job", "CronJob", "Ingress"},
	{"APIService", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"},
}

func rankOf(kind string) int {
	if i := slices.IndexFunc(ranks, func(kinds []string) bool { return slices.Contains(kinds, kind) }); i >= 0 {
		return i
	}
	return len(ranks)
}

// ranked sorts objects into their ranks; inside a rank they keep their order. No rank is empty.
func ranked(objects []*unstructured.Unstructured) [][]*unstructured.Unstructured {
	sorted := make([][]*unstructured.Unstructured, len(ranks)+1)
	for _, object := range objects {
		rank := rankOf(object.GetKind())
		sorted[rank] = append(sorted[rank], object)
	}
	return slices.DeleteFunc(sorted, func(rank []*unstructured.Unstructured) bool { return len(rank) == 0 })
}
