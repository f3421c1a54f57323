package controlplane

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"argosy.dev/argosy/internal/addons"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/encryption"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
)

// Folders in the pods.
const (
	binariesDir     = "/kubernetes" // in the all-in-one image
	certsDir        = "/etc/argosy/certs"
	configDir       = "/etc/argosy/config"
	konnectivityDir = "/run/konnectivity"
	kineDir         = "/run/kine"
	dataDir         = "/var/lib/argosy"
	programDir      = "/argosy"
	programPath     = programDir + "/executor-plugin"
	temporaryDir    = "/tmp"
)

const (
	konnectivitySocket = konnectivityDir + "/server.sock"
	kineSocket         = "unix://" + kineDir + "/kine.sock"
	egressFile         = "egress.yaml"
	auditPolicyFile    = "audit-policy.yaml"
	// konnectivityAudience is the audience of the tokens that konnectivity's agents show.
	konnectivityAudience = "system:konnectivity-server"
)

// Volumes of the control plane's pod.
const (
	volumeCerts        = "certs" // of a Job's one container; in other pods each container has its own, see mountCerts
	volumeConfig       = "config"
	volumeKonnectivity = "konnectivity"
	volumeKine         = "kine"
	volumeData         = "data"
	volumeProgram      = "program"
	volumeTemporary    = "tmp"
)

func cert(name string) string { return path.Join(certsDir, name+certificates.CertExtension) }
func key(name string) string  { return path.Join(certsDir, name+certificates.KeyExtension) }
func conf(name string) string { return path.Join(certsDir, name) }

// apiServer returns the API server's container. Its shutdown is delayed, so that it still answers while Services stop
// leading to it; the store ends later.
func (p *Provisioner) apiServer() corev1.Container {
	networking := p.VCluster.Networking
	args := []string{
		"--allow-privileged=true",
		"--bind-address=" + p.VCluster.ControlPlane.Proxy.BindAddress,
		"--client-ca-file=" + cert(certificates.ClusterCA),
		"--enable-bootstrap-token-auth=true",
		// The addresses of Service default/kubernetes are those that machines reach, which the API server can't know.
		"--endpoint-reconciler-type=none",
		"--kubelet-client-certificate=" + cert(certKubeletClient),
		"--kubelet-client-key=" + key(certKubeletClient),
		"--kubelet-preferred-address-types=InternalIP,InternalDNS,Hostname,ExternalIP,ExternalDNS",
		"--profiling=false",
		"--proxy-client-cert-file=" + cert(certFrontProxy),
		"--proxy-client-key-file=" + key(certFrontProxy),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-client-ca-file=" + cert(certificates.FrontProxyCA),
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--secure-port=" + strconv.Itoa(p.apiPort()),
		"--service-account-issuer=https://kubernetes.default.svc." + networking.Advanced.ClusterDomain,
		// The API server would name its pod's address, which neither pods nor others reach.
		"--service-account-jwks-uri=" + p.endpoint.Server() + "/openid/v1/jwks",
		"--service-account-key-file=" + path.Join(certsDir, certificates.SigningKey+certificates.PublicExtension),
		"--service-account-signing-key-file=" + key(certificates.SigningKey),
		"--service-cluster-ip-range=" + networking.ServiceCIDR,
		fmt.Sprintf("--shutdown-delay-duration=%ds", shutdownDelay),
		"--tls-cert-file=" + cert(certServing),
		"--tls-private-key-file=" + key(certServing),
	}
	if p.konnectivity() {
		args = append(args, "--egress-selector-config-file="+path.Join(configDir, egressFile))
	}
	args = append(args, p.kubeletArgs()...)
	if p.encrypts {
		args = append(args, "--encryption-provider-config="+conf(encryption.File))
	}
	if len(p.Fleet.ControlPlane.Audit.Policy.Rules) > 0 {
		args = append(args, "--audit-log-path=-", "--audit-policy-file="+path.Join(configDir, auditPolicyFile))
	}
	container := p.component(hosted.APIServer, p.VCluster.ControlPlane.Distro.K8s.APIServer,
		append(args, p.storeArgs()...))
	container.Ports = []corev1.ContainerPort{{
		Name: "https", ContainerPort: int32(p.apiPort()),
		Protocol: corev1.ProtocolTCP,
	}}
	container.ReadinessProbe = probe(p.apiPort(), readyPath, 1, 3)
	container.LivenessProbe = probe(p.apiPort(), livePath, 10, 8)
	container.StartupProbe = probe(p.apiPort(), livePath, 1, startupFailures)
	container.Resources = requests("100m", "256Mi")
	container.VolumeMounts = append(container.VolumeMounts,
		corev1.VolumeMount{Name: volumeConfig, MountPath: configDir, ReadOnly: true},
		corev1.VolumeMount{Name: volumeKonnectivity, MountPath: konnectivityDir},
		corev1.VolumeMount{Name: volumeKine, MountPath: kineDir})
	return container
}

