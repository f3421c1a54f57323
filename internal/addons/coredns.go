package addons

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

const coreDNSKey = "controlPlane.coredns"

func coreDNS(s *site) (Addon, error) {
	settings := s.cluster.VCluster.ControlPlane.CoreDNS
	if !settings.Enabled {
		return Addon{}, nil
	}
	if settings.OverwriteManifests != "" {
		return usersCoreDNS(settings.OverwriteManifests)
	}
	d := read(s, "coredns")
	d.pull("coredns", map[string]string{"coredns": settings.Deployment.Image}, "")
	edit(d, "coredns", func(c *corev1.ConfigMap) error {
		if settings.OverwriteConfig != "" {
			c.Data["Corefile"] = settings.OverwriteConfig
			return nil
		}
		domain := s.cluster.VCluster.Networking.Advanced.ClusterDomain
		c.Data["Corefile"] = strings.Replace(c.Data["Corefile"], "kubernetes cluster.local ", "kubernetes "+domain+" ",
			1)
		return nil
	})
	edit(d, "kube-dns", func(service *corev1.Service) error { return coreDNSService(s.cluster, service) })
	edit(d, "coredns", func(deployment *appsv1.Deployment) error { return coreDNSDeployment(settings, deployment) })
	return d.addon() // CoreDNS reads a changed Corefile by itself
}

// usersCoreDNS returns the user's manifest for CoreDNS, which replaces Argosy's.
func usersCoreDNS(manifests string) (Addon, error) {
	const key = coreDNSKey + ".overwriteManifests"
	if strings.Contains(manifests, "{{") {
		return Addon{}, errclass.Errorf(errclass.Configuration,
			"reading %s: variables like {{.IMAGE}} are not replaced; write their values", key)
	}
	objects, err := apply.Decode([]byte(manifests))
	if err != nil {
		return Addon{}, fmt.Errorf("reading %s: %w", key, err)
	}
	addon := Addon{Enabled: true, Objects: objects}
	for _, object := range objects {
		addon.Images = append(addon.Images, imagesIn(object)...)
	}
	return addon, nil
}

// imagesIn returns the images of the pods that an object makes.
func imagesIn(object *unstructured.Unstructured) []string {
	var images []string
	for _, field := range []string{"initContainers", "containers"} {
		containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", field)
		for _, each := range containers {
			container, _ := each.(map[string]any)
			if image, _ := container["image"].(string); image != "" && !slices.Contains(images, image) {
				images = append(images, image)
			}
		}
	}
	return images
}

// coreDNSService lays the documents over the Service. Its address is no one's choice: kubelets give it to every pod.
func coreDNSService(cluster *config.Cluster, service *corev1.Service) error {
	wanted := cluster.VCluster.ControlPlane.CoreDNS.Service
	service.Labels = added(service.Labels, wanted.Labels)
	service.Annotations = added(service.Annotations, wanted.Annotations)
	if err := merge(coreDNSKey+".service.spec", &service.Spec, wanted.Spec); err != nil {
		return err
	}
	service.Spec.ClusterIP = cluster.ClusterDNS().String()
	return nil
}

func coreDNSDeployment(settings config.CoreDNS, deployment *appsv1.Deployment) error {
	const key = coreDNSKey + ".deployment"
	wanted := settings.Deployment
	replicas := int32(wanted.Replicas)
	deployment.Spec.Replicas = &replicas
	deployment.Labels = added(deployment.Labels, wanted.Labels)
	deployment.Annotations = added(deployment.Annotations, wanted.Annotations)
	pods := &deployment.Spec.Template
	pods.Labels, pods.Annotations = added(wanted.Pods.Labels, pods.Labels),
		added(pods.Annotations, wanted.Pods.Annotations)
	if err := coreDNSScheduling(settings, &pods.Spec); err != nil {
		return err
	}
	container := &pods.Spec.Containers[0]
	if err := errors.Join(
		merge(key+".resources.limits", &container.Resources.Limits, wanted.Resources.Limits),
		merge(key+".resources.requests", &container.Resources.Requests, wanted.Resources.Requests),
	); err != nil {
		return err
	}
	const security = coreDNSKey + ".security"
	if err := merge(security+".podSecurityContext", pods.Spec.SecurityContext,
		settings.Security.PodSecurityContext); err != nil {
		return err
	}
	return merge(security+".containerSecurityContext", container.SecurityContext,
		settings.Security.ContainerSecurityContext)
}

func coreDNSScheduling(settings config.CoreDNS, pod *corev1.PodSpec) error {
	const key = coreDNSKey + ".deployment"
	wanted := settings.Deployment
	if err := (scheduling{
		key, wanted.NodeSelector, wanted.Tolerations,
		settings.PriorityClassName,
	}).apply(pod); err != nil {
		return err
	}
	if len(wanted.Affinity) > 0 {
		if err := decode(key+".affinity", wanted.Affinity, &pod.Affinity); err != nil {
			return err
		}
	}
	if len(wanted.TopologySpreadConstraints) > 0 {
		pod.TopologySpreadConstraints = nil
		return decode(key+".topologySpreadConstraints", wanted.TopologySpreadConstraints,
			&pod.TopologySpreadConstraints)
	}
	return nil
}

// added returns base with over on top.
func added(base, over map[string]string) map[string]string {
	if len(over) == 0 {
		return base
	}
	all := maps.Clone(base)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, over)
	return all
}
