package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp/cmpopts"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	kubefake "helm.sh/helm/v3/pkg/kube/fake"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	"helm.sh/helm/v3/pkg/strvals"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/factory"
	"argosy.dev/argosy/internal/release"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/secret"
)

const namespace = "team-a"

func TestGeneratedFilesOfTheChartAreUpToDate(t *testing.T) {
	want, err := generate("..")
	assert.NilError(t, err)
	for name, content := range want {
		got, err := os.ReadFile(filepath.Join(chartFolder, name))
		assert.NilError(t, err, `run "go generate ./charts"`)
		assert.Assert(t, string(got) == string(content), `%s is stale: run "go generate ./charts"`, name)
	}
	copied, err := filepath.Glob(filepath.Join(chartFolder, "files", "*", "*.yaml"))
	assert.NilError(t, err)
	for _, path := range copied {
		name, err := filepath.Rel(chartFolder, path)
		assert.NilError(t, err)
		assert.Assert(t, want[filepath.ToSlash(name)] != nil, "%s is a copy of nothing: remove it", path)
	}
}

func TestTheChartInstallsTheImageOfTheKustomization(t *testing.T) {
	text, err := os.ReadFile("../install/kustomization.yaml")
	assert.NilError(t, err)
	var kustomization struct {
		Images []struct{ NewName, NewTag string }
	}
	assert.NilError(t, yaml.Unmarshal(text, &kustomization))
	loaded := load(t)
	assert.Equal(t, loaded.Values["image"].(map[string]any)["repository"], kustomization.Images[0].NewName)
	assert.Equal(t, loaded.Metadata.AppVersion, kustomization.Images[0].NewTag)
	assert.Equal(t, "v"+loaded.Metadata.Version, loaded.Metadata.AppVersion)
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	loaded, err := loader.Load(chartFolder)
	assert.NilError(t, err)
	return loaded
}

// everything returns the values with every switch on.
func everything(t *testing.T) chartutil.Values {
	t.Helper()
	values, err := chartutil.ReadValuesFile("testdata/everything.yaml")
	assert.NilError(t, err)
	return values
}

// render returns the objects that "helm template -n team-a" prints, by kind and name.
func render(t *testing.T, values map[string]any) map[string]string {
	t.Helper()
	rendered, err := template(t, values)
	assert.NilError(t, err)
	return byName(t, rendered)
}

func template(t *testing.T, values map[string]any) (string, error) {
	t.Helper()
	install := action.NewInstall(&action.Configuration{Log: t.Logf})
	install.ReleaseName, install.Namespace = "argosy", namespace
	install.DryRun, install.ClientOnly, install.Replace = true, true, true
	install.KubeVersion = &capabilities().KubeVersion
	made, err := install.Run(load(t), values)
	if err != nil {
		return "", err
	}
	return made.Manifest, nil
}

// capabilities are those of a host cluster. Helm's own default is 1.20 where it is not built as a release.
func capabilities() *chartutil.Capabilities {
	of := chartutil.DefaultCapabilities.Copy()
	of.KubeVersion = chartutil.KubeVersion{Version: "v1.37.2", Major: "1", Minor: "37"}
	return of
}

func byName(t *testing.T, manifest string) map[string]string {
	t.Helper()
	objects := map[string]string{}
	for _, text := range strings.Split("\n"+manifest, "\n---\n") {
		var object metav1.PartialObjectMetadata
		assert.NilError(t, yaml.Unmarshal([]byte(text), &object), text)
		if object.Kind == "" {
			assert.Equal(t, strings.TrimSpace(text), "")
			continue
		}
		key := object.Kind + " " + object.Name
		assert.Equal(t, objects[key], "", "%s is there twice", key)
		objects[key] = text
	}
	return objects
}

// decode decodes an object strictly into the Go type of its kind.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	assert.Assert(t, text != "", "the object is missing")
	var object T
	assert.NilError(t, yaml.UnmarshalStrict([]byte(text), &object), text)
	return object
}