// readyPath and livePath ask an API server whether it is ready, and whether it lives. Not counted are the hooks that
// write objects of its version when it starts: with a webhook on such objects in the cluster they wait for
// konnectivity's agents, which the Service leads to ready pods alone, and one would wait for the other for ever. The
// names of hooks that a version does not have are ignored.
const (
	readyPath = "/readyz" + withoutHooks
	livePath  = "/livez" + withoutHooks

	withoutHooks = "?exclude=poststarthook/rbac/bootstrap-roles" +
		"&exclude=poststarthook/scheduling/bootstrap-system-priority-classes" +
		"&exclude=poststarthook/priority-and-fairness-config-producer"
)

const (
	// shutdownDelay is how long an API server answers after SIGTERM, in seconds: kube-proxy takes about one to stop
	// leading to it.
	shutdownDelay = 3
	// startupFailures is how often an API server may fail its startup probe, once a second, before it is restarted.
	startupFailures = 180
)

func (p *Provisioner) controllerManager() corev1.Container {
	networking := p.VCluster.Networking
	args := append([]string{
		"--allocate-node-cidrs=true",
		"--authentication-kubeconfig=" + conf(confController),
		"--authorization-kubeconfig=" + conf(confController),
		"--bind-address=0.0.0.0",
		"--client-ca-file=" + cert(certificates.ClusterCA),
		"--cluster-cidr=" + networking.PodCIDR,
		"--cluster-name=" + p.Name,
		"--cluster-signing-cert-file=" + cert(certificates.ClusterCA),
		"--cluster-signing-key-file=" + key(certificates.ClusterCA),
		"--controllers=*,bootstrapsigner,tokencleaner",
		"--kubeconfig=" + conf(confController),
		"--profiling=false",
		"--requestheader-client-ca-file=" + cert(certificates.FrontProxyCA),
		"--root-ca-file=" + cert(certificates.ClusterCA),
		"--secure-port=" + strconv.Itoa(controllerManagerPort),
		"--service-account-private-key-file=" + key(certificates.SigningKey),
		"--service-cluster-ip-range=" + networking.ServiceCIDR,
		"--use-service-account-credentials=true",
	}, p.leaderElection()...)
	container := p.component("kube-controller-manager", p.VCluster.ControlPlane.Distro.K8s.ControllerManager,
		args)
	container.LivenessProbe = probe(controllerManagerPort, "/healthz", 10, 8)
	container.Resources = requests("25m", "64Mi")
	return container
}

func (p *Provisioner) scheduler() corev1.Container {
	args := append([]string{
		"--authentication-kubeconfig=" + conf(confScheduler),
		"--authorization-kubeconfig=" + conf(confScheduler),
		"--bind-address=0.0.0.0",
		"--kubeconfig=" + conf(confScheduler),
		"--profiling=false",
		"--secure-port=" + strconv.Itoa(schedulerPort),
	}, p.leaderElection()...)
	container := p.component("kube-scheduler", p.VCluster.ControlPlane.Distro.K8s.Scheduler, args)
	container.LivenessProbe = probe(schedulerPort, "/healthz", 10, 8)
	container.Resources = requests("10m", "48Mi")
	return container
}

