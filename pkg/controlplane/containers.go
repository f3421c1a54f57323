package controlplane

import (
	"fmt"
	"path"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

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
	// konnectivityAudience is the audience of the tokens that konnectivity's agents show.
	konnectivityAudience = "system:konnectivity-server"
)

// Volumes of the control plane's pod.
const (
	volumeCerts        = "certs" // of a Job's one container; in other pods each container has its own, see giveCerts
	volumeConfig       = "config"
	volumeKonnectivity = "konnectivity"
	volumeKine         = "kine"
	volumeData         = "data"
	volumeProgram      = "program"
	volumeTemporary    = "tmp"
)

func cert(name string) string { return path.Join(certsDir, name+certExtension) }
func key(name string) string  { return path.Join(certsDir, name+keyExtension) }
func conf(name string) string { return path.Join(certsDir, name) }

// apiServerName is the API server's container, by which a pod's version is known.
const apiServerName = "kube-apiserver"

// apiServer answers the cluster's clients. Its shutdown is delayed so that it still answers while Services stop leading
// to it; the store outlives it.
func (p *Provisioner) apiServer() corev1.Container {
	networking := p.Cluster.VCluster.Networking
	args := []string{
		"--allow-privileged=true",
		"--authorization-mode=Node,RBAC",
		"--bind-address=" + p.Cluster.VCluster.ControlPlane.Proxy.BindAddress,
		"--client-ca-file=" + cert(authorityCluster),
		"--enable-admission-plugins=NodeRestriction",
		"--enable-bootstrap-token-auth=true",
		// The addresses behind Service default/kubernetes are the machines' way in, which the API server can't know.
		"--endpoint-reconciler-type=none",
		"--kubelet-client-certificate=" + cert(certKubeletClient),
		"--kubelet-client-key=" + key(certKubeletClient),
		"--kubelet-preferred-address-types=InternalIP,InternalDNS,Hostname,ExternalIP,ExternalDNS",
		"--profiling=false",
		"--proxy-client-cert-file=" + cert(certFrontProxy),
		"--proxy-client-key-file=" + key(certFrontProxy),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-client-ca-file=" + cert(authorityFrontProxy),
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--secure-port=" + strconv.Itoa(p.apiPort()),
		"--service-account-issuer=https://kubernetes.default.svc." + networking.Advanced.ClusterDomain,
		"--service-account-key-file=" + path.Join(certsDir, signingKey+".pub"),
		"--service-account-signing-key-file=" + key(signingKey),
		"--service-cluster-ip-range=" + networking.ServiceCIDR,
		fmt.Sprintf("--shutdown-delay-duration=%ds", shutdownDelay),
		"--tls-cert-file=" + cert(certServing),
		"--tls-private-key-file=" + key(certServing),
	}
	if p.konnectivity() {
		args = append(args, "--egress-selector-config-file="+path.Join(configDir, egressFile))
	}
	container := p.component(apiServerName, p.Cluster.VCluster.ControlPlane.Distro.K8s.APIServer,
		append(args, p.storeArgs()...))
	container.Ports = []corev1.ContainerPort{{Name: "https", ContainerPort: int32(p.apiPort()),
		Protocol: corev1.ProtocolTCP}}
	container.ReadinessProbe = probe(p.apiPort(), "/readyz", 1, 3)
	container.LivenessProbe = probe(p.apiPort(), "/livez", 10, 8)
	container.StartupProbe = probe(p.apiPort(), "/livez", 1, startupPatience)
	container.Resources = requests("100m", "256Mi")
	container.VolumeMounts = append(container.VolumeMounts,
		corev1.VolumeMount{Name: volumeConfig, MountPath: configDir, ReadOnly: true},
		corev1.VolumeMount{Name: volumeKonnectivity, MountPath: konnectivityDir},
		corev1.VolumeMount{Name: volumeKine, MountPath: kineDir})
	return container
}

const (
	// shutdownDelay is how long an API server goes on after it was told to end, in seconds: kube-proxy takes about one
	// to lead elsewhere.
	shutdownDelay = 3
	// startupPatience is how long an API server may take to come up, in seconds.
	startupPatience = 180
)

