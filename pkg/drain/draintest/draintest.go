// Package draintest has client-go's fake API server, which knows no evictions, evict pods as a real one does.
package draintest

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

// Evict has c delete the pods that are evicted, but not those whose eviction is only tried, and none for which answer
// is an error, which the caller meets. answer is asked for each eviction, also for one that is only tried.
func Evict(c *fake.Clientset, answer func(eviction *policyv1.Eviction) error) {
	c.Resources = []*metav1.APIResourceList{{GroupVersion: "v1", APIResources: []metav1.APIResource{
		{Name: "pods/eviction", Kind: "Eviction", Group: "policy", Version: "v1"},
	}}}
	c.PrependReactor("create", "pods", func(action ktesting.Action) (bool, runtime.Object, error) {
		if action.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		eviction := action.(ktesting.CreateAction).GetObject().(*policyv1.Eviction)
		if err := answer(eviction); err != nil || OnlyTried(eviction) {
			return true, nil, err
		}
		return true, nil, c.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), eviction.Namespace,
			eviction.Name)
	})
}

// OnlyTried reports whether an eviction is a dry run.
func OnlyTried(eviction *policyv1.Eviction) bool {
	return slices.Contains(eviction.DeleteOptions.DryRun, metav1.DryRunAll)
}

// Held is the answer of an API server where a pod's budget allows no disruption.
func Held() error {
	return apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
}