func TestTheChartLintsWithoutAWarning(t *testing.T) {
	for name, values := range map[string]map[string]any{"defaults": nil, "everything": everything(t)} {
		t.Run(name, func(t *testing.T) {
			for _, message := range lint.AllWithKubeVersion(chartFolder, values, namespace,
				&capabilities().KubeVersion).Messages {
				recommended := strings.Contains(message.Error(), "icon is recommended")
				assert.Check(t, message.Severity < support.WarningSev && recommended, message.Error())
			}
		})
	}
}

func TestEveryRenderedObjectDecodesStrictlyIntoItsType(t *testing.T) {
	types := runtime.NewScheme()
	assert.NilError(t, scheme.AddToScheme(types))
	assert.NilError(t, wfv1.AddToScheme(types))
	assert.NilError(t, apiextensionsv1.AddToScheme(types))
	assert.NilError(t, monitoringv1.AddToScheme(types))
	for name, values := range map[string]map[string]any{"defaults": nil, "everything": everything(t)} {
		t.Run(name, func(t *testing.T) {
			for key, text := range render(t, values) {
				var of metav1.TypeMeta
				assert.NilError(t, yaml.Unmarshal([]byte(text), &of))
				object, err := types.New(schema.FromAPIVersionAndKind(of.APIVersion, of.Kind))
				assert.NilError(t, err, key)
				assert.NilError(t, yaml.UnmarshalStrict([]byte(text), object), "%s:\n%s", key, text)
			}
		})
	}
}

// kustomized renders folders of install/ for the namespace.
func kustomized(t *testing.T, folders ...string) map[string]string {
	t.Helper()
	checkout := t.TempDir()
	for _, name := range []string{"install", "workflows"} {
		assert.NilError(t, os.CopyFS(filepath.Join(checkout, name), os.DirFS(filepath.Join("..", name))))
	}
	overlay := filepath.Join(checkout, "overlay")
	assert.NilError(t, os.Mkdir(overlay, 0o700))
	text := "namespace: " + namespace + "\nresources: [../" + strings.Join(folders, ", ../") + "]\n"
	assert.NilError(t, os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text), 0o600))
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), overlay)
	assert.NilError(t, err)
	manifest, err := rendered.AsYaml()
	assert.NilError(t, err)
	return byName(t, string(manifest))
}

// substance is an object without the marks that Helm adds, with the plugin's container as an object.
func substance(t *testing.T, text string) map[string]any {
	t.Helper()
	var object map[string]any
	assert.NilError(t, yaml.Unmarshal([]byte(text), &object))
	metadata := object["metadata"].(map[string]any)
	delete(metadata, "creationTimestamp")
	labels, _ := metadata["labels"].(map[string]any)
	for label := range labels {
		if strings.HasPrefix(label, "app.kubernetes.io/") || label == "helm.sh/chart" {
			delete(labels, label)
		}
	}
	if len(labels) == 0 {
		delete(metadata, "labels")
	}
	data, _ := object["data"].(map[string]any)
	if text, found := data["sidecar.container"].(string); found {
		data["sidecar.container"] = decode[corev1.Container](t, text)
	}
	return object
}

func TestDefaultValuesRenderWhatTheKustomizationInstalls(t *testing.T) {
	for name, test := range map[string]struct {
		values  map[string]any
		folders []string
	}{
		"defaults": {nil, []string{"install"}},
		"with provision": {
			map[string]any{"rbac": map[string]any{"provision": true}},
			[]string{"install", "install/rbac/provision"},
		},
		"with monitoring": {
			map[string]any{
				"exporter":   map[string]any{"create": true},
				"monitoring": map[string]any{"serviceMonitor": true, "prometheusRule": true, "dashboard": true},
			},
			[]string{"install", "install/exporter", "install/monitoring"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			want, got := kustomized(t, test.folders...), render(t, test.values)
			assert.Equal(t, len(got), len(want))
			for key, text := range want {
				assert.Assert(t, got[key] != "", "%s is missing", key)
				kustomized := substance(t, text)
				// kustomize leaves the namespace of a subject out where it does not know the account.
				subjects, _ := kustomized["subjects"].([]any)
				for _, subject := range subjects {
					subject.(map[string]any)["namespace"] = namespace
				}
				assert.DeepEqual(t, substance(t, got[key]), kustomized)
			}
		})
	}
}

