package controlplane

import (
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// podSettings are the documents' settings for the pods of a StatefulSet, from any of their sections.
type podSettings struct {
	key                        string // of the section, for errors
	labels, annotations        map[string]string
	pods                       config.Metadata
	resources                  config.Resources
	scheduling                 config.Scheduling
	security                   config.Security
	env                        []config.Unstructured
	volumes, mounts            []config.Unstructured
	workingDir, dnsPolicy      string
	dnsConfig                  config.Unstructured
	hostAliases                []config.Unstructured
	runtimeClass               string
	serviceLinks               bool
	main                       string // the container that the rest applies to
	policy                     string // of pulling images
	probes                     *config.Probes
	initContainers, containers []config.Unstructured
}

// customize applies controlPlane.statefulSet to the control plane's StatefulSet. Settings of the main container apply
// to the API server's.
func (p *Provisioner) customize(set *appsv1.StatefulSet) error {
	s := p.VCluster.ControlPlane.StatefulSet
	return customize(set, podSettings{
		key: "controlPlane.statefulSet", main: hosted.APIServer, labels: s.Labels, annotations: s.Annotations,
		pods: s.Pods, resources: s.Resources,
		scheduling: s.Scheduling, security: s.Security, env: s.Env, volumes: s.Persistence.AddVolumes,
		mounts:     s.Persistence.AddVolumeMounts,
		workingDir: s.WorkingDir, dnsPolicy: s.DNSPolicy, dnsConfig: s.DNSConfig, hostAliases: s.HostAliases,
		runtimeClass: s.RuntimeClassName,
		serviceLinks: s.EnableServiceLinks, policy: s.ImagePullPolicy, probes: &s.Probes,
		initContainers: s.InitContainers, containers: s.SidecarContainers,
	})
}

// customizeEtcd applies controlPlane.backingStore.etcd.deploy.statefulSet to etcd's StatefulSet.
func (p *Provisioner) customizeEtcd(set *appsv1.StatefulSet) error {
	s := p.VCluster.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet
	container := &set.Spec.Template.Spec.Containers[0]
	container.Args = config.MergeArguments(container.Args, s.ExtraArgs)
	if s.Image.Repository != "" {
		container.Command = []string{"etcd"}
		for _, probe := range []*corev1.Probe{
			container.StartupProbe, container.ReadinessProbe, container.LivenessProbe,
		} {
			probe.Exec.Command[0] = etcdctl
		}
	}
	return customize(set, podSettings{
		key: "controlPlane.backingStore.etcd.deploy.statefulSet", main: etcdContainerName, labels: s.Labels,
		annotations: s.Annotations, pods: s.Pods, resources: s.Resources,
		scheduling: s.Scheduling, security: s.Security, env: s.Env, volumes: s.Persistence.AddVolumes,
		mounts:       s.Persistence.AddVolumeMounts,
		serviceLinks: s.EnableServiceLinks, policy: s.ImagePullPolicy,
	})
}

// customize applies settings; the user's labels and annotations don't replace Argosy's own.
func customize(set *appsv1.StatefulSet, s podSettings) error {
	template := &set.Spec.Template
	set.Labels, set.Annotations = merged(s.labels, set.Labels), merged(s.annotations, set.Annotations)
	template.Labels, template.Annotations = merged(s.pods.Labels, template.Labels),
		merged(s.pods.Annotations, template.Annotations)
	template.Annotations[defaultContainerAnnotation] = s.main
	if s.scheduling.PodManagementPolicy != "" {
		set.Spec.PodManagementPolicy = appsv1.PodManagementPolicyType(s.scheduling.PodManagementPolicy)
	}
	if err := s.onPod(&template.Spec); err != nil {
		return errclass.Errorf(errclass.Configuration, "reading %s: %w", s.key, err)
	}
	for i := range template.Spec.Containers {
		if template.Spec.Containers[i].Name != s.main {
			continue
		}
		if err := s.onMain(&template.Spec.Containers[i]); err != nil {
			return errclass.Errorf(errclass.Configuration, "reading %s: %w", s.key, err)
		}
	}
	return nil
}

func (s podSettings) onPod(pod *corev1.PodSpec) error {
	pod.EnableServiceLinks = &s.serviceLinks
	if s.scheduling.NodeSelector != nil {
		pod.NodeSelector = s.scheduling.NodeSelector
	}
	pod.PriorityClassName, pod.DNSPolicy = s.scheduling.PriorityClassName, corev1.DNSPolicy(s.dnsPolicy)
	if s.runtimeClass != "" {
		pod.RuntimeClassName = &s.runtimeClass
	}
	for _, section := range []struct {
		from any
		to   any
	}{
		{s.scheduling.Affinity, &pod.Affinity},
		{s.scheduling.Tolerations, &pod.Tolerations},
		{s.scheduling.TopologySpreadConstraints, &pod.TopologySpreadConstraints},
		{s.security.PodSecurityContext, &pod.SecurityContext},
		{s.dnsConfig, &pod.DNSConfig},
		{s.hostAliases, &pod.HostAliases},
	} {
		if err := over(section.from, section.to); err != nil {
			return err
		}
	}
	var volumes []corev1.Volume
	var first, beside []corev1.Container
	for from, to := range map[*[]config.Unstructured]any{
		&s.volumes: &volumes, &s.initContainers: &first,
		&s.containers: &beside,
	} {
		if err := over(*from, to); err != nil {
			return err
		}
	}
	pod.Volumes = append(pod.Volumes, volumes...)
	pod.InitContainers, pod.Containers = append(pod.InitContainers, first...), append(pod.Containers, beside...)
	for _, containers := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range containers {
			if s.policy != "" && containers[i].ImagePullPolicy == "" {
				containers[i].ImagePullPolicy = corev1.PullPolicy(s.policy)
			}
			if err := over(s.security.ContainerSecurityContext, &containers[i].SecurityContext); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s podSettings) onMain(container *corev1.Container) error {
	container.WorkingDir = s.workingDir
	if err := over(s.resources.Limits, &container.Resources.Limits); err != nil {
		return err
	}
	if err := over(s.resources.Requests, &container.Resources.Requests); err != nil {
		return err
	}
	var env []corev1.EnvVar
	var mounts []corev1.VolumeMount
	if err := over(s.env, &env); err != nil {
		return err
	}
	if err := over(s.mounts, &mounts); err != nil {
		return err
	}
	container.Env, container.VolumeMounts = append(container.Env, env...), append(container.VolumeMounts, mounts...)
	if s.probes != nil {
		container.LivenessProbe = tuned(container.LivenessProbe, s.probes.LivenessProbe)
		container.ReadinessProbe = tuned(container.ReadinessProbe, s.probes.ReadinessProbe)
		container.StartupProbe = tuned(container.StartupProbe, s.probes.StartupProbe)
	}
	return nil
}

// tuned returns a probe with the user's numbers; nil when the user turns it off.
func tuned(own *corev1.Probe, wanted config.Probe) *corev1.Probe {
	if !wanted.Enabled {
		return nil
	}
	for _, number := range []struct {
		field *int32
		value int
	}{
		{&own.FailureThreshold, wanted.FailureThreshold},
		{&own.InitialDelaySeconds, wanted.InitialDelaySeconds},
		{&own.TimeoutSeconds, wanted.TimeoutSeconds},
		{&own.PeriodSeconds, wanted.PeriodSeconds},
	} {
		if number.value != 0 {
			*number.field = int32(number.value)
		}
	}
	return own
}

// over decodes a section of a document over a Kubernetes value with defaults; fields that it does not have stay.
func over(section, value any) error {
	text, err := json.Marshal(section)
	if err != nil {
		return err
	}
	if string(text) == "null" || string(text) == "{}" || string(text) == "[]" {
		return nil
	}
	if err := json.Unmarshal(text, value); err != nil {
		return fmt.Errorf("reading a section as %T: %w", value, err)
	}
	return nil
}
