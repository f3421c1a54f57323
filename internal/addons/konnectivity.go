package addons

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"

	"argosy.dev/argosy/pkg/errclass"
)

const konnectivityKey = "controlPlane.advanced.konnectivity.agent"

// KonnectivityKeepalive is how long a connection between agent and server may be silent before one of them asks whether
// the other is there; without an answer in 20 seconds, gRPC's default, it is closed. The server refuses agents that ask
// more often than every 30 seconds, and by default both would ask after an hour.
const KonnectivityKeepalive = "30s"

// konnectivity is the agent; the server is part of the control plane, and neither is of use without the other. Every
// machine has one, under whose address the server finds it: with fewer, a machine that loses its power takes the way to
// others with it.
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
	edit(d, "konnectivity-agent", func(set *appsv1.DaemonSet) error {
		pod := &set.Spec.Template.Spec
		container := &pod.Containers[0]
		container.Args = append([]string{
			"--proxy-server-host=" + s.facts.KonnectivityHost,
			"--proxy-server-port=" + strconv.Itoa(s.facts.KonnectivityPort),
			"--keepalive-time=" + KonnectivityKeepalive,
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
