package upgrade

import (
	"fmt"
	"testing"

	"gotest.tools/v3/assert"
)

func TestOnlyRemovedAPIsAreNamed(t *testing.T) {
	metrics := []byte("# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs\n" +
		requested("policy", "1.25", "podsecuritypolicies", "", "v1beta1", 1) +
		requested("flowcontrol.apiserver.k8s.io", "1.34", "flowschemas", "", "v1beta3", 1) +
		requested("flowcontrol.apiserver.k8s.io", "1.34", "flowschemas", "status", "v1beta3", 1) +
		requested("", "1.99", "componentstatuses", "", "v1", 1) +
		requested("", "", "endpoints", "", "v1", 1) +
		requested("x", "1.20", "gone", "", "v1", 0))
	assert.DeepEqual(t, removedBy(metrics, "v1.34.4"), []string{
		"flowcontrol.apiserver.k8s.io/v1beta3 flowschemas",
		"policy/v1beta1 podsecuritypolicies",
	})
	assert.DeepEqual(t, removedBy(metrics, "v1.33.13"), []string{"policy/v1beta1 podsecuritypolicies"})
	assert.Equal(t, len(removedBy(nil, "v1.34.4")), 0)
}

// requested returns one line of the API server's metrics.
func requested(group, removed, resource, subresource, version string, value int) string {
	return fmt.Sprintf("apiserver_requested_deprecated_apis"+
		"{group=%q,removed_release=%q,resource=%q,subresource=%q,version=%q} %d\n",
		group, removed, resource, subresource, version, value)
}
