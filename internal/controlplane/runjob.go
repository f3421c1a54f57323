package controlplane

import (
	"cmp"
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

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/errclass"
)

// RunJob runs a Job and waits for its end. It returns the pod that succeeded; the program's termination message is
// decoded into result. When ctx ends, the Job goes on and ends by itself.
func (p *Provisioner) RunJob(ctx context.Context, j Job, result any,
	report func(string),
) (*corev1.Pod, error) {
	job, err := p.startJob(ctx, j)
	if err != nil {
		return nil, err
	}
	pod, err := waitJob(ctx, p.Cluster, job, report)
	if err != nil {
		return nil, fmt.Errorf("running Job %q: %w", job.Name, err)
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == JobContainer && status.State.Terminated != nil {
			if err := json.Unmarshal([]byte(status.State.Terminated.Message), result); err != nil {
				return nil, errclass.Errorf(errclass.Permanent, "reading the termination message of Job %q: %w",
					job.Name, err)
			}
			return pod, nil
		}
	}
	return nil, errclass.Errorf(errclass.Permanent, "reading the termination message of Job %q: its pod %q has none",
		job.Name, pod.Name)
}

// startJob creates the Job, or finds the unfinished one with the same key. Other unfinished Jobs of the component are
// removed.
func (p *Provisioner) startJob(ctx context.Context, j Job) (*batchv1.Job, error) {
	held, err := jobs(ctx, p.Cluster, j.Component)
	if err != nil {
		return nil, err
	}
	for i := range held {
		done, _ := ended(&held[i])
		if !done && j.Key != "" && held[i].Annotations[JobAnnotation] == j.Key {
			return &held[i], nil
		}
		if !done {
			if err := removeJob(ctx, p.Cluster, held[i].Name); err != nil {
				return nil, err
			}
		}
	}
	wanted, err := p.RenderJob(j)
	if err != nil {
		return nil, err
	}
	if err := p.CheckJob(ctx, wanted); err != nil {
		return nil, err
	}
	if err := p.PlaceJob(ctx, wanted); err != nil {
		return nil, err
	}
	job, err := p.Host.BatchV1().Jobs(p.Namespace).Create(ctx, wanted,
		metav1.CreateOptions{FieldManager: apply.Manager})
	if err != nil {
		return nil, fmt.Errorf("creating Job %q: %w", wanted.Name, apply.Classify(err))
	}
	return job, nil
}

// jobs returns the Jobs of a component that are not being deleted.
func jobs(ctx context.Context, cluster hosted.Cluster, component string) ([]batchv1.Job, error) {
	held, err := cluster.Host.BatchV1().Jobs(cluster.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(cluster.Names().Selector(component)).String()})
	if err != nil {
		return nil, fmt.Errorf("listing Jobs: %w", apply.Classify(err))
	}
	return slices.DeleteFunc(held.Items, func(job batchv1.Job) bool { return job.DeletionTimestamp != nil }), nil
}

func removeJob(ctx context.Context, cluster hosted.Cluster, name string) error {
	background := metav1.DeletePropagationBackground // with its pods, which the default of Jobs would leave
	err := cluster.Host.BatchV1().Jobs(cluster.Namespace).Delete(ctx, name,
		metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing Job %q: %w", name, apply.Classify(err))
	}
	return nil
}

// RemoveJobs removes the Jobs of a component with their pods.
func (p *Provisioner) RemoveJobs(ctx context.Context, component string) error {
	held, err := jobs(ctx, p.Cluster, component)
	if err != nil {
		return err
	}
	for _, job := range held {
		if err := removeJob(ctx, p.Cluster, job.Name); err != nil {
			return err
		}
	}
	return nil
}

// ended reports whether a Job is done, and its failure; "" when it succeeded.
func ended(job *batchv1.Job) (done bool, failure string) {
	for _, condition := range job.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch condition.Type {
		case batchv1.JobComplete:
			return true, ""
		case batchv1.JobFailed:
			return true, cmp.Or(condition.Message, condition.Reason, "it failed")
		}
	}
	return false, ""
}

// jobInterval is the time between two looks at a Job.
const jobInterval = 500 * time.Millisecond

