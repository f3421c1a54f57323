package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/errclass"
)

// runTask has a task's Job run and waits for its end. It returns the pod that succeeded; what the program said at its
// end is decoded into result. When ctx ends, the Job goes on and ends by itself.
func (p *Provisioner) runTask(ctx context.Context, t task, result any, report func(string)) (*corev1.Pod, error) {
	job, err := p.startTask(ctx, t)
	if err != nil {
		return nil, err
	}
	pod, err := p.waitTask(ctx, job, report)
	if err != nil {
		return nil, fmt.Errorf("running Job %q: %w", job.Name, err)
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == taskContainer && status.State.Terminated != nil {
			if err := json.Unmarshal([]byte(status.State.Terminated.Message), result); err != nil {
				return nil, errclass.Errorf(errclass.Permanent, "reading what Job %q said at its end: %w", job.Name,
					err)
			}
			return pod, nil
		}
	}
	return nil, errclass.Errorf(errclass.Permanent, "reading what Job %q said at its end: its pod %q says nothing",
		job.Name, pod.Name)
}

// startTask creates the Job, or finds the unfinished one of the same task.
func (p *Provisioner) startTask(ctx context.Context, t task) (*batchv1.Job, error) {
	held, err := p.tasks(ctx, t.component)
	if err != nil {
		return nil, err
	}
	for i := range held {
		done, _ := ended(&held[i])
		if !done && t.key != "" && held[i].Annotations[taskAnnotation] == t.key {
			return &held[i], nil
		}
		if !done {
			if err := p.removeTask(ctx, held[i].Name); err != nil {
				return nil, err
			}
		}
	}
	wanted, err := p.job(t, p.now())
	if err != nil {
		return nil, err
	}
	if err := p.besideControlPlane(ctx, wanted); err != nil {
		return nil, err
	}
	job, err := p.Host.BatchV1().Jobs(p.namespace()).Create(ctx, wanted,
		metav1.CreateOptions{FieldManager: apply.Manager})
	if err != nil {
		return nil, fmt.Errorf("creating Job %q: %w", wanted.Name, apply.Classify(err))
	}
	return job, nil
}

// tasks are the Jobs of a component that are not on their way out.
func (p *Provisioner) tasks(ctx context.Context, component string) ([]batchv1.Job, error) {
	held, err := p.Host.BatchV1().Jobs(p.namespace()).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(p.names().selector(component)).String()})
	if err != nil {
		return nil, fmt.Errorf("listing Jobs: %w", apply.Classify(err))
	}
	return slices.DeleteFunc(held.Items, func(job batchv1.Job) bool { return job.DeletionTimestamp != nil }), nil
}

func (p *Provisioner) removeTask(ctx context.Context, name string) error {
	background := metav1.DeletePropagationBackground // also its pods, which a Job otherwise leaves
	err := p.Host.BatchV1().Jobs(p.namespace()).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing Job %q: %w", name, apply.Classify(err))
	}
	return nil
}

// removeTasks removes the Jobs of a component with their pods.
func (p *Provisioner) removeTasks(ctx context.Context, component string) error {
	held, err := p.tasks(ctx, component)
	if err != nil {
		return err
	}
	for _, job := range held {
		if err := p.removeTask(ctx, job.Name); err != nil {
			return err
		}
	}
	return nil
}

// ended says whether a Job is done, and why it failed; "" when it did not.
func ended(job *batchv1.Job) (done bool, failed string) {
	for _, condition := range job.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch condition.Type {
		case batchv1.JobComplete:
			return true, ""
		case batchv1.JobFailed:
			return true, firstOf(condition.Message, condition.Reason, "it failed")
		}
	}
	return false, ""
}

// taskLooks is how often a Job is looked at.
const taskLooks = 500 * time.Millisecond

