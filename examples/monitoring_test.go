package examples_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/controlplane/hosted"
)

// decode decodes an object of a file strictly into the Go type of its kind.
func decode[T any](t *testing.T, file string, index int) T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("control-plane-metrics", file))
	assert.NilError(t, err)
	var object T
	assert.NilError(t, yaml.UnmarshalStrict([]byte(strings.Split(string(text), "\n---\n")[index]), &object))
	return object
}

func TestTheServiceMonitorFindsEachPodOfAControlPlane(t *testing.T) {
	monitor := decode[monitoringv1.ServiceMonitor](t, "servicemonitor.yaml", 0)
	names := hosted.Names(monitor.Namespace)
	selector, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
	assert.NilError(t, err)
	assert.Assert(t, selector.Matches(labels.Set(names.Labels(hosted.ControlPlane))))
	assert.Assert(t, !selector.Matches(labels.Set(names.Labels(hosted.Etcd))))
	endpoint := monitor.Spec.Endpoints[0]
	assert.Equal(t, endpoint.Port, "https")
	assert.Equal(t, endpoint.RelabelConfigs[0].Regex, names.ControlPlane(), "the Service that gives pods names")
	assert.Equal(t, *endpoint.TLSConfig.ServerName, names.Service())
}

// The Secret is that of the workflow kubeconfig, for the user whom the cluster lets read its metrics.
func TestPrometheusLogsInAsAUserWhoReadsMetricsAlone(t *testing.T) {
	role := decode[rbacv1.ClusterRole](t, "reader.yaml", 0)
	assert.DeepEqual(t, role.Rules, []rbacv1.PolicyRule{
		{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}},
	})
	binding := decode[rbacv1.ClusterRoleBinding](t, "reader.yaml", 1)
	assert.Equal(t, binding.RoleRef.Name, role.Name)
	user := binding.Subjects[0]
	assert.Equal(t, user.Kind, rbacv1.UserKind)

	asked := decode[wfv1.CronWorkflow](t, "renew.yaml", 0).Spec.WorkflowSpec
	assert.Equal(t, asked.WorkflowTemplateRef.Name, "kubeconfig")
	assert.Equal(t, asked.Arguments.GetParameterByName("user").Value.String(), user.Name)
	cluster := asked.Arguments.GetParameterByName("cluster").Value.String()

	login := decode[monitoringv1.ServiceMonitor](t, "servicemonitor.yaml", 0).Spec.Endpoints[0].TLSConfig
	secret := cluster + "-kubeconfig-" + user.Name
	for key, selector := range map[string]*corev1.SecretKeySelector{
		corev1.ServiceAccountRootCAKey: login.CA.Secret, corev1.TLSCertKey: login.Cert.Secret,
		corev1.TLSPrivateKeyKey: login.KeySecret,
	} {
		assert.Equal(t, selector.Name, secret)
		assert.Equal(t, selector.Key, key)
	}
}
