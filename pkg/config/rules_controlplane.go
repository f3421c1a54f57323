package config

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// The rules of the sections that describe the control plane's pods, one function a section.

func (d *document) checkStatefulSet(key string, s StatefulSet) {
	d.imageParts(join(key, "image"), s.Image)
	d.metadata(key, s.Labels, s.Annotations)
	d.metadata(join(key, "pods"), s.Pods.Labels, s.Pods.Annotations)
	d.resources(join(key, "resources"), s.Resources)
	d.scheduling(join(key, "scheduling"), s.Scheduling)
	d.security(join(key, "security"), s.Security)
	d.persistence(join(key, "persistence"), s.Persistence)
	d.probes(join(key, "probes"), s.Probes)
	fitsEach[corev1.EnvVar](d, join(key, "env"), s.Env)
	d.fits(join(key, "dnsConfig"), s.DNSConfig, new(corev1.PodDNSConfig))
	fitsEach[corev1.Container](d, join(key, "initContainers"), s.InitContainers)
	fitsEach[corev1.Container](d, join(key, "sidecarContainers"), s.SidecarContainers)
	d.object(join(key, "runtimeClassName"), s.RuntimeClassName)
	fitsEach[corev1.HostAlias](d, join(key, "hostAliases"), s.HostAliases)
	d.checkLease(join(key, "highAvailability"), s.HighAvailability)
}

// checkLease checks the times of leader election: a leader must have given up before another one takes over, and have
// had time to try again. client-go refuses other times when a component starts.
func (d *document) checkLease(key string, h HighAvailability) {
	switch {
	case h.LeaseDuration <= h.RenewDeadline:
		d.add(join(key, "leaseDuration"), fmt.Sprintf("%d is not more than renewDeadline, which is %d", h.LeaseDuration,
			h.RenewDeadline), "raise it; the default is 60")
	case h.RetryPeriod < 1 || h.RenewDeadline*10 <= h.RetryPeriod*12:
		d.add(join(key, "renewDeadline"), fmt.Sprintf("%d is not more than 1.2 times retryPeriod, which is %d",
			h.RenewDeadline, h.RetryPeriod), "raise it; the defaults are 40 and 15")
	}
}

func (d *document) checkEtcd(key string, e DeployedEtcd) {
	set := join(key, "statefulSet")
	s := e.StatefulSet
	d.imageParts(join(set, "image"), s.Image)
	if s.Image != (Image{}) {
		d.required(set+".image.repository", s.Image.Repository, `write e.g. "etcd"`)
		d.required(set+".image.tag", s.Image.Tag, `write e.g. "3.6.10-0"`)
	}
	d.metadata(set, s.Labels, s.Annotations)
	d.metadata(join(set, "pods"), s.Pods.Labels, s.Pods.Annotations)
	d.resources(join(set, "resources"), s.Resources)
	d.scheduling(join(set, "scheduling"), s.Scheduling)
	d.security(join(set, "security"), s.Security)
	d.persistence(join(set, "persistence"), s.Persistence)
	fitsEach[corev1.EnvVar](d, join(set, "env"), s.Env)
	d.metadata(join(key, "service"), nil, e.Service.Annotations)
	d.metadata(join(key, "headlessService"), nil, e.HeadlessService.Annotations)
	if replicas := s.HighAvailability.Replicas; e.Enabled && replicas != 1 && replicas != 3 {
		d.add(set+".highAvailability.replicas", fmt.Sprintf("%d members are not possible: two are no safer than one, "+
			"and more than three only slower", replicas), "use 1 or 3")
	}
	if e.Enabled && !s.Enabled {
		d.add(join(set, "enabled"), "cannot be switched off: a deployed etcd is these pods", "remove it")
	}
}

