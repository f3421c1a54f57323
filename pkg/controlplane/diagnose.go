package controlplane

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// why says, for people, what keeps the pods of a StatefulSet from being ready: the pod, its container and the reason.
// It is asked for while waiting, so what can't be read is left out rather than an error.
func (p *Provisioner) why(ctx context.Context, set, component string) string {
	pods, err := p.Host.CoreV1().Pods(p.namespace()).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(p.names().selector(component)).String()})
	if err != nil {
		return fmt.Sprintf("StatefulSet %s: its pods can't be read: %v", set, err)
	}
	if len(pods.Items) == 0 {
		if event := p.lastWarning(ctx, "StatefulSet", set); event != "" {
			return fmt.Sprintf("StatefulSet %s: %s", set, event)
		}
		return fmt.Sprintf("StatefulSet %s: no pod yet", set)
	}
	var reasons []string
	for i := range pods.Items {
		if reason := p.whyPod(ctx, &pods.Items[i]); reason != "" {
			reasons = append(reasons, fmt.Sprintf("pod %s: %s", pods.Items[i].Name, reason))
		}
	}
	if event := p.lastWarning(ctx, "StatefulSet", set); event != "" && strings.Contains(event, "exceeded quota") {
		reasons = append(reasons, fmt.Sprintf("StatefulSet %s: %s", set, event))
	}
	return strings.Join(reasons, "; ")
}

// whyPod says what one pod waits for; "" when it is ready.
func (p *Provisioner) whyPod(ctx context.Context, pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return "is ending"
	}
	for _, condition := range pod.Status.Conditions {
		switch {
		case condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue:
			return ""
		case condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse:
			return p.whyUnscheduled(ctx, pod, condition.Message)
		}
	}
	starting := ""
	for _, status := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...),
		pod.Status.ContainerStatuses...) {
		reason, serious := p.whyContainer(ctx, pod, status)
		if serious {
			return reason + p.whyStore(ctx, pod, status.Name)
		}
		if starting == "" && reason != "" {
			starting = reason + p.whyStore(ctx, pod, status.Name)
		}
	}
	if starting == "" {
		starting = "is starting"
	}
	if event := p.lastWarning(ctx, "Pod", pod.Name); event != "" && !strings.Contains(event, "probe failed") {
		return starting + " (" + event + ")"
	}
	return starting
}

// whyStore is what keeps kine from its database, where the API server ended or does not answer: that only says that it
// waits for its store.
func (p *Provisioner) whyStore(ctx context.Context, pod *corev1.Pod, waits string) string {
	if waits != apiServerName || !p.runsKine() {
		return ""
	}
	line := p.lastLine(ctx, pod.Name, kineName, true)
	if !strings.Contains(line, "level=error") && !strings.Contains(line, "level=fatal") {
		return ""
	}
	return fmt.Sprintf("; container %s says: %s", kineName, line)
}

// whyContainer says what a container waits for, and whether that is more than taking its time.
func (p *Provisioner) whyContainer(ctx context.Context, pod *corev1.Pod, status corev1.ContainerStatus) (string, bool) {
	waiting, ended := status.State.Waiting, status.LastTerminationState.Terminated
	if ended == nil {
		ended = status.State.Terminated
	}
	switch {
	case waiting != nil && strings.Contains(waiting.Reason, "Image"):
		return fmt.Sprintf("container %s: %s: %s", status.Name, waiting.Reason, firstOf(waiting.Message, status.Image)),
			true
	case waiting != nil && waiting.Reason == "CreateContainerConfigError":
		return fmt.Sprintf("container %s: %s", status.Name, waiting.Message), true
	case ended != nil && ended.ExitCode != 0 && !status.Ready:
		text := fmt.Sprintf("container %s ended with exit code %d", status.Name, ended.ExitCode)
		if line := p.lastLine(ctx, pod.Name, status.Name, status.State.Running == nil); line != "" {
			text += ": " + line
		}
		return text, true
	case waiting != nil && waiting.Reason != "PodInitializing":
		return fmt.Sprintf("container %s: %s", status.Name, firstOf(waiting.Message, waiting.Reason)), false
	case status.State.Running != nil && !status.Ready:
		return fmt.Sprintf("container %s is not ready yet", status.Name), false
	}
	return "", false
}

// whyUnscheduled adds what keeps a volume pending to what the scheduler says.
func (p *Provisioner) whyUnscheduled(ctx context.Context, pod *corev1.Pod, message string) string {
	text := "can't be scheduled: " + message
	for _, volume := range pod.Spec.Volumes {
		if volume.PersistentVolumeClaim == nil {
			continue
		}
		name := volume.PersistentVolumeClaim.ClaimName
		claim, err := p.Host.CoreV1().PersistentVolumeClaims(p.namespace()).Get(ctx, name, metav1.GetOptions{})
		if err != nil || claim.Status.Phase == corev1.ClaimBound {
			continue
		}
		class := "no StorageClass, and the host cluster has no default one"
		if claim.Spec.StorageClassName != nil && *claim.Spec.StorageClassName != "" {
			class = "StorageClass " + *claim.Spec.StorageClassName
		}
		text += fmt.Sprintf("; PersistentVolumeClaim %s is %s (%s)", name, strings.ToLower(string(claim.Status.Phase)),
			class)
		if event := p.lastWarning(ctx, "PersistentVolumeClaim", name); event != "" {
			text += ": " + event
		}
	}
	return text
}

// lastWarning is the newest warning about an object, "" when there is none or events can't be read.
func (p *Provisioner) lastWarning(ctx context.Context, kind, name string) string {
	events, err := p.Host.CoreV1().Events(p.namespace()).List(ctx, metav1.ListOptions{
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

// lastLine is the last thing that a container said, of its run before when it does not run now.
func (p *Provisioner) lastLine(ctx context.Context, pod, container string, current bool) string {
	lines := int64(20)
	stream, err := p.Host.CoreV1().Pods(p.namespace()).GetLogs(pod,
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
	const most = 300
	if len(last) > most {
		last = last[:most] + "…"
	}
	return last
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