// The end-to-end test TestTheReadmeInstallsInThreeCommands runs the command.
func TestTheInstallCommandOfTheReadmeFitsTheChart(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	assert.NilError(t, err)
	line := regexp.MustCompile(`(?m)^helm install argosy (\S+) --version (\S+) .*--set (\S+)$`).FindSubmatch(readme)
	assert.Assert(t, line != nil, "README has no command that installs the chart")
	assert.Equal(t, string(line[1]), "oci://"+release.DefaultRegistry+"/charts/argosy")
	assert.Equal(t, string(line[2]), load(t).Metadata.Version)
	values, err := strvals.Parse(string(line[3]))
	assert.NilError(t, err)
	objects := render(t, values)
	for _, wanted := range []string{
		"Role argosy-provision", "ConfigMap argosy-executor-plugin", "WorkflowTemplate provision",
		"ClusterRoleBinding argosy-workflow-controller-taskset-status-team-a",
	} {
		assert.Assert(t, objects[wanted] != "", wanted)
	}
}

func TestClusterWideObjectsAreNamedAfterTheNamespace(t *testing.T) {
	objects := render(t, everything(t))
	binding := decode[rbacv1.ClusterRoleBinding](t,
		objects["ClusterRoleBinding argosy-workflow-controller-taskset-status-team-a"])
	assert.DeepEqual(t, binding.Subjects, []rbacv1.Subject{
		{Kind: "ServiceAccount", Name: "argo-workflows-workflow-controller", Namespace: "workflows"},
	})
	_ = decode[rbacv1.ClusterRole](t, objects["ClusterRole "+binding.RoleRef.Name])
	nodes := decode[rbacv1.ClusterRoleBinding](t, objects["ClusterRoleBinding argosy-node-reader-team-a"])
	_ = decode[rbacv1.ClusterRole](t, objects["ClusterRole "+nodes.RoleRef.Name])
	assert.DeepEqual(t, nodes.Subjects[0].Namespace, namespace)
}

func TestTheKindOfStatesOutlivesTheRelease(t *testing.T) {
	text := render(t, everything(t))["CustomResourceDefinition clusterstates.argosy.dev"]
	kind := decode[apiextensionsv1.CustomResourceDefinition](t, text)
	assert.Equal(t, kind.Annotations["helm.sh/resource-policy"], "keep")
	assert.Equal(t, kind.Namespace, "")
}

func TestValuesReachThePluginsContainer(t *testing.T) {
	values := everything(t)
	plugin := decode[corev1.ConfigMap](t, render(t, values)["ConfigMap argosy-executor-plugin"])
	container := decode[corev1.Container](t, plugin.Data["sidecar.container"])
	image := "registry.example:5000/team/argosy:v9@" +
		"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
	assert.Equal(t, container.Image, image)
	assert.Equal(t, plugin.Data["image"], image)
	assert.Equal(t, container.ImagePullPolicy, corev1.PullAlways)
	assert.Equal(t, container.Resources.Limits.Memory().String(), "512Mi")
	variables := map[string]string{}
	for _, variable := range container.Env {
		variables[variable.Name] = variable.Value
		if from := variable.ValueFrom; from != nil && from.SecretKeyRef != nil {
			variables[variable.Name] = "key " + from.SecretKeyRef.Key + " of " + from.SecretKeyRef.Name
		}
	}
	assert.DeepEqual(t, variables, map[string]string{
		"POD_NAMESPACE": "", "ARGOSY_IMAGE": image, "HTTPS_PROXY": "http://proxy.example:3128",
		"ARGOSY_ALLOWED_SOURCES":      "registry.example.com,*.mirror.example",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.monitoring:4318",
		"OTEL_EXPORTER_OTLP_HEADERS":  "key otlp of receiver-login",
		"OTEL_RESOURCE_ATTRIBUTES":    "deployment.environment=test",
	})
}

func TestThePluginSendsNoTracesByDefault(t *testing.T) {
	plugin := decode[corev1.ConfigMap](t, render(t, nil)["ConfigMap argosy-executor-plugin"])
	assert.Assert(t, !strings.Contains(plugin.Data["sidecar.container"], "OTEL_"))
}

