// Package controlplanetest holds, for tests, a hosted cluster in a fake host cluster: documents with each kind of
// store, a namespace as a provision leaves it, an API server with nodes, and Jobs that end at once.
package controlplanetest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
)

// Fleet is the least argosy.yaml.
const Fleet = "apiVersion: argosy.dev/v1alpha1\nkind: Fleet\n"

// SQLite is a vcluster.yaml, the example of the specification.
const SQLite = `
privateNodes: {enabled: true}
controlPlane:
  distro: {k8s: {image: {tag: v1.34.4}}}
  service: {spec: {type: LoadBalancer}}
networking: {podCIDR: 10.64.0.0/16, serviceCIDR: 10.128.0.0/16}
`

// Sections that replace "controlPlane:" in SQLite, for the other kinds of stores.
const (
	EtcdSection = "controlPlane:\n  backingStore: {etcd: {deploy: {enabled: true, statefulSet: {highAvailability: " +
		"{replicas: 3}}}}}"
	ExternalSection = "controlPlane:\n  backingStore: {database: {external: {enabled: true, connector: " +
		"team-a-database}}}"
)

// CustomSection replaces "controlPlane:" in SQLite and changes all that can be changed in the pods.
const CustomSection = `controlPlane:
  proxy: {port: 6443}
  advanced:
    defaultImageRegistry: registry.example.com
    serviceAccount: {imagePullSecrets: [{name: registry-login}]}
    konnectivity: {server: {enabled: false}, agent: {enabled: false}}
  statefulSet:
    labels: {tier: gold}
    annotations: {note: mine}
    pods: {labels: {team: a}, annotations: {scrape: "true"}}
    resources: {limits: {memory: 2Gi}, requests: {cpu: "1"}}
    scheduling:
      nodeSelector: {pool: control-planes}
      priorityClassName: high
      tolerations: [{key: dedicated, operator: Exists}]
    security: {podSecurityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000}}
    persistence: {volumeClaim: {enabled: false}}
    env: [{name: GOGC, value: "50"}]
    hostAliases: [{ip: 192.0.2.1, hostnames: [registry.internal]}]
    probes:
      livenessProbe: {enabled: true, periodSeconds: 30}
      startupProbe: {enabled: true, failureThreshold: 600}
      readinessProbe: {enabled: true}
`

// With returns SQLite with a section in place of "controlPlane:".
func With(section string) string { return Replace(SQLite, "controlPlane:", section) }

// Replace replaces the first old in text, which must have one.
func Replace(text, old, new string) string {
	if !strings.Contains(text, old) {
		panic("no " + old)
	}
	return strings.Replace(text, old, new, 1)
}

// Noon is the time of every cluster's clock.
func Noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// Parse returns cluster team-a, in namespace tenant, of two documents.
func Parse(t *testing.T, vcluster, fleet string) *config.Cluster {
	t.Helper()
	cluster, err := config.Parse("team-a", []byte(vcluster), []byte(fleet))
	assert.NilError(t, err)
	cluster.Namespace = "tenant"
	return cluster
}

// New returns cluster team-a in a fake host cluster that holds objects.
func New(t *testing.T, vcluster string, objects ...runtime.Object) hosted.Cluster {
	t.Helper()
	return hosted.Cluster{Cluster: Parse(t, vcluster, Fleet), Host: fake.NewClientset(objects...), Clock: Noon}
}

// Provisioned returns a cluster whose namespace holds the objects of a provision, without a kubeconfig, and objects of
// users and of another cluster beside them.
func Provisioned(t *testing.T, vcluster string) hosted.Cluster {
	t.Helper()
	c := New(t, vcluster)
	n := c.Names()
	AddKeys(t, c)
	Add(t, c,
		&appsv1.StatefulSet{ObjectMeta: Meta(c, n.ControlPlane(), hosted.ControlPlane)},
		&corev1.Pod{ObjectMeta: Meta(c, n.ControlPlane()+"-0", hosted.ControlPlane)},
		&policyv1.PodDisruptionBudget{ObjectMeta: Meta(c, n.ControlPlane(), hosted.ControlPlane)},
		&corev1.Service{
			ObjectMeta: Meta(c, n.Service(), hosted.ControlPlane),
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{
				Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.10"}},
			}},
		},
		&corev1.ConfigMap{ObjectMeta: Meta(c, n.Config(), hosted.ControlPlane)},
		&corev1.Secret{ObjectMeta: Meta(c, n.Certs(), hosted.ControlPlane)},
		&corev1.PersistentVolumeClaim{ObjectMeta: Meta(c, n.Data(), hosted.ControlPlane)},
		&corev1.PersistentVolumeClaim{ObjectMeta: Meta(c, n.Backups(), hosted.Backup)},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: "team-a", Namespace: "tenant",
			Labels: map[string]string{hosted.ClusterLabel: "team-a"},
		}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Name: "team-a-ssh", Namespace: "tenant",
			Labels: map[string]string{hosted.ClusterLabel: "team-a"},
		}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Name: "team-b-pki", Namespace: "tenant",
			Labels: hosted.Names("team-b").Labels(hosted.ControlPlane),
		}},
	)
	return c
}

