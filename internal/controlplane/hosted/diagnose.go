package hosted

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"argosy.dev/argosy/pkg/config"
)

// Containers of the control plane's pod that a diagnosis has to know.
const (
	APIServer = "kube-apiserver"
	Kine      = "kine"
)

// RunsKine reports whether the store is a database, which the API server reaches through kine.
func (c Cluster) RunsKine() bool { return c.Store().Kind != config.StoreEtcd }

// DiagnoseSet returns, for people, the reason why the pods of a StatefulSet are not ready: the pod, its container and
// the cause. It is called while waiting, so an object that can't be read is left out rather than an error.
func (c Cluster) DiagnoseSet(ctx context.Context, set, component string) string {
	pods, err := c.Host.CoreV1().Pods(c.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(c.Names().Selector(component)).String()})
	if err != nil {
		return fmt.Sprintf("StatefulSet %s: its pods can't be read: %v", set, err)
	}
	if len(pods.Items) == 0 {
		if event := c.LastWarning(ctx, "StatefulSet", set); event != "" {
			return fmt.Sprintf("StatefulSet %s: %s", set, event)
		}
		return fmt.Sprintf("StatefulSet %s: no pod yet", set)
	}
	var reasons []string
	for i := range pods.Items {
		if reason := c.DiagnosePod(ctx, &pods.Items[i]); reason != "" {
			reasons = append(reasons, fmt.Sprintf("pod %s: %s", pods.Items[i].Name, reason))
		}
	}
	if event := c.LastWarning(ctx, "StatefulSet", set); event != "" && strings.Contains(event, "exceeded quota") {
		reasons = append(reasons, fmt.Sprintf("StatefulSet %s: %s", set, event))
	}
	return strings.Join(reasons, "; ")
}

// DiagnosePod returns the reason why a pod is not ready; "" when it is.
func (c Cluster) DiagnosePod(ctx context.Context, pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return "is ending"
	}
	for _, condition := range pod.Status.Conditions {
		switch {
		case condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue:
			return ""
		case condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse:
			return c.diagnoseUnscheduled(ctx, pod, condition.Message)
		}
	}
	starting := ""
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		reason, serious := c.DiagnoseContainer(ctx, pod, status)
		if serious {
			return reason + c.diagnoseStore(ctx, pod, status.Name)
		}
		if starting == "" && reason != "" {
			starting = reason + c.diagnoseStore(ctx, pod, status.Name)
		}
	}
	if starting == "" {
		starting = "is starting"
	}
	if event := c.LastWarning(ctx, "Pod", pod.Name); event != "" && !strings.Contains(event, "probe failed") {
		return starting + " (" + event + ")"
	}
	return starting
}

// diagnoseStore returns kine's last error, where the API server ended or does not answer: an API server that waits for
// its store reports no more than that it waits.
func (c Cluster) diagnoseStore(ctx context.Context, pod *corev1.Pod, container string) string {
	if container != APIServer || !c.RunsKine() {
		return ""
	}
	line := c.LastLogLine(ctx, pod.Name, Kine, true)
	if !strings.Contains(line, "level=error") && !strings.Contains(line, "level=fatal") {
		return ""
	}
	return fmt.Sprintf("; container %s: %s", Kine, line)
}

// DiagnoseContainer returns the reason why a container is not ready, and whether it is more than a slow start.
func (c Cluster) DiagnoseContainer(ctx context.Context, pod *corev1.Pod,
	status corev1.ContainerStatus,
) (reason string, serious bool) {
	waiting, ended := status.State.Waiting, status.LastTerminationState.Terminated
	if ended == nil {
		ended = status.State.Terminated
	}
	switch {
	case waiting != nil && strings.Contains(waiting.Reason, "Image"):
		return fmt.Sprintf("container %s: %s: %s", status.Name, waiting.Reason,
			cmp.Or(waiting.Message, status.Image)), true
	case waiting != nil && waiting.Reason == "CreateContainerConfigError":
		return fmt.Sprintf("container %s: %s", status.Name, waiting.Message), true
	case ended != nil && ended.ExitCode != 0 && !status.Ready:
		text := fmt.Sprintf("container %s ended with exit code %d", status.Name, ended.ExitCode)
		if line := c.LastLogLine(ctx, pod.Name, status.Name, status.State.Running == nil); line != "" {
			text += ": " + line
		}
		return text, true
	case waiting != nil && waiting.Reason != "PodInitializing":
		return fmt.Sprintf("container %s: %s", status.Name, cmp.Or(waiting.Message, waiting.Reason)), false
	case status.State.Running != nil && !status.Ready:
		return fmt.Sprintf("container %s is not ready yet", status.Name), false
	}
	return "", false
}

// diagnoseUnscheduled adds the pending volumes, and their reasons, to the scheduler's message.
func (c Cluster) diagnoseUnscheduled(ctx context.Context, pod *corev1.Pod, message string) string {
	text := "can't be scheduled: " + message
	for _, volume := range pod.Spec.Volumes {
		if volume.PersistentVolumeClaim == nil {
			continue
		}
		name := volume.PersistentVolumeClaim.ClaimName
		claim, err := c.Host.CoreV1().PersistentVolumeClaims(c.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil || claim.Status.Phase == corev1.ClaimBound {
			continue
		}
		class := "no StorageClass, and the host cluster has no default one"
		if claim.Spec.StorageClassName != nil && *claim.Spec.StorageClassName != "" {
			class = "StorageClass " + *claim.Spec.StorageClassName
		}
		text += fmt.Sprintf("; PersistentVolumeClaim %s is %s (%s)", name, strings.ToLower(string(claim.Status.Phase)),
			class)
		if event := c.LastWarning(ctx, "PersistentVolumeClaim", name); event != "" {
			text += ": " + event
		}
	}
	return text
}

// LastWarning returns the newest warning event about an object; "" when there is none or events can't be read.
func (c Cluster) LastWarning(ctx context.Context, kind, name string) string {
	events, err := c.Host.CoreV1().Events(c.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fmt.Sprintf("involvedObject.kind=%s,involvedObject.name=%s,type=Warning", kind, name),
	})
	if err != nil || len(events.Items) == 0 {
		return ""
	}
	newest := events.Items[0]
	for _, event := range events.Items {
		if event.LastTimestamp.After(newest.LastTimestamp.Time) {
			newest = event
		}
	}
	return newest.Message
}

// maxLine bounds a log line in a message, in bytes.
const maxLine = 300

// LastLogLine returns a container's last log line that is not blank, of its current run or of the one before.
func (c Cluster) LastLogLine(ctx context.Context, pod, container string, current bool) string {
	lines := int64(20)
	stream, err := c.Host.CoreV1().Pods(c.Namespace).GetLogs(pod,
		&corev1.PodLogOptions{Container: container, TailLines: &lines, Previous: !current}).Stream(ctx)
	if err != nil {
		return ""
	}
	defer stream.Close()
	last := ""
	scanner := bufio.NewScanner(stream)
	for scanner.Scan() {
		if text := strings.TrimSpace(scanner.Text()); text != "" {
			last = text
		}
	}
	if len(last) > maxLine {
		last = last[:maxLine] + "…"
	}
	return last
}