func TestHeadersOfTracesAreNeverRenderedInClear(t *testing.T) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} {
		inClear := map[string]any{"name": name, "value": "authorization=Bearer%20s3cret"}
		_, err := template(t, map[string]any{"plugin": map[string]any{"extraEnv": []any{inClear}}})
		assert.ErrorContains(t, err, "put it into a Secret and name that in traces.headersSecret")
		assert.Assert(t, !strings.Contains(err.Error(), "s3cret"), err.Error())
	}
	fromSecret := map[string]any{"name": "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "valueFrom": map[string]any{
		"secretKeyRef": map[string]any{"name": "login", "key": "headers"},
	}}
	_, err := template(t, map[string]any{"plugin": map[string]any{"extraEnv": []any{fromSecret}}})
	assert.NilError(t, err)
}

func TestAgentPodsWithThePluginPassPodSecurityRestricted(t *testing.T) {
	plugin := decode[corev1.ConfigMap](t, render(t, everything(t))["ConfigMap argosy-executor-plugin"])
	container := decode[corev1.Container](t, plugin.Data["sidecar.container"])
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	assert.NilError(t, err)
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &metav1.ObjectMeta{},
		&corev1.PodSpec{Containers: []corev1.Container{container}}))
	assert.Assert(t, result.Allowed, result.ForbiddenDetail())
}

func TestWorkflowsRunAsTheNamedAccountWithItsLogins(t *testing.T) {
	objects := render(t, everything(t))
	logins := []corev1.LocalObjectReference{{Name: "registry"}}
	account := decode[corev1.ServiceAccount](t, objects["ServiceAccount workflows"])
	assert.DeepEqual(t, account.ImagePullSecrets, logins)
	assert.Equal(t, account.Annotations["example.com/owner"], "platform")
	token := decode[corev1.Secret](t, objects["Secret workflows.service-account-token"])
	assert.Equal(t, token.Annotations[corev1.ServiceAccountNameKey], "workflows")
	binding := decode[rbacv1.RoleBinding](t, objects["RoleBinding workflows"])
	assert.Equal(t, binding.Subjects[0].Name, "workflows")
	templates := 0
	for key, text := range objects {
		if !strings.HasPrefix(key, "WorkflowTemplate ") {
			continue
		}
		templates++
		spec := decode[wfv1.WorkflowTemplate](t, text).Spec
		assert.Equal(t, spec.ServiceAccountName, "workflows", key)
		assert.DeepEqual(t, spec.ImagePullSecrets, logins)
		assert.DeepEqual(t, spec.NodeSelector, map[string]string{"kubernetes.io/os": "linux"})
		assert.Equal(t, *spec.TTLStrategy.SecondsAfterCompletion, int32(86400))
		assert.Assert(t, len(spec.Templates) > 0 && spec.Entrypoint == "main", key)
	}
	assert.Equal(t, templates, 12)
}

func TestSwitchesLeaveOutWhatTheyName(t *testing.T) {
	off := map[string]any{
		"plugin": map[string]any{"create": false}, "workflowTemplates": map[string]any{"create": false},
		"serviceAccount": map[string]any{"create": false}, "rbac": map[string]any{"create": false},
	}
	assert.Equal(t, len(render(t, off)), 0)
	off["clusters"] = everything(t)["clusters"]
	assert.Equal(t, len(render(t, off)), 2*3, "two clusters: a ConfigMap, a Role and its binding each")
	account := map[string]any{"serviceAccount": map[string]any{"create": false, "name": "its-own"}}
	objects := render(t, account)
	assert.Equal(t, objects["ServiceAccount its-own"]+objects["Secret its-own.service-account-token"], "")
	binding := decode[rbacv1.RoleBinding](t, objects["RoleBinding its-own"])
	assert.Equal(t, binding.Subjects[0].Name, "its-own")
}

// documents is the config.Source of rendered ConfigMaps, which notes the Secrets that it is asked for.
type documents struct {
	t       *testing.T
	objects map[string]string
	asked   []string
}

func (d *documents) Namespace() string { return namespace }

func (d *documents) ConfigMap(_ context.Context, name string) (map[string]string, error) {
	return decode[corev1.ConfigMap](d.t, d.objects["ConfigMap "+name]).Data, nil
}