// Theirs lists the objects of users, and of another cluster, in a provisioned namespace.
var Theirs = []string{"ConfigMap team-a", "Secret team-a-ssh", "Secret team-b-pki"}

// AddKeys makes Secret <cluster>-pki, as a provision does, and returns the keys.
func AddKeys(t *testing.T, c hosted.Cluster) *certificates.Keys {
	t.Helper()
	keys, err := certificates.NewKeys(c.Now())
	assert.NilError(t, err)
	identity, err := json.Marshal(c.Identity())
	assert.NilError(t, err)
	secret := c.Secret(c.Names().PKI(), keys.Data())
	secret.Annotations = map[string]string{hosted.IdentityAnnotation: string(identity)}
	Add(t, c, secret)
	return keys
}

// Meta returns the metadata of an object that Argosy made for a cluster.
func Meta(c hosted.Cluster, name, component string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: c.Namespace, Labels: c.Names().Labels(component)}
}

// Add puts objects into the host cluster.
func Add(t *testing.T, c hosted.Cluster, objects ...runtime.Object) {
	t.Helper()
	for _, object := range objects {
		assert.NilError(t, c.Host.(*fake.Clientset).Tracker().Add(object))
	}
}

// PutSecret creates or replaces a Secret without labels.
func PutSecret(t *testing.T, c hosted.Cluster, name string, data map[string][]byte) {
	t.Helper()
	secrets := c.Host.CoreV1().Secrets(c.Namespace)
	if _, err := secrets.Get(t.Context(), name, metav1.GetOptions{}); err == nil {
		assert.NilError(t, secrets.Delete(t.Context(), name, metav1.DeleteOptions{}))
	}
	_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data},
		metav1.CreateOptions{})
	assert.NilError(t, err)
}

// Node returns a node with an internal address.
func Node(name, address string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: name},
			{Type: corev1.NodeInternalIP, Address: address},
		},
	}}
}

// Serve gives the cluster an API server that lists nodes, and a kubeconfig that leads to it.
func Serve(t *testing.T, c hosted.Cluster, names ...string) {
	t.Helper()
	var nodes []*corev1.Node
	for _, name := range names {
		nodes = append(nodes, Node(name, "192.0.2.1"))
	}
	ServeNodes(t, c, nodes...)
}

// Configz is an annotation with the answer of a node's kubelet to /configz, for ServeNodes.
const Configz = "configz"

// ServeNodes is as Serve, with nodes of the caller's.
func ServeNodes(t *testing.T, c hosted.Cluster, nodes ...*corev1.Node) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, node := range nodes {
			if r.URL.Path == "/api/v1/nodes/"+node.Name+"/proxy/configz" {
				_, _ = w.Write([]byte(node.Annotations[Configz]))
				return
			}
		}
		list := corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}}
		for _, node := range nodes {
			list.Items = append(list.Items, *node)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list)
	}))
	t.Cleanup(server.Close)
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["team-a"] = &clientcmdapi.Cluster{Server: server.URL}
	kubeconfig.Contexts["team-a"] = &clientcmdapi.Context{Cluster: "team-a"}
	kubeconfig.CurrentContext = "team-a"
	text, err := clientcmd.Write(*kubeconfig)
	assert.NilError(t, err)
	Add(t, c, &corev1.Secret{
		ObjectMeta: Meta(c, c.KubeconfigSecret(), hosted.ControlPlane),
		Data:       map[string][]byte{certificates.KubeconfigKey: text},
	})
}

