package scale

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/packer"
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/test/lab"
)

// root of the repository.
const root = "../.."

func encode(content []byte) string { return base64.StdEncoding.EncodeToString(content) }

// startArgo installs Argo's types, our plugin and workflows, and starts the controller, as the lab has it.
func (a *api) startArgo() {
	a.t.Helper()
	for _, name := range []string{namespace, "argo"} {
		_, err := a.client.CoreV1().Namespaces().Create(a.t.Context(),
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		assert.NilError(a.t, err)
	}
	argo := programsOfArgo(a.t)
	a.apply("", filepath.Join(argo, "crds"))
	await(a.t, "Argo's types", time.Minute, func() error {
		served, err := a.client.RESTClient().Get().AbsPath("/apis/argoproj.io/v1alpha1").DoRaw(a.t.Context())
		if err == nil && !strings.Contains(string(served), `"workflowtasksets/status"`) {
			err = fmt.Errorf("only %d bytes of types are served", len(served))
		}
		return err
	})
	a.apply(`{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": {"name": "workflow-controller-configmap", "namespace": "argo"},
		"data": {"metricsConfig": "enabled: false\n"}}`)
	a.apply("", "install/rbac/workflow.yaml", "install/rbac/executor-plugin.yaml",
		"install/plugin/argosy-executor-plugin-configmap.yaml", "workflows/join.yaml", "workflows/upgrade.yaml")
	launch(a.t, a.folder, "workflow-controller", []string{
		"LEADER_ELECTION_DISABLE=true", "DEFAULT_REQUEUE_TIME=2s", "ARGO_AGENT_PATCH_RATE=2s",
	}, filepath.Join(argo, "workflow-controller"), "--kubeconfig", a.kubeconfig("controller", apiServer, "argo"),
		"--executor-image=argoexec", "--executor-plugins", "--loglevel=warn")
}

// programsOfArgo returns the folder with the programs and the resource definitions of the version that the lab has.
func programsOfArgo(t testing.TB) string {
	t.Helper()
	version, err := lab.ArgoVersion()
	assert.NilError(t, err)
	return filepath.Dir(built(t, "argo/"+version+"-*/workflow-controller"))
}

// submit submits a workflow of a template, as `argo submit --from` does, and returns its name.
func (a *api) submit(template string, parameters map[string]string) string {
	a.t.Helper()
	spec := wfv1.WorkflowSpec{WorkflowTemplateRef: &wfv1.WorkflowTemplateRef{Name: template}}
	for name, value := range parameters {
		spec.Arguments.Parameters = append(spec.Arguments.Parameters, wfv1.Parameter{
			Name: name, Value: wfv1.AnyStringPtr(value),
		})
	}
	made, err := a.argo.ArgoprojV1alpha1().Workflows(namespace).Create(a.t.Context(), &wfv1.Workflow{
		ObjectMeta: metav1.ObjectMeta{GenerateName: template + "-"}, Spec: spec,
	}, metav1.CreateOptions{})
	assert.NilError(a.t, err)
	return made.Name
}

// workflow returns a workflow with its nodes, and the bytes that it takes as it is stored.
func (a *api) workflow(name string) (*wfv1.Workflow, int, error) {
	raw, err := a.argo.ArgoprojV1alpha1().RESTClient().Get().Namespace(namespace).Resource("workflows").Name(name).
		DoRaw(a.t.Context())
	if err != nil {
		return nil, 0, err
	}
	var found wfv1.Workflow
	if err := json.Unmarshal(raw, &found); err != nil {
		return nil, 0, err
	}
	return &found, len(raw), packer.DecompressWorkflow(&found)
}

// taskSetSize returns the bytes of a workflow's WorkflowTaskSet; 0 where there is none.
func (a *api) taskSetSize(name string) int {
	raw, err := a.argo.ArgoprojV1alpha1().RESTClient().Get().Namespace(namespace).Resource("workflowtasksets").
		Name(name).DoRaw(a.t.Context())
	if err != nil {
		return 0
	}
	return len(raw)
}

// approve lets the step that waits for a person go on, as a person does at a terminal, and returns its ID; empty where
// none waits that is not among those approved before.
func (a *api) approve(t testing.TB, workflow *wfv1.Workflow, before map[string]bool) string {
	t.Helper()
	id := ""
	for _, node := range workflow.Status.Nodes {
		if node.Type == wfv1.NodeTypeSuspend && node.Phase == wfv1.NodeRunning && node.TemplateName == "approve" &&
			!before[node.ID] {
			id = node.ID
		}
	}
	if id == "" {
		return ""
	}
	only := "--node-field-selector=id=" + id
	for _, args := range [][]string{
		{"node", "set", workflow.Name, "--output-parameter=decision=go on", only},
		{"resume", workflow.Name, only},
	} {
		argo := launch(t, a.folder, "argo", []string{"KUBECONFIG=" + a.kubeconfig("argo", apiServer, namespace)},
			filepath.Join(programsOfArgo(t), "argo"), args...)
		<-argo.ended
		assert.Equal(t, argo.command.ProcessState.ExitCode(), 0, argo.tail(5))
	}
	return id
}

// documents applies both documents of a cluster with machines, and the Secrets that they name.
func (a *api) documents(fleet *fleet, repository string) {
	a.t.Helper()
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, `apiVersion: argosy.dev/v1alpha1
kind: Fleet
cluster: {kubeconfigSecret: kubeconfig}
ssh: {secret: login, hostKeys: [%q]}
bundles: {repository: %q, delivery: pull}
limits: {concurrency: 50, retryBudget: 5m}
upgrade:
  canaries: rack=r00
  approval: canaries
  maxUnavailable: 5%%
  waveSize: 20%%
  failureBudget: 10%%
  minReady: 1s
  nodeGrace: 0s
machines:
`, strings.TrimSpace(fleet.server.HostKey()), repository)
	for _, machine := range fleet.machines {
		_, _ = fmt.Fprintf(&text, "- {name: %s, address: %s, labels: {rack: %s}}\n", machine.name, machine.address,
			machine.rack)
	}
	key, err := os.ReadFile(filepath.Join(a.folder, "login.key"))
	assert.NilError(a.t, err)
	vcluster := "privateNodes: {enabled: true}\ncontrolPlane: {distro: {k8s: {image: {tag: " + oldVersion + "}}}}\n"
	var all []string
	for _, object := range []any{
		&corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{Name: "fleet", Namespace: namespace},
			Data:       map[string]string{"vcluster.yaml": vcluster, "argosy.yaml": text.String()},
		},
		secret("login", "ssh-privatekey", key),
		secret("kubeconfig", "kubeconfig", a.kubeconfigText(clusterAddress, namespace)),
		&corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{Name: "kubelet-config", Namespace: metav1.NamespaceSystem},
			Data: map[string]string{"kubelet": "apiVersion: kubelet.config.k8s.io/v1beta1\n" +
				"kind: KubeletConfiguration\ncgroupDriver: systemd\n"},
		},
	} {
		encoded, err := yaml.Marshal(object)
		assert.NilError(a.t, err)
		all = append(all, string(encoded))
	}
	a.apply(strings.Join(all, "---\n"))
}

func secret(name, key string, content []byte) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Data: map[string][]byte{key: content},
	}
}