func (p *Provisioner) controllerManager() corev1.Container {
	networking := p.Cluster.VCluster.Networking
	args := append([]string{
		"--allocate-node-cidrs=true",
		"--authentication-kubeconfig=" + conf(confController),
		"--authorization-kubeconfig=" + conf(confController),
		"--bind-address=0.0.0.0",
		"--client-ca-file=" + cert(authorityCluster),
		"--cluster-cidr=" + networking.PodCIDR,
		"--cluster-name=" + p.Cluster.Name,
		"--cluster-signing-cert-file=" + cert(authorityCluster),
		"--cluster-signing-key-file=" + key(authorityCluster),
		"--controllers=*,bootstrapsigner,tokencleaner",
		"--kubeconfig=" + conf(confController),
		"--profiling=false",
		"--requestheader-client-ca-file=" + cert(authorityFrontProxy),
		"--root-ca-file=" + cert(authorityCluster),
		"--secure-port=" + strconv.Itoa(controllerManagerPort),
		"--service-account-private-key-file=" + key(signingKey),
		"--service-cluster-ip-range=" + networking.ServiceCIDR,
		"--use-service-account-credentials=true",
	}, p.leaderElection()...)
	container := p.component("kube-controller-manager", p.Cluster.VCluster.ControlPlane.Distro.K8s.ControllerManager,
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
	container := p.component("kube-scheduler", p.Cluster.VCluster.ControlPlane.Distro.K8s.Scheduler, args)
	container.LivenessProbe = probe(schedulerPort, "/healthz", 10, 8)
	container.Resources = requests("10m", "48Mi")
	return container
}

// leaderElection is on with one replica as well: while it is replaced there are two. The times of the document hold
// where replicas stand by; with one, a successor should not wait longer than Kubernetes' own.
func (p *Provisioner) leaderElection() []string {
	args := []string{"--leader-elect=true"}
	if ha := p.Cluster.VCluster.ControlPlane.StatefulSet.HighAvailability; p.replicas() > 1 {
		args = append(args,
			fmt.Sprintf("--leader-elect-lease-duration=%ds", ha.LeaseDuration),
			fmt.Sprintf("--leader-elect-renew-deadline=%ds", ha.RenewDeadline),
			fmt.Sprintf("--leader-elect-retry-period=%ds", ha.RetryPeriod))
	}
	return args
}

// konnectivityServer carries the API server's connections to the machines; the agents on them dial in.
func (p *Provisioner) konnectivityServer() corev1.Container {
	settings := p.Cluster.VCluster.ControlPlane.Advanced.Konnectivity.Server
	args := append([]string{
		"--admin-bind-address=127.0.0.1",
		"--admin-port=" + strconv.Itoa(konnectivityAdminPort),
		"--agent-namespace=kube-system",
		"--agent-port=" + strconv.Itoa(KonnectivityPort),
		"--agent-service-account=konnectivity-agent",
		"--authentication-audience=" + konnectivityAudience,
		"--cluster-cert=" + cert(certServing),
		"--cluster-key=" + key(certServing),
		"--delete-existing-uds-file",
		"--health-port=" + strconv.Itoa(konnectivityHealthPort),
		"--kubeconfig=" + conf(confKonnectivity),
		"--logtostderr=true",
		"--mode=grpc",
		"--server-count=" + strconv.Itoa(p.replicas()),
		"--server-port=0",
		"--uds-name=" + konnectivitySocket,
	}, settings.ExtraArgs...)
	container := p.container("konnectivity-server", args)
	container.Ports = []corev1.ContainerPort{{Name: "konnectivity", ContainerPort: KonnectivityPort,
		Protocol: corev1.ProtocolTCP}}
	container.LivenessProbe = probe(konnectivityHealthPort, "/healthz", 10, 8)
	container.LivenessProbe.HTTPGet.Scheme = corev1.URISchemeHTTP
	container.Resources = requests("5m", "32Mi")
	container.VolumeMounts = append(container.VolumeMounts,
		corev1.VolumeMount{Name: volumeKonnectivity, MountPath: konnectivityDir})
	return container
}

// bundleServer gives machines the node bundles of the -full image. It is Argosy's own program, which placeProgram puts
// beside that image's files.
func (p *Provisioner) bundleServer() corev1.Container {
	container := p.container("bundles", []string{
		"bundle", "serve",
		"--folder=" + binariesDir,
		"--listen=:" + strconv.Itoa(BundlesPort),
		"--tls-cert=" + cert(certServing),
		"--tls-key=" + key(certServing),
		fmt.Sprintf("--api-server=https://127.0.0.1:%d", p.apiPort()),
		"--ca=" + cert(authorityCluster),
	})
	container.Command = []string{programPath}
	container.Ports = []corev1.ContainerPort{{Name: "bundles", ContainerPort: BundlesPort,
		Protocol: corev1.ProtocolTCP}}
	container.LivenessProbe = probe(BundlesPort, "/healthz", 10, 8)
	container.Resources = requests("5m", "32Mi")
	container.VolumeMounts = append(container.VolumeMounts,
		corev1.VolumeMount{Name: volumeProgram, MountPath: programDir, ReadOnly: true})
	return container
}

// placesProgram says whether a container that runs another image needs Argosy's own program beside it.
func (p *Provisioner) placesProgram() bool { return p.servesBundles() || p.runsKine() }

func (p *Provisioner) placeProgram() corev1.Container {
	container := p.program("program", []string{"install-to", programDir},
		corev1.VolumeMount{Name: volumeProgram, MountPath: programDir})
	container.Resources = requests("5m", "16Mi")
	return container
}

// component is a container of Kubernetes' own, with what the user sets for it; the user's arguments come last and win.
// A command of the user's stands in place of program and arguments, and is followed by the user's own alone.
func (p *Provisioner) component(name string, settings config.Component, args []string) corev1.Container {
	container := p.container(name, append(args, settings.ExtraArgs...))
	if len(settings.Command) > 0 {
		container.Command, container.Args = settings.Command, settings.ExtraArgs
	}
	if settings.Image != "" {
		container.Image = p.Cluster.ImageRef(settings.Image)
	}
	if settings.ImagePullPolicy != "" {
		container.ImagePullPolicy = corev1.PullPolicy(settings.ImagePullPolicy)
	}
	return container
}

// container runs a program of the all-in-one image, with as few rights as can be.
func (p *Provisioner) container(name string, args []string) corev1.Container {
	no, yes := false, true
	return corev1.Container{
		Name:            name,
		Image:           p.Cluster.ControlPlaneImage(),
		ImagePullPolicy: corev1.PullPolicy(p.Cluster.VCluster.ControlPlane.Distro.K8s.ImagePullPolicy),
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

// probeTimeout is how long a component may take to answer, in seconds; a busy one is slow, not dead.
const probeTimeout = 10

func requests(cpu, memory string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
	}}
}