// AllowAll grants every permission that is asked for.
func AllowAll(c hosted.Cluster) {
	client := c.Host.(*fake.Clientset)
	client.PrependReactor("create", "selfsubjectaccessreviews",
		func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, &authorizationv1.SelfSubjectAccessReview{
				Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true},
			}, nil
		})
	client.PrependReactor("create", "selfsubjectrulesreviews",
		func(clienttesting.Action) (bool, runtime.Object, error) {
			all := []authorizationv1.ResourceRule{{
				Verbs: []string{"*"}, APIGroups: []string{"*"},
				Resources: []string{"*"},
			}}
			return true, &authorizationv1.SelfSubjectRulesReview{
				Status: authorizationv1.SubjectRulesReviewStatus{ResourceRules: all},
			}, nil
		})
}

// RunJobs has the host cluster end each Job at once, with the termination message and exit code that end returns. The
// Jobs are collected in the slice.
func RunJobs(t *testing.T, c hosted.Cluster, end func(job *batchv1.Job) (message string, code int32)) *[]*batchv1.Job {
	t.Helper()
	client := c.Host.(*fake.Clientset)
	var created []*batchv1.Job
	client.PrependReactor("create", "jobs", func(action clienttesting.Action) (bool, runtime.Object, error) {
		job := action.(clienttesting.CreateAction).GetObject().(*batchv1.Job).DeepCopy()
		created = append(created, job)
		message, code := end(job)
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: job.Name + "-x", Namespace: job.Namespace,
				Labels: map[string]string{batchv1.JobNameLabel: job.Name},
			},
			Status: corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{
				{Name: job.Spec.Template.Spec.Containers[0].Name, State: corev1.ContainerState{
					Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message},
				}},
			}},
		}
		condition := batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}
		if code != 0 {
			pod.Status.Phase = corev1.PodFailed
			condition.Type, condition.Message = batchv1.JobFailed, "Job has reached the specified backoff limit"
		}
		job.Status.Conditions = []batchv1.JobCondition{condition}
		assert.NilError(t, client.Tracker().Add(pod))
		return true, job, client.Tracker().Add(job)
	})
	return &created
}

// DeletePods has the host cluster delete a StatefulSet's and a Job's pods with it.
func DeletePods(c hosted.Cluster) {
	client := c.Host.(*fake.Clientset)
	client.PrependReactor("delete", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		name := action.(clienttesting.DeleteAction).GetName()
		pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
		switch action.GetResource().Resource {
		case "statefulsets":
			_ = client.Tracker().Delete(pods, action.GetNamespace(), name+"-0")
		case "jobs":
			_ = client.Tracker().Delete(pods, action.GetNamespace(), name+"-x")
		}
		return false, nil, nil
	})
}

// Left returns the objects in the namespace, as "Secret team-a-pki".
func Left(t *testing.T, c hosted.Cluster) []string {
	t.Helper()
	var found []string
	for kind, resource := range map[string]schema.GroupVersionResource{
		"StatefulSet":           appsv1.SchemeGroupVersion.WithResource("statefulsets"),
		"Job":                   batchv1.SchemeGroupVersion.WithResource("jobs"),
		"Pod":                   {Version: "v1", Resource: "pods"},
		"Service":               {Version: "v1", Resource: "services"},
		"ConfigMap":             {Version: "v1", Resource: "configmaps"},
		"Secret":                {Version: "v1", Resource: "secrets"},
		"PersistentVolumeClaim": {Version: "v1", Resource: "persistentvolumeclaims"},
		"PodDisruptionBudget":   {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	} {
		list, err := c.Host.(*fake.Clientset).Tracker().List(resource, resource.GroupVersion().WithKind(kind), "tenant")
		assert.NilError(t, err)
		for _, name := range namesIn(t, list) {
			found = append(found, kind+" "+name)
		}
	}
	slices.Sort(found)
	return found
}

func namesIn(t *testing.T, list runtime.Object) []string {
	t.Helper()
	objects, err := runtime.DefaultUnstructuredConverter.ToUnstructured(list)
	assert.NilError(t, err)
	var names []string
	items, _ := objects["items"].([]any)
	for _, item := range items {
		names = append(names, item.(map[string]any)["metadata"].(map[string]any)["name"].(string))
	}
	return names
}