func (d *documents) Secret(_ context.Context, name string) (map[string]secret.Value, error) {
	d.asked = append(d.asked, name)
	return nil, nil
}

func TestThePluginMayReadTheSecretsThatAClusterNames(t *testing.T) {
	objects := render(t, everything(t))
	for name, count := range map[string]int{"exists": 8, "made": 4} {
		t.Run(name, func(t *testing.T) {
			source := &documents{t: t, objects: objects}
			cluster, err := config.Load(t.Context(), source, name)
			assert.NilError(t, err)
			assert.NilError(t, factory.CheckSecrets(t.Context(), source, cluster))
			assert.Equal(t, len(source.asked), count)
			role := decode[rbacv1.Role](t, objects["Role argosy-cluster-"+name])
			of := func(kind string, names ...string) rbacv1.PolicyRule {
				return rbacv1.PolicyRule{
					APIGroups: []string{""}, Resources: []string{kind}, ResourceNames: names, Verbs: []string{"get"},
				}
			}
			assert.DeepEqual(t, role.Rules, []rbacv1.PolicyRule{of("configmaps", name), of("secrets", source.asked...)})
		})
	}
}

// A key that names a Secret and is not in everything.yaml would not be seen by the test above.
func TestEverythingHasEachKeyThatNamesASecret(t *testing.T) {
	text, err := os.ReadFile("testdata/everything.yaml")
	assert.NilError(t, err)
	names := regexp.MustCompile(`(?i)\b(names a Secret|Secret with|name of a Secret)\b`)
	found := 0
	for _, document := range []string{config.VClusterDocument, config.FleetDocument} {
		for _, key := range config.Keys(document) {
			last := key.Key[strings.LastIndex(key.Key, ".")+1:]
			if key.Section || len(key.Refused) > 0 || !names.MatchString(key.Meaning) {
				continue
			}
			found++
			assert.Check(t, strings.Contains(string(text), last+": "), "%s", key.Key)
		}
	}
	assert.Assert(t, found >= 8, "only %d keys name a Secret", found)
}

// tree reads the documents of an example as values of the chart.
func tree(t *testing.T, name string) (cluster map[string]any, source config.Dir) {
	t.Helper()
	source = config.Dir{Path: filepath.Join("../examples", name)}
	data, err := source.ConfigMap(t.Context(), name)
	assert.NilError(t, err)
	var vcluster, fleet map[string]any
	assert.NilError(t, yaml.Unmarshal([]byte(data[config.VClusterDocument]), &vcluster))
	assert.NilError(t, yaml.Unmarshal([]byte(data[config.FleetDocument]), &fleet))
	delete(fleet, "apiVersion")
	delete(fleet, "kind")
	return map[string]any{"vcluster": vcluster, "fleet": fleet}, source
}

func TestAClusterFromValuesIsTheClusterOfTheExample(t *testing.T) {
	for _, name := range []string{"team-a", "team-b"} {
		t.Run(name, func(t *testing.T) {
			values, source := tree(t, name)
			objects := render(t, map[string]any{"clusters": map[string]any{name: values}})
			want, err := config.Load(t.Context(), source, name)
			assert.NilError(t, err)
			got, err := config.Load(t.Context(), &documents{t: t, objects: objects}, name)
			assert.NilError(t, err)
			secrets := cmpopts.EquateComparable(secret.Value{})
			assert.DeepEqual(t, got.Fleet, want.Fleet, secrets)
			assert.DeepEqual(t, got.VCluster, want.VCluster, secrets)
		})
	}
}

func TestNumbersAndTextOfDocumentsKeepTheirTypes(t *testing.T) {
	cluster, err := config.Load(t.Context(), &documents{t: t, objects: render(t, everything(t))}, "exists")
	assert.NilError(t, err)
	assert.Equal(t, cluster.Fleet.Limits.Concurrency, 1000000)
	machine := cluster.Fleet.Machines[0]
	assert.Equal(t, machine.Name, "1")
	assert.DeepEqual(t, machine.Labels, map[string]string{"on": "yes", "number": "0123"})
	assert.Equal(t, machine.Taints[0].Value, "true")
}