// waitJob waits until the Job ends; the Job's own deadline bounds that.
func waitJob(ctx context.Context, cluster hosted.Cluster, job *batchv1.Job, report func(string)) (*corev1.Pod, error) {
	ticker := time.NewTicker(jobInterval)
	defer ticker.Stop()
	last := ""
	for {
		pod, progress, err := inspectJob(ctx, cluster, job.Name)
		switch {
		case err != nil && ctx.Err() == nil && !errclass.IsTransient(err):
			return nil, err
		case err == nil && pod != nil:
			return pod, nil
		case err != nil:
			progress = err.Error()
		}
		if progress != last && ctx.Err() == nil {
			last = progress
			report(progress)
		}
		select {
		case <-ctx.Done():
			return nil, errclass.With(errclass.Cancelled, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// inspectJob returns the pod that succeeded, or the Job's progress. The error is the Job's failure.
func inspectJob(ctx context.Context, cluster hosted.Cluster, name string) (*corev1.Pod, string, error) {
	job, err := cluster.Host.BatchV1().Jobs(cluster.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("reading Job %q: %w", name, apply.Classify(err))
	}
	pods, err := cluster.Host.CoreV1().Pods(cluster.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + name})
	if err != nil {
		return nil, "", fmt.Errorf("listing the pods of Job %q: %w", name, apply.Classify(err))
	}
	done, failure := ended(job)
	if done && failure == "" {
		for i := range pods.Items {
			if pods.Items[i].Status.Phase == corev1.PodSucceeded {
				return &pods.Items[i], "", nil
			}
		}
		return nil, "", errclass.Errorf(errclass.Permanent, "reading its result: it succeeded and its pod is gone; "+
			"submit again")
	}
	if done {
		return nil, "", jobFailure(ctx, cluster, pods.Items, failure)
	}
	return nil, jobProgress(ctx, cluster, job, pods.Items), nil
}

// exitConfiguration is the exit code of Argosy's program for wrong input.
const exitConfiguration = 2

// jobFailure returns the last log line of the pods of a failed Job as an error.
func jobFailure(ctx context.Context, cluster hosted.Cluster, pods []corev1.Pod, failure string) error {
	class, texts := errclass.Permanent, []string{failure}
	for i := range pods {
		for _, status := range pods[i].Status.ContainerStatuses {
			ended := status.State.Terminated
			if status.Name != JobContainer || ended == nil || ended.ExitCode == 0 {
				continue
			}
			if ended.ExitCode == exitConfiguration {
				class = errclass.Configuration
			}
			line := cluster.LastLogLine(ctx, pods[i].Name, status.Name, true)
			texts = []string{cmp.Or(strings.TrimPrefix(line, "executor-plugin: "),
				fmt.Sprintf("%s: pod %s ended with exit code %d", failure, pods[i].Name, ended.ExitCode))}
		}
		if reason := cluster.DiagnosePod(ctx, &pods[i]); len(texts) == 1 && texts[0] == failure && reason != "" {
			texts = append(texts, fmt.Sprintf("pod %s: %s", pods[i].Name, reason))
		}
	}
	return errclass.Errorf(class, "%s", strings.Join(texts, "; "))
}

// jobProgress returns the reason why a Job that is not done waits, or its program's last line.
func jobProgress(ctx context.Context, cluster hosted.Cluster, job *batchv1.Job, pods []corev1.Pod) string {
	if len(pods) == 0 {
		return fmt.Sprintf("Job %s: %s", job.Name, cmp.Or(cluster.LastWarning(ctx, "Job", job.Name), "no pod yet"))
	}
	newest := &pods[0]
	for i := range pods {
		if pods[i].CreationTimestamp.After(newest.CreationTimestamp.Time) {
			newest = &pods[i]
		}
	}
	for _, status := range newest.Status.ContainerStatuses {
		ended := status.State.Terminated
		if status.Name == JobContainer && ended != nil && ended.ExitCode == 0 {
			return fmt.Sprintf("pod %s is done", newest.Name)
		}
	}
	if reason := cluster.DiagnosePod(ctx, newest); reason != "" {
		return fmt.Sprintf("pod %s: %s", newest.Name, reason)
	}
	line := cluster.LastLogLine(ctx, newest.Name, JobContainer, true)
	if line != "" && !strings.HasPrefix(line, store.SealedPrefix) {
		return line
	}
	return fmt.Sprintf("pod %s runs", newest.Name)
}
