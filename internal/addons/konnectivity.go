package addons

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"

	"argosy.dev/argosy/pkg/errclass"
)

const konnectivityKey = "controlPlane.advanced.konnectivity.agent"

// konnectivity is the agent; the server is part of the control plane, and neither is of use without the other.
func konnectivity(s *site) (Addon, error) {
	both := s.cluster.VCluster.ControlPlane.Advanced.Konnectivity
	settings := both.Agent
	if !both.Enabled || !both.Server.Enabled || !settings.Enabled {
		return Addon{}, nil
	}
	if s.facts.KonnectivityHost == "" || s.facts.KonnectivityPort == 0 {
		return Addon{}, errclass.Errorf(errclass.Permanent,
			"the agent needs the konnectivity server's address, and has %q and %d", s.facts.KonnectivityHost,
			s.facts.KonnectivityPort)
	}
	d := read(s, "konnectivity")
	d.pull("konnectivity-agent", map[string]string{"konnectivity-agent": settings.Image}, settings.ImagePullPolicy)
	edit(d, "konnectivity-agent", func(deployment *appsv1.Deployment) error {
		replicas := int32(settings.Replicas)
		deployment.Spec.Replicas = &replicas
		pod := &deployment.Spec.Template.Spec
		container := &pod.Containers[0]
		container.Args = append([]string{
			"--proxy-server-host=" + s.facts.KonnectivityHost,
			"--proxy-server-port=" + strconv.Itoa(s.facts.KonnectivityPort),
		}, container.Args...)
		if err := extend(konnectivityKey, container, settings.ExtraArgs, settings.ExtraEnv); err != nil {
			return err
		}
		return scheduling{
			konnectivityKey, settings.NodeSelector, settings.Tolerations,
			settings.PriorityClassName,
		}.apply(pod)
	})
	return d.addon()
}
