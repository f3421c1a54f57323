package controlplane

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// provisioned is a provisioner whose namespace holds what a provisioning leaves, and things of users beside it.
func provisioned(t *testing.T, vcluster string) *Provisioner {
	t.Helper()
	p := provisioner(t, vcluster)
	_, _, err := p.ensureKeys(t.Context())
	assert.NilError(t, err)
	add(t, p,
		&appsv1.StatefulSet{ObjectMeta: p.meta(p.names().controlPlane(), componentControlPlane)},
		&corev1.Pod{ObjectMeta: p.meta(p.names().controlPlane()+"-0", componentControlPlane)},
		&policyv1.PodDisruptionBudget{ObjectMeta: p.meta(p.names().controlPlane(), componentControlPlane)},
		&corev1.Service{ObjectMeta: p.meta(p.names().service(), componentControlPlane),
			Spec:   corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.10"}}}}},
		&corev1.ConfigMap{ObjectMeta: p.meta(p.names().config(), componentControlPlane)},
		&corev1.Secret{ObjectMeta: p.meta(p.names().certs(), componentControlPlane)},
		&corev1.PersistentVolumeClaim{ObjectMeta: p.meta(p.names().data(), componentControlPlane)},
		&corev1.PersistentVolumeClaim{ObjectMeta: p.meta(p.names().backups(), componentBackup)},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "team-a", Namespace: "tenant",
			Labels: map[string]string{ClusterLabel: "team-a"}}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "team-a-ssh", Namespace: "tenant",
			Labels: map[string]string{ClusterLabel: "team-a"}}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "team-b-pki", Namespace: "tenant",
			Labels: names("team-b").labels(componentControlPlane)}},
	)
	return p
}

func (p *Provisioner) meta(name, component string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: p.namespace(), Labels: p.names().labels(component)}
}

func add(t *testing.T, p *Provisioner, objects ...runtime.Object) {
	t.Helper()
	for _, object := range objects {
		assert.NilError(t, p.Host.(*fake.Clientset).Tracker().Add(object))
	}
}

// reachable gives the cluster an API server that lists nodes.
func reachable(t *testing.T, p *Provisioner, nodes ...string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		list := corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}}
		for _, name := range nodes {
			list.Items = append(list.Items, *node(name, "192.0.2.1"))
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
	add(t, p, &corev1.Secret{ObjectMeta: p.meta(p.Cluster.KubeconfigSecret(), componentControlPlane),
		Data: map[string][]byte{kubeconfigDataKey: text}})
}