func TestWrongValuesAreRefusedBeforeAnythingIsRendered(t *testing.T) {
	const good = `vcluster: {privateNodes: {enabled: true}}, `
	for name, test := range map[string]struct{ values, want string }{
		"unknown value":           {`image: {tagg: v1}`, "tagg"},
		"unknown switch":          {`rbac: {provison: true}`, "provison"},
		"text for a switch":       {`plugin: {create: "yes"}`, "create"},
		"number for a label":      {`monitoring: {labels: {release: 1}}`, "release"},
		"unknown monitoring":      {`monitoring: {rules: true}`, "rules"},
		"level of no PodSecurity": {`podSecurity: {enforce: strict}`, "enforce"},
		"digest of no sum":        {`image: {digest: latest}`, "digest"},
		"key of vcluster.yaml":    {`clusters: {a: {vcluster: {privateNodes: {enable: true}}, fleet: {}}}`, "enable"},
		"key of argosy.yaml":      {`clusters: {a: {` + good + `fleet: {machine: []}}}`, "machine"},
		"machine without address": {`clusters: {a: {` + good + `fleet: {machines: [{name: m}]}}}`, "address"},
		"login in an endpoint":    {`traces: {endpoint: "http://me:s3cret@collector:4318"}`, "endpoint"},
		"endpoint without scheme": {`traces: {endpoint: "collector:4318"}`, "endpoint"},
		"no name of a Secret":     {`traces: {headersSecret: "authorization=Bearer x"}`, "headersSecret"},
		"switch of control plane": {`controlPlane: {servicemonitor: true}`, "servicemonitor"},
		"no documents":            {`clusters: {a: {}}`, "vcluster"},
		"no name of a ConfigMap":  {`clusters: {A_b: {` + good + `fleet: {}}}`, "A_b"},
	} {
		t.Run(name, func(t *testing.T) {
			var values map[string]any
			assert.NilError(t, yaml.Unmarshal([]byte(test.values), &values))
			_, err := template(t, values)
			assert.Assert(t, is.ErrorContains(err, "values don't meet the specifications of the schema"))
			assert.Assert(t, is.ErrorContains(err, test.want))
		})
	}
}

func TestEmptySectionsOfDocumentsRender(t *testing.T) {
	var values map[string]any
	assert.NilError(t, yaml.Unmarshal([]byte(`clusters: {a: {
		vcluster: {privateNodes: {enabled: true}, controlPlane: null},
		fleet: {cluster: null, ssh: null, registries: {}, machines: null}}}`), &values))
	role := decode[rbacv1.Role](t, render(t, values)["Role argosy-cluster-a"])
	assert.Equal(t, len(role.Rules), 1)
}

// namespaces answers Helm's lookups with one Namespace.
type namespaces struct{ client dynamic.Interface }

func (n namespaces) GetClientFor(string, string) (dynamic.NamespaceableResourceInterface, bool, error) {
	return n.client.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")), false, nil
}

func TestANamespaceOfAnotherPodSecurityLevelIsRefused(t *testing.T) {
	for level, refused := range map[string]bool{"restricted": false, "privileged": true, "": true} {
		t.Run(level, func(t *testing.T) {
			of := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{}}}
			if level != "" {
				of.Labels[api.EnforceLevelLabel] = level
			}
			values, err := chartutil.ToRenderValues(load(t), everything(t),
				chartutil.ReleaseOptions{Name: "argosy", Namespace: namespace}, capabilities())
			assert.NilError(t, err)
			_, err = engine.RenderWithClientProvider(load(t), values,
				namespaces{dynamicfake.NewSimpleDynamicClient(scheme.Scheme, of)})
			if refused {
				assert.Assert(t, is.ErrorContains(err, "kubectl label --overwrite namespace team-a"))
				return
			}
			assert.NilError(t, err)
		})
	}
}

// cluster returns Helm's configuration with releases in memory and a cluster that accepts everything.
func cluster(t *testing.T) *action.Configuration {
	t.Helper()
	return &action.Configuration{
		Releases: storage.Init(driver.NewMemory()), KubeClient: &kubefake.PrintingKubeClient{Out: io.Discard},
		Capabilities: capabilities(), Log: t.Logf,
	}
}

