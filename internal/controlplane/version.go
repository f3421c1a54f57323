package controlplane

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// compareVersion checks Kubernetes' own rules: an API server may not be older than the one that wrote its store, and
// goes up one minor version at a time. A tag that is no version is not checked.
func (p *Provisioner) compareVersion(ctx context.Context, set *appsv1.StatefulSet, add adder) error {
	wanted, err := version.ParseSemantic(p.KubernetesVersion())
	if err != nil || set == nil {
		return nil
	}
	runs := versionOf(set.Spec.Template.Spec)
	if runs == nil || runs.EqualTo(wanted) {
		return nil
	}
	if runs, err = p.newestRun(ctx, runs); err != nil || runs == nil {
		return err
	}
	reason, instead := forbidden(runs, wanted)
	if reason != "" {
		add(p.versionKey(), instead, "is v%s, and the control plane runs v%s: %s", wanted, runs, reason)
	}
	return nil
}

// versionKey returns the key of the documents that names the version.
func (p *Provisioner) versionKey() string {
	if k8s := p.VCluster.ControlPlane.Distro.K8s; k8s.Version == "" && k8s.Image.Tag != "" {
		return "controlPlane.distro.k8s.image.tag"
	}
	return "controlPlane.distro.k8s.version"
}

// forbidden returns why an API server of the wanted version may not run on the state of another one, and the version to
// write instead; "" where it may.
func forbidden(runs, wanted *version.Version) (reason, instead string) {
	next := fmt.Sprintf("v%d.%d", runs.Major(), runs.Minor()+1)
	switch {
	case wanted.LessThan(runs):
		return "an older API server may not be able to read the state of a newer one",
			fmt.Sprintf("write v%s or a later one, up to %s", runs, next)
	case wanted.Major() != runs.Major() || wanted.Minor() > runs.Minor()+1:
		return "Kubernetes goes up one minor version at a time",
			fmt.Sprintf("provision a version of %s first", next)
	}
	return "", ""
}

// ForArchive returns the provisioner for the state of an archive, which an API server of version kubernetes wrote. Its
// version never goes back, since an upgrade leaves the documents behind. It is a configuration error if theirs is more
// than one minor version ahead.
//
//	documents                      result
//	name no version                the archive's
//	behind the archive             the archive's, as after an upgrade
//	equal, or up to a minor ahead  theirs
//	further ahead                  refused
func (p *Provisioner) ForArchive(archive, kubernetes string) (*Provisioner, error) {
	wrote, err := version.ParseSemantic(kubernetes)
	if err != nil {
		return p, nil // made of an image whose tag is no version, which is not checked either
	}
	if !p.NamesVersion() {
		return p.atVersion(kubernetes)
	}
	wanted, err := version.ParseSemantic(p.KubernetesVersion())
	if err != nil {
		return p, nil
	}
	if wanted.LessThan(wrote) {
		return p.To(kubernetes)
	}
	if reason, instead := forbidden(wrote, wanted); reason != "" {
		return p, errclass.Errorf(errclass.Configuration, "%s is v%s, and archive %q is of a control plane of v%s: "+
			"%s; %s", p.versionKey(), wanted, archive, wrote, reason, instead)
	}
	return p, nil
}

// RunningVersion returns the version of the API server that writes the store, which documents that were changed and not
// provisioned do not have: an archive restored at an earlier one might not be readable. It is the documents' where no
// image's tag is a version.
func (p *Provisioner) RunningVersion(ctx context.Context) (string, error) {
	name := p.Names().ControlPlane()
	set, err := p.Host.AppsV1().StatefulSets(p.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("reading StatefulSet %q: %w", name, apply.Classify(err))
	}
	if err != nil {
		return p.KubernetesVersion(), nil
	}
	asked := versionOf(set.Spec.Template.Spec)
	if asked == nil {
		return p.KubernetesVersion(), nil
	}
	newest, err := p.newestRun(ctx, asked)
	if err != nil {
		return "", err
	}
	if newest == nil { // no pod has come up yet
		newest = asked
	}
	return "v" + newest.String(), nil
}

// newestRun returns the newest version whose API server has come up, as far as its pods still exist; without pods it is
// asked, the version of the StatefulSet. A version that never came up, e.g. since its image can't be pulled, may be
// taken back.
func (p *Provisioner) newestRun(ctx context.Context, asked *version.Version) (*version.Version, error) {
	pods, err := p.Host.CoreV1().Pods(p.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(p.Names().Selector(hosted.ControlPlane)).String()})
	if err != nil {
		return nil, fmt.Errorf("listing the control plane's pods: %w", apply.Classify(err))
	}
	if len(pods.Items) == 0 {
		return asked, nil
	}
	var newest *version.Version
	for _, pod := range pods.Items {
		runs := versionOf(pod.Spec)
		if runs != nil && cameUp(pod.Status) && (newest == nil || newest.LessThan(runs)) {
			newest = runs
		}
	}
	return newest, nil
}

func cameUp(status corev1.PodStatus) bool {
	for _, container := range status.ContainerStatuses {
		if container.Name == hosted.APIServer {
			return container.Ready || container.Started != nil && *container.Started
		}
	}
	return false
}

// versionOf returns the version of a pod's API server, by its image's tag; nil when that is no version.
func versionOf(pod corev1.PodSpec) *version.Version {
	for _, container := range pod.Containers {
		if container.Name != hosted.APIServer {
			continue
		}
		if parsed, err := version.ParseSemantic(config.VersionOfImage(container.Image)); err == nil {
			return parsed
		}
	}
	return nil
}
