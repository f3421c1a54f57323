package controlplane

import (
	"context"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// CheckPods refuses documents whose pods of the control plane go beyond the namespace's PodSecurity level. Every part
// of a provision checks it, since a workflow can call one without the others.
func (p *Provisioner) CheckPods(ctx context.Context) error {
	set, err := p.controlPlane("")
	if err != nil {
		return err
	}
	if err := p.checkPod(ctx, "controlPlane.statefulSet", &set.Spec.Template); err != nil {
		return err
	}
	if p.Store().Kind != config.StoreEtcd {
		return nil
	}
	if set, err = p.etcd("", keptOfEtcd{}); err != nil {
		return err
	}
	return p.checkPod(ctx, "controlPlane.backingStore.etcd.deploy.statefulSet", &set.Spec.Template)
}

// CheckJob refuses a Job whose pod goes beyond the namespace's PodSecurity level: it has the security context of the
// documents' controlPlane.statefulSet.
func (p *Provisioner) CheckJob(ctx context.Context, job *batchv1.Job) error {
	return p.checkPod(ctx, "controlPlane.statefulSet.security", &job.Spec.Template)
}

// checkPod refuses a pod that the section key of vcluster.yaml takes beyond the namespace's level. The authors of the
// documents can't write the Namespace, so that the level is a decision of the host cluster's operator:
//
//	label pod-security.kubernetes.io/enforce    pods may be
//	privileged                                  anything
//	baseline                                    baseline
//	none, or the Namespace can't be read        baseline
//	restricted                                  restricted
func (p *Provisioner) checkPod(ctx context.Context, key string, pod *corev1.PodTemplateSpec) error {
	strictest := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	beyond, err := beyondLevel(strictest, pod)
	if err != nil || beyond == "" {
		return err
	}
	level, err := p.podSecurityLevel(ctx)
	if err != nil {
		return err
	}
	if beyond, err = beyondLevel(level, pod); err != nil || beyond == "" {
		return err
	}
	return errclass.Errorf(errclass.Configuration, "%s: the pods would go beyond PodSecurity level %q, the limit of "+
		"namespace %q: %s; remove these settings, or have the operator of the host cluster allow them: kubectl label "+
		"namespace %s %s=privileged", key, level.Level, p.Namespace, beyond, p.Namespace, api.EnforceLevelLabel)
}

// podSecurityLevel returns the level that the namespace's labels ask for; baseline where they ask for none.
func (p *Provisioner) podSecurityLevel(ctx context.Context) (api.LevelVersion, error) {
	otherwise := api.LevelVersion{Level: api.LevelBaseline, Version: api.LatestVersion()}
	held, err := p.Host.CoreV1().Namespaces().Get(ctx, p.Namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return otherwise, nil
	}
	if err != nil {
		return otherwise, fmt.Errorf("reading Namespace %q: %w", p.Namespace, apply.Classify(err))
	}
	// A label that can't be read counts as restricted, as at the API server.
	labelled, _ := api.PolicyToEvaluate(held.Labels, api.Policy{Enforce: otherwise, Audit: otherwise, Warn: otherwise})
	return labelled.Enforce, nil
}

// beyondLevel returns the settings of a pod that a level forbids, "" for none.
func beyondLevel(level api.LevelVersion, pod *corev1.PodTemplateSpec) (string, error) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		return "", errclass.Errorf(errclass.Permanent, "preparing the PodSecurity checks: %w", err)
	}
	var found []string
	for _, result := range evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec) {
		if !result.Allowed {
			found = append(found, fmt.Sprintf("%s (%s)", result.ForbiddenReason, result.ForbiddenDetail))
		}
	}
	return strings.Join(found, ", "), nil
}