func install(t *testing.T, on *action.Configuration, of *chart.Chart, values map[string]any) *helmrelease.Release {
	t.Helper()
	install := action.NewInstall(on)
	install.ReleaseName, install.Namespace = "argosy", namespace
	made, err := install.Run(of, values)
	assert.NilError(t, err)
	return made
}

func TestAnUpgradeKeepsValuesAndRollsTheImage(t *testing.T) {
	on, previous := cluster(t), load(t)
	previous.Metadata.Version, previous.Metadata.AppVersion = "0.0.9", "v0.0.9"
	values, _ := tree(t, "team-a")
	first := install(t, on, previous, map[string]any{"clusters": map[string]any{"team-a": values}})
	upgrade := action.NewUpgrade(on)
	upgrade.Namespace, upgrade.ResetThenReuseValues = namespace, true
	second, err := upgrade.Run("argosy", load(t), map[string]any{"rbac": map[string]any{"provision": true}})
	assert.NilError(t, err)
	assert.Equal(t, second.Version, 2)
	before, after := byName(t, first.Manifest), byName(t, second.Manifest)
	assert.Equal(t, len(after), len(before)+2, "the Role of provision and its binding came")
	for key, text := range before {
		assert.Assert(t, after[key] != "", "%s is gone", key)
		if strings.HasSuffix(strings.Fields(key)[0], "Binding") {
			assert.DeepEqual(t, substance(t, after[key])["roleRef"], substance(t, text)["roleRef"])
		}
	}
	assert.DeepEqual(t, substance(t, after["ConfigMap team-a"]), substance(t, before["ConfigMap team-a"]))
	plugin := decode[corev1.ConfigMap](t, after["ConfigMap argosy-executor-plugin"])
	assert.Equal(t, plugin.Data["image"], "ghcr.io/argosy-dev/executor-plugin:"+load(t).Metadata.AppVersion)
}

func TestDocumentsOfAClusterAreKeptWhenItLeavesTheValues(t *testing.T) {
	on := cluster(t)
	values, _ := tree(t, "team-a")
	made := install(t, on, load(t), map[string]any{"clusters": map[string]any{"team-a": values}})
	documents := decode[corev1.ConfigMap](t, byName(t, made.Manifest)["ConfigMap team-a"])
	assert.Equal(t, documents.Annotations["helm.sh/resource-policy"], "keep")
}

func TestNotesNameTheCommandForEachCluster(t *testing.T) {
	notes := install(t, cluster(t), load(t), everything(t)).Info.Notes
	assert.Assert(t, is.Contains(notes, "argosy doctor --namespace team-a"))
	assert.Assert(t, is.Contains(notes, "workflowtemplate/join -p cluster=exists"))
	assert.Assert(t, is.Contains(notes, "workflowtemplate/provision -p cluster=made"))
	assert.Assert(t, !strings.Contains(notes, "controllerRule"), notes)
	assert.Assert(t, is.Contains(install(t, cluster(t), load(t), nil).Info.Notes, "argo.controllerRule=true"))
}

// Helm keeps a release in a Secret, which holds the whole chart and its rendering, and may be at most 1 MiB large.
func TestAReleaseFitsIntoItsSecret(t *testing.T) {
	made := install(t, cluster(t), load(t), everything(t))
	text, err := json.Marshal(made)
	assert.NilError(t, err)
	var compressed bytes.Buffer
	writer := gzip.NewWriter(&compressed)
	_, err = writer.Write(text)
	assert.NilError(t, err)
	assert.NilError(t, writer.Close())
	size := compressed.Len() * 4 / 3
	t.Logf("%d bytes", size)
	assert.Assert(t, size < 1<<19, "a release has %d bytes", size)
}

func TestTheSchemaDescribesEveryValue(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartFolder, "values.schema.json"))
	assert.NilError(t, err)
	var schema struct {
		Properties map[string]struct {
			Properties map[string]struct{ Description string }
		}
	}
	assert.NilError(t, json.Unmarshal(text, &schema))
	var top []string
	for name := range schema.Properties {
		top = append(top, name)
	}
	for name := range load(t).Values {
		assert.Assert(t, slices.Contains(top, name), name)
	}
	assert.Assert(t, is.Contains(schema.Properties["argo"].Properties["controllerRule"].Description,
		"once for a host cluster"))
}