func (d *document) checkCoreDNS(key string, c CoreDNS) {
	d.object(join(key, "priorityClassName"), c.PriorityClassName)
	d.security(join(key, "security"), c.Security)
	d.metadata(join(key, "service"), c.Service.Labels, c.Service.Annotations)
	d.service(key+".service.spec", c.Service.Spec)
	deployment := join(key, "deployment")
	e := c.Deployment
	d.image(join(deployment, "image"), e.Image)
	d.atLeastOne(join(deployment, "replicas"), e.Replicas)
	d.metadata(deployment, e.Labels, e.Annotations)
	d.metadata(join(deployment, "pods"), e.Pods.Labels, e.Pods.Annotations)
	d.resources(join(deployment, "resources"), e.Resources)
	d.scheduling(deployment, Scheduling{
		NodeSelector: e.NodeSelector, Affinity: e.Affinity, Tolerations: e.Tolerations,
		TopologySpreadConstraints: e.TopologySpreadConstraints,
	})
}

func (d *document) checkAdvanced(key string, a ControlPlaneAdvanced) {
	d.match(join(key, "defaultImageRegistry"), a.DefaultImageRegistry, registryName, "the name of a registry",
		`write e.g. "registry.example.com:5000" or "registry.example.com/mirror", without a scheme`)
	d.checkKonnectivity(join(key, "konnectivity"), a.Konnectivity)
	budget := a.PodDisruptionBudget
	if budget.MinAvailable != nil && budget.MaxUnavailable != nil {
		d.add(key+".podDisruptionBudget.maxUnavailable", "cannot stand beside minAvailable", "remove one of them")
	}
	d.share(key+".podDisruptionBudget.minAvailable", budget.MinAvailable)
	d.share(key+".podDisruptionBudget.maxUnavailable", budget.MaxUnavailable)
	account := join(key, "serviceAccount")
	d.object(join(account, "name"), a.ServiceAccount.Name)
	d.metadata(account, a.ServiceAccount.Labels, a.ServiceAccount.Annotations)
	for i, secret := range a.ServiceAccount.ImagePullSecrets {
		at := fmt.Sprintf("%s.imagePullSecrets[%d].name", account, i)
		if d.required(at, secret.Name, "name a Secret of type kubernetes.io/dockerconfigjson") {
			d.object(at, secret.Name)
		}
	}
	d.metadata(join(key, "headlessService"), a.HeadlessService.Labels, a.HeadlessService.Annotations)
	d.metadata(join(key, "globalMetadata"), nil, a.GlobalMetadata.Annotations)
}

func (d *document) checkKonnectivity(key string, k Konnectivity) {
	agent := join(key, "agent")
	d.image(join(agent, "image"), k.Agent.Image)
	d.atLeastOne(join(agent, "replicas"), k.Agent.Replicas)
	d.scheduling(agent, Scheduling{
		NodeSelector: k.Agent.NodeSelector, Tolerations: k.Agent.Tolerations,
		PriorityClassName: k.Agent.PriorityClassName,
	})
	fitsEach[corev1.EnvVar](d, join(agent, "extraEnv"), k.Agent.ExtraEnv)
	if k.Enabled && k.Server.Enabled != k.Agent.Enabled {
		d.add(join(agent, "enabled"), "agent and server of Konnectivity are only of use together",
			"set "+key+".enabled: false to have neither")
	}
}

// share checks a number or a percentage of pods.
func (d *document) share(key string, value any) {
	switch value := value.(type) {
	case nil:
		return
	case int:
		if value >= 0 {
			return
		}
	case string:
		if value == "" || percentage.MatchString(value) {
			return
		}
	}
	d.add(key, "is neither a number nor a percentage", `write e.g. 1 or "50%"`)
}

// imageParts checks an image that is written in parts.
func (d *document) imageParts(key string, i Image) {
	d.match(join(key, "registry"), i.Registry, registryName, "the name of a registry",
		`write e.g. "registry.example.com:5000", without a scheme`)
	d.match(join(key, "repository"), i.Repository, repositoryName, "the name of a repository",
		`write e.g. "loft-sh/kubernetes"; registry and tag have keys of their own`)
	d.match(join(key, "tag"), i.Tag, tagName, "the tag of an image", "use letters, digits, \"_\", \".\" and \"-\"")
}
