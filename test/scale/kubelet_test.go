package scale

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// kubelet runs the agent pods of workflows: their containers are processes without limits. It is simulated.
type kubelet struct {
	t *testing.T
	a *api

	mu sync.Mutex
	// running are the pods by name.
	running map[string]*agentPod
}

// memoryLimit is that which the plugin sets for itself in a container of 256 MiB.
const memoryLimit = "GOMEMLIMIT=205MiB"

// agentPod is a pod with Argo's agent and our plugin.
type agentPod struct{ agent, plugin *process }

// startKubelet runs pods until the test ends.
func (a *api) startKubelet() *kubelet {
	k := &kubelet{t: a.t, a: a, running: map[string]*agentPod{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for a.t.Context().Err() == nil {
			k.follow()
			time.Sleep(100 * time.Millisecond)
		}
	}()
	a.t.Cleanup(func() { <-ended })
	return k
}

// follow starts and ends pods as the API server has them, until the watch ends.
func (k *kubelet) follow() {
	options := metav1.ListOptions{LabelSelector: "workflows.argoproj.io/component=agent"}
	pods := k.a.client.CoreV1().Pods(namespace)
	changes, err := pods.Watch(k.t.Context(), options) // it begins with all that are there
	if err != nil {
		return
	}
	defer changes.Stop()
	for change := range changes.ResultChan() {
		pod, is := change.Object.(*corev1.Pod)
		switch {
		case !is:
			return
		case change.Type == watch.Deleted:
			k.stop(pod.Name, syscall.SIGTERM)
		case pod.Status.Phase != corev1.PodRunning && pod.DeletionTimestamp == nil:
			k.start(pod)
		}
	}
}

// start runs the pod's containers and reports that they run.
func (k *kubelet) start(pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running[pod.Name] != nil {
		return
	}
	assert.Check(k.t, os.RemoveAll("/var/run/argo"))
	assert.Check(k.t, os.MkdirAll("/var/run/argo", 0o755))
	environment := []string{"KUBECONFIG=" + k.a.kubeconfig("agent", apiServer, namespace)}
	for _, variable := range pod.Spec.InitContainers[0].Env {
		environment = append(environment, variable.Name+"="+variable.Value)
	}
	argoexec := filepath.Join(programsOfArgo(k.t), "argoexec")
	first := launch(k.t, k.a.folder, "agent-init", environment, argoexec, "agent", "init")
	<-first.ended
	program, err := filepath.Abs(filepath.Join(root, "bin", "executor-plugin"))
	assert.Check(k.t, err)
	k.running[pod.Name] = &agentPod{
		plugin: launch(k.t, k.a.folder, "plugin", []string{"POD_NAMESPACE=" + namespace, memoryLimit}, program, "serve",
			"--kubeconfig", k.a.kubeconfig("plugin", hostAddress, namespace),
			"--token-file", "/var/run/argo/argosy/token"),
		agent: launch(k.t, k.a.folder, "agent", environment, argoexec, "agent", "main"),
	}
	pod = pod.DeepCopy()
	pod.Status.Phase = corev1.PodRunning
	_, err = k.a.client.CoreV1().Pods(namespace).UpdateStatus(k.t.Context(), pod, metav1.UpdateOptions{})
	if err != nil && k.t.Context().Err() == nil {
		k.t.Logf("reporting that pod %s runs: %v", pod.Name, err)
	}
}

// stop ends the pod's containers by a signal.
func (k *kubelet) stop(name string, signal syscall.Signal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	pod := k.running[name]
	if pod == nil {
		return
	}
	delete(k.running, name)
	pod.agent.end(syscall.SIGKILL) // the agent ignores SIGTERM
	pod.plugin.end(signal)
}

// kill ends the pod that runs as a node does that loses its power, and deletes it. It reports whether one ran.
func (k *kubelet) kill() bool {
	k.mu.Lock()
	var name string
	for running := range k.running {
		name = running
	}
	k.mu.Unlock()
	if name == "" {
		return false
	}
	k.stop(name, syscall.SIGKILL)
	zero := int64(0)
	err := k.a.client.CoreV1().Pods(namespace).Delete(k.t.Context(), name,
		metav1.DeleteOptions{GracePeriodSeconds: &zero})
	assert.Check(k.t, err)
	return true
}

// plugin returns the plugin's process ID; 0 where none runs.
func (k *kubelet) plugin() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, pod := range k.running {
		return pod.plugin.command.Process.Pid
	}
	return 0
}