// leaderElection returns the arguments for leader election. It is on with one replica as well: while that is replaced
// there are two. The document's times apply to several replicas; with one, a successor waits for Kubernetes' defaults.
func (p *Provisioner) leaderElection() []string {
	args := []string{"--leader-elect=true"}
	if ha := p.VCluster.ControlPlane.StatefulSet.HighAvailability; p.replicas() > 1 {
		args = append(args,
			fmt.Sprintf("--leader-elect-lease-duration=%ds", ha.LeaseDuration),
			fmt.Sprintf("--leader-elect-renew-deadline=%ds", ha.RenewDeadline),
			fmt.Sprintf("--leader-elect-retry-period=%ds", ha.RetryPeriod))
	}
	return args
}

// konnectivityServer returns the container that forwards the API server's connections to the machines, whose agents
// dial in.
func (p *Provisioner) konnectivityServer() corev1.Container {
	settings := p.VCluster.ControlPlane.Advanced.Konnectivity.Server
	args := config.MergeArguments([]string{
		"--admin-bind-address=127.0.0.1",
		"--admin-port=" + strconv.Itoa(konnectivityAdminPort),
		"--agent-namespace=kube-system",
		"--agent-port=" + strconv.Itoa(konnectivityPort),
		"--agent-service-account=konnectivity-agent",
		"--authentication-audience=" + konnectivityAudience,
		"--cluster-cert=" + cert(certServing),
		"--cluster-key=" + key(certServing),
		"--delete-existing-uds-file",
		"--health-bind-address=127.0.0.1",
		"--health-port=" + strconv.Itoa(konnectivityHealthPort),
		"--keepalive-time=" + addons.KonnectivityKeepalive,
		"--kubeconfig=" + conf(confKonnectivity),
		"--logtostderr=true",
		"--mode=grpc",
		// A machine is asked by its own agent, so that one without power is missed for itself alone. Agents of other
		// machines carry what has none: Services, pods, a machine whose agent is not there.
		"--proxy-strategies=destHost,default",
		"--server-count=" + strconv.Itoa(p.replicas()),
		"--server-port=0",
		"--uds-name=" + konnectivitySocket,
	}, settings.ExtraArgs)
	container := p.container("konnectivity-server", args)
	container.Ports = []corev1.ContainerPort{{
		Name: "konnectivity", ContainerPort: konnectivityPort,
		Protocol: corev1.ProtocolTCP,
	}}
	// Its /healthz is on plain HTTP, which is bound to loopback, and tells no more than that it listens.
	container.LivenessProbe = probe(konnectivityPort, "", 10, 8)
	container.LivenessProbe.HTTPGet, container.LivenessProbe.TCPSocket = nil,
		&corev1.TCPSocketAction{Port: intstr.FromInt(konnectivityPort)}
	container.Resources = requests("5m", "32Mi")
	container.VolumeMounts = append(container.VolumeMounts,
		corev1.VolumeMount{Name: volumeKonnectivity, MountPath: konnectivityDir})
	return container
}

// bundleServer returns the container that serves machines the node bundles of the -full image. It runs Argosy's own
// program, which installProgram puts beside that image's files.
func (p *Provisioner) bundleServer() corev1.Container {
	container := p.container("bundles", []string{
		"bundle", "serve",
		"--folder=" + binariesDir,
		"--listen=:" + strconv.Itoa(bundlesPort),
		"--tls-cert=" + cert(certServing),
		"--tls-key=" + key(certServing),
		fmt.Sprintf("--api-server=https://127.0.0.1:%d", p.apiPort()),
		"--ca=" + cert(certificates.ClusterCA),
	})
	container.Command = []string{programPath}
	container.Ports = []corev1.ContainerPort{{
		Name: "bundles", ContainerPort: bundlesPort,
		Protocol: corev1.ProtocolTCP,
	}}
	container.LivenessProbe = probe(bundlesPort, "/healthz", 10, 8)
	container.Resources = requests("5m", "32Mi")
	container.VolumeMounts = append(container.VolumeMounts,
		corev1.VolumeMount{Name: volumeProgram, MountPath: programDir, ReadOnly: true})
	return container
}

