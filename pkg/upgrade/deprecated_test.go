package upgrade

import (
	"testing"

	"gotest.tools/v3/assert"
)

func TestOnlyRemovedAPIsAreNamed(t *testing.T) {
	metrics := []byte(`# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested
apiserver_requested_deprecated_apis{group="policy",removed_release="1.25",resource="podsecuritypolicies",subresource="",version="v1beta1"} 1
apiserver_requested_deprecated_apis{group="flowcontrol.apiserver.k8s.io",removed_release="1.34",resource="flowschemas",subresource="",version="v1beta3"} 1
apiserver_requested_deprecated_apis{group="flowcontrol.apiserver.k8s.io",removed_release="1.34",resource="flowschemas",subresource="status",version="v1beta3"} 1
apiserver_requested_deprecated_apis{group="",removed_release="1.99",resource="componentstatuses",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="x",removed_release="1.20",resource="gone",subresource="",version="v1"} 0
`)
	assert.DeepEqual(t, removedBy(metrics, "v1.34.4"), []string{
		"flowcontrol.apiserver.k8s.io/v1beta3 flowschemas",
		"policy/v1beta1 podsecuritypolicies",
	})
	assert.DeepEqual(t, removedBy(metrics, "v1.33.13"), []string{"policy/v1beta1 podsecuritypolicies"})
	assert.Equal(t, len(removedBy(nil, "v1.34.4")), 0)
}
