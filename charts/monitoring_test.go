package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/controlplane/hosted"
)

// added returns the keys of the objects that values bring beside those of the defaults.
func added(t *testing.T, values map[string]any) []string {
	t.Helper()
	plain := render(t, nil)
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(render(t, values))) {
		if plain[key] == "" {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestEachSwitchOfMonitoringBringsItsObjects(t *testing.T) {
	exporter := []string{
		"Deployment argosy-exporter", "Role argosy-exporter", "RoleBinding argosy-exporter", "Service argosy-exporter",
		"ServiceAccount argosy-exporter",
	}
	for name, test := range map[string]struct {
		values map[string]any
		want   []string
	}{
		"none":           {nil, nil},
		"exporter":       {map[string]any{"exporter": map[string]any{"create": true}}, exporter},
		"serviceMonitor": {monitoringWith("serviceMonitor"), []string{"ServiceMonitor argosy-exporter"}},
		"prometheusRule": {monitoringWith("prometheusRule"), []string{"PrometheusRule argosy"}},
		"dashboard":      {monitoringWith("dashboard"), []string{"ConfigMap argosy-dashboard"}},
		"scrapers without an exporter": {
			map[string]any{"exporter": map[string]any{"scrapers": []any{map[string]any{}}}}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) { assert.DeepEqual(t, added(t, test.values), test.want) })
	}
}

func monitoringWith(key string) map[string]any {
	return map[string]any{"monitoring": map[string]any{key: true}}
}

func TestTheServiceMonitorFindsTheExporter(t *testing.T) {
	for name, values := range map[string]map[string]any{
		"defaults": {
			"exporter": map[string]any{"create": true}, "monitoring": map[string]any{"serviceMonitor": true},
		},
		"everything": everything(t),
	} {
		t.Run(name, func(t *testing.T) {
			objects := render(t, values)
			monitor := decode[monitoringv1.ServiceMonitor](t, objects["ServiceMonitor argosy-exporter"])
			service := decode[corev1.Service](t, objects["Service argosy-exporter"])
			exporter := decode[appsv1.Deployment](t, objects["Deployment argosy-exporter"])
			assert.Assert(t, selects(t, &monitor.Spec.Selector, service.Labels))
			assert.Equal(t, monitor.Spec.Endpoints[0].Port, service.Spec.Ports[0].Name)
			pod := exporter.Spec.Template
			assert.Assert(t, k8slabels.SelectorFromSet(service.Spec.Selector).Matches(k8slabels.Set(pod.Labels)))
			assert.Assert(t, selects(t, exporter.Spec.Selector, pod.Labels))
			assert.Equal(t, service.Spec.Ports[0].TargetPort.StrVal, pod.Spec.Containers[0].Ports[0].Name)
		})
	}
}

func selects(t *testing.T, selector *metav1.LabelSelector, labels map[string]string) bool {
	t.Helper()
	made, err := metav1.LabelSelectorAsSelector(selector)
	assert.NilError(t, err)
	return made.Matches(k8slabels.Set(labels))
}

// The login and the names are checked with the example of which the objects are made.
func TestEachControlPlaneOfArgosyGetsAServiceMonitor(t *testing.T) {
	objects := render(t, everything(t))
	monitor := decode[monitoringv1.ServiceMonitor](t, objects["ServiceMonitor made-control-plane"])
	assert.Equal(t, monitor.Namespace, namespace)
	assert.Equal(t, monitor.Labels["release"], "prometheus")
	names := hosted.Names("made")
	assert.Assert(t, selects(t, &monitor.Spec.Selector, names.Labels(hosted.ControlPlane)))
	endpoint := monitor.Spec.Endpoints[0]
	assert.Equal(t, *endpoint.TLSConfig.ServerName, names.Service())
	assert.Equal(t, endpoint.RelabelConfigs[0].Regex, names.ControlPlane())
	assert.Equal(t, *endpoint.RelabelConfigs[1].Replacement, "made")
	assert.Equal(t, endpoint.TLSConfig.KeySecret.Name, "made-kubeconfig-prometheus")

	renewal := decode[wfv1.CronWorkflow](t, objects["CronWorkflow metrics-reader-made"])
	assert.Equal(t, renewal.Namespace, namespace)
	assert.Equal(t, renewal.Spec.WorkflowSpec.Arguments.GetParameterByName("cluster").Value.String(), "made")
	assert.Equal(t, objects["ServiceMonitor exists-control-plane"], "", "another tool runs that control plane")

	values := map[string]any{"clusters": everything(t)["clusters"]}
	assert.Equal(t, render(t, values)["ServiceMonitor made-control-plane"], "", "it is a switch")
	for key := range render(t, values) {
		assert.Assert(t, !strings.Contains(key, "CronWorkflow"), key)
	}
}

func TestTheScraperReachesTheExporterAlsoWithNetworkPolicies(t *testing.T) {
	exporter, policies := map[string]any{"create": true}, map[string]any{"create": true}
	const policy = "NetworkPolicy argosy-exporter"
	objects := render(t, map[string]any{"exporter": exporter, "networkPolicy": policies})
	network := decode[networkingv1.NetworkPolicy](t, objects[policy])
	pod := decode[appsv1.Deployment](t, objects["Deployment argosy-exporter"]).Spec.Template
	assert.Assert(t, selects(t, &network.Spec.PodSelector, pod.Labels))
	assert.Equal(t, len(network.Spec.Ingress), 1)
	assert.Equal(t, len(network.Spec.Ingress[0].From), 0, "all may scrape where no scrapers are named")
	assert.Equal(t, len(network.Spec.Ingress[0].Ports), 1)
	assert.Equal(t, network.Spec.Ingress[0].Ports[0].Port.StrVal, pod.Spec.Containers[0].Ports[0].Name)
	agent := decode[networkingv1.NetworkPolicy](t, objects["NetworkPolicy argosy-agent"])
	assert.Assert(t, !selects(t, &agent.Spec.PodSelector, pod.Labels))
	for name, values := range map[string]map[string]any{
		"no exporter": {"networkPolicy": policies}, "no policies": {"exporter": exporter},
	} {
		assert.Equal(t, render(t, values)[policy], "", name)
	}
}

func TestValuesReachTheExporter(t *testing.T) {
	objects := render(t, everything(t))
	pod := decode[appsv1.Deployment](t, objects["Deployment argosy-exporter"]).Spec.Template.Spec
	plugin := decode[corev1.ConfigMap](t, objects["ConfigMap argosy-executor-plugin"])
	assert.Equal(t, pod.Containers[0].Image, plugin.Data["image"])
	assert.Equal(t, pod.Containers[0].ImagePullPolicy, corev1.PullAlways)
	assert.Equal(t, pod.Containers[0].Resources.Requests.Cpu().String(), "20m")
	assert.DeepEqual(t, pod.ImagePullSecrets, []corev1.LocalObjectReference{{Name: "registry"}})

	network := decode[networkingv1.NetworkPolicy](t, objects["NetworkPolicy argosy-exporter"])
	assert.Assert(t, selects(t, &network.Spec.PodSelector, map[string]string{
		"app.kubernetes.io/name": "argosy-exporter",
	}))
	assert.DeepEqual(t, network.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress})
	assert.Equal(t, len(network.Spec.Ingress), 1)
	peer := network.Spec.Ingress[0].From[0].NamespaceSelector
	assert.DeepEqual(t, peer.MatchLabels, map[string]string{"kubernetes.io/metadata.name": "monitoring"})
	assert.Equal(t, network.Spec.Ingress[0].Ports[0].Port.StrVal, pod.Containers[0].Ports[0].Name)
}

func TestPrometheusAndGrafanaFindObjectsByTheLabelsOfTheValues(t *testing.T) {
	objects := render(t, everything(t))
	for _, key := range []string{"ServiceMonitor argosy-exporter", "PrometheusRule argosy"} {
		var object metav1.PartialObjectMetadata
		assert.NilError(t, yaml.Unmarshal([]byte(objects[key]), &object))
		assert.Equal(t, object.Labels["release"], "prometheus", key)
		assert.Equal(t, object.Labels["app.kubernetes.io/instance"], "argosy", key)
	}
	dashboard := decode[corev1.ConfigMap](t, objects["ConfigMap argosy-dashboard"])
	assert.Equal(t, dashboard.Labels["dashboards"], "yes")
	plain := decode[corev1.ConfigMap](t, render(t, monitoringWith("dashboard"))["ConfigMap argosy-dashboard"])
	assert.Equal(t, plain.Labels["grafana_dashboard"], "1")
}

func TestTheExporterPassesPodSecurityRestricted(t *testing.T) {
	pod := decode[appsv1.Deployment](t, render(t, everything(t))["Deployment argosy-exporter"]).Spec.Template
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	assert.NilError(t, err)
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
	assert.Assert(t, result.Allowed, result.ForbiddenDetail())
}