// needsProgram reports whether a container of another image needs Argosy's own program.
func (p *Provisioner) needsProgram() bool {
	return p.servesBundles() || p.RunsKine() || p.followsEndpoint(p.endpoint)
}

// followsEndpoint reports whether the addresses at which pods reach the API server can change while the cluster runs: a
// name may lead elsewhere, and one address among several may go.
func (p *Provisioner) followsEndpoint(endpoint Endpoint) bool {
	_, err := netip.ParseAddr(endpoint.Host)
	return endpoint.Host != "" && err != nil || len(endpoint.Alike) > 1
}

// endpointFollower returns the container that has Service default/kubernetes lead to the endpoint's addresses.
func (p *Provisioner) endpointFollower() corev1.Container {
	endpoint := p.endpoint
	args := []string{
		"follow-endpoint",
		"--kubeconfig=" + conf(confEndpoint),
		"--port=" + strconv.Itoa(endpoint.API),
		fmt.Sprintf("--ipv4=%t", p.APIServiceIP().Is4()),
	}
	hosts := append([]string{endpoint.Host}, endpoint.Alike...)
	slices.Sort(hosts)
	for _, host := range slices.Compact(hosts) {
		args = append(args, "--host="+host)
	}
	container := p.container("endpoint", args)
	container.Command = []string{programPath}
	container.Resources = requests("5m", "32Mi")
	container.VolumeMounts = append(container.VolumeMounts,
		corev1.VolumeMount{Name: volumeProgram, MountPath: programDir, ReadOnly: true})
	return container
}

// installProgram returns the init container that copies Argosy's program into a volume. Before SQLite's database is
// opened it checks the file system of its volume, as the pod's own runtime shows it.
func (p *Provisioner) installProgram() corev1.Container {
	args, mounts := []string{"install-to"}, []corev1.VolumeMount{{Name: volumeProgram, MountPath: programDir}}
	if p.Persists() {
		args = append(args, "--database="+dataDir)
		mounts = append(mounts, corev1.VolumeMount{Name: volumeData, MountPath: dataDir})
	}
	container := p.program("program", append(args, programDir), mounts...)
	container.Resources = requests("5m", "16Mi")
	return container
}

// component returns a container of Kubernetes, with the user's settings; the user's arguments replace those of the same
// name, but for serviceAccountKeys. A command of the user's replaces the program and its arguments, and is followed by
// the user's arguments alone.
func (p *Provisioner) component(name string, settings config.Component, args []string) corev1.Container {
	if name == hosted.APIServer && len(settings.Command) == 0 {
		settings.ExtraArgs = p.withLogins(&args, settings.ExtraArgs)
	}
	container := p.container(name, config.MergeArguments(args, settings.ExtraArgs, serviceAccountKeys))
	if len(settings.Command) > 0 {
		container.Command, container.Args = settings.Command, settings.ExtraArgs
	}
	if settings.Image != "" {
		container.Image = p.ImageRef(settings.Image)
	}
	if settings.ImagePullPolicy != "" {
		container.ImagePullPolicy = corev1.PullPolicy(settings.ImagePullPolicy)
	}
	return container
}

// container returns a container for a program of the all-in-one image, with the fewest rights possible.
func (p *Provisioner) container(name string, args []string) corev1.Container {
	no, yes := false, true
	return corev1.Container{
		Name:            name,
		Image:           p.ControlPlaneImage(),
		ImagePullPolicy: corev1.PullPolicy(p.VCluster.ControlPlane.Distro.K8s.ImagePullPolicy),
		Command:         []string{path.Join(binariesDir, name)},
		Args:            args,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no,
			ReadOnlyRootFilesystem:   &yes,
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

func probe(port int, path string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: path, Port: intstr.FromInt(port), Scheme: corev1.URISchemeHTTPS,
		}},
		PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: probeTimeout,
	}
}

// probeTimeout bounds a component's answer, in seconds; a busy one is slow, not dead.
const probeTimeout = 10

func requests(cpu, memory string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
	}}
}