// waitTask looks until the Job ends; its own deadline bounds that.
func (p *Provisioner) waitTask(ctx context.Context, job *batchv1.Job, report func(string)) (*corev1.Pod, error) {
	ticker := time.NewTicker(taskLooks)
	defer ticker.Stop()
	said := ""
	for {
		pod, why, err := p.lookAtTask(ctx, job.Name)
		switch {
		case err != nil && ctx.Err() == nil && !transient(err):
			return nil, err
		case err == nil && pod != nil:
			return pod, nil
		case err != nil:
			why = err.Error()
		}
		if why != said && ctx.Err() == nil {
			said = why
			report(why)
		}
		select {
		case <-ctx.Done():
			return nil, errclass.With(errclass.Cancelled, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// lookAtTask returns the pod that did the work, or what it waits for or does just now. The error is the Job's failure.
func (p *Provisioner) lookAtTask(ctx context.Context, name string) (*corev1.Pod, string, error) {
	job, err := p.Host.BatchV1().Jobs(p.namespace()).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("reading Job %q: %w", name, apply.Classify(err))
	}
	pods, err := p.Host.CoreV1().Pods(p.namespace()).List(ctx,
		metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + name})
	if err != nil {
		return nil, "", fmt.Errorf("listing the pods of Job %q: %w", name, apply.Classify(err))
	}
	done, failed := ended(job)
	if done && failed == "" {
		for i := range pods.Items {
			if pods.Items[i].Status.Phase == corev1.PodSucceeded {
				return &pods.Items[i], "", nil
			}
		}
		return nil, "", errclass.Errorf(errclass.Permanent, "it succeeded, and its pod is gone; run it again")
	}
	if done {
		return nil, "", p.taskFailure(ctx, pods.Items, failed)
	}
	return nil, p.whyTask(ctx, job, pods.Items), nil
}

// exitConfiguration is how Argosy's program ends when what it was given is wrong.
const exitConfiguration = 2

// taskFailure is what the pods of a Job said last.
func (p *Provisioner) taskFailure(ctx context.Context, pods []corev1.Pod, failed string) error {
	class, texts := errclass.Permanent, []string{failed}
	for i := range pods {
		for _, status := range pods[i].Status.ContainerStatuses {
			ended := status.State.Terminated
			if status.Name != taskContainer || ended == nil || ended.ExitCode == 0 {
				continue
			}
			if ended.ExitCode == exitConfiguration {
				class = errclass.Configuration
			}
			line := strings.TrimPrefix(p.lastLine(ctx, pods[i].Name, status.Name, true), "executor-plugin: ")
			texts = []string{firstOf(line, fmt.Sprintf("%s: pod %s ended with exit code %d", failed, pods[i].Name,
				ended.ExitCode))}
		}
		if reason := p.whyPod(ctx, &pods[i]); len(texts) == 1 && texts[0] == failed && reason != "" {
			texts = append(texts, fmt.Sprintf("pod %s: %s", pods[i].Name, reason))
		}
	}
	return errclass.Errorf(class, "%s", strings.Join(texts, "; "))
}

// whyTask says what a Job that is not done waits for, or what its program says just now.
func (p *Provisioner) whyTask(ctx context.Context, job *batchv1.Job, pods []corev1.Pod) string {
	if len(pods) == 0 {
		return fmt.Sprintf("Job %s: %s", job.Name, firstOf(p.lastWarning(ctx, "Job", job.Name), "no pod yet"))
	}
	newest := &pods[0]
	for i := range pods {
		if pods[i].CreationTimestamp.After(newest.CreationTimestamp.Time) {
			newest = &pods[i]
		}
	}
	for _, status := range newest.Status.ContainerStatuses {
		if ended := status.State.Terminated; status.Name == taskContainer && ended != nil && ended.ExitCode == 0 {
			return fmt.Sprintf("pod %s is done", newest.Name)
		}
	}
	if reason := p.whyPod(ctx, newest); reason != "" {
		return fmt.Sprintf("pod %s: %s", newest.Name, reason)
	}
	if line := p.lastLine(ctx, newest.Name, taskContainer, true); line != "" && !strings.HasPrefix(line, SealedPrefix) {
		return line
	}
	return fmt.Sprintf("pod %s runs", newest.Name)
}
