package controlplane

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// sqliteSource is kine's database. A second kine has it open while a pod is replaced: SQLite's write-ahead log allows
// that on one machine, and a test of package store holds kine to it. It is not vacuumed at each start, which would lock
// the other out.
const sqliteSource = "sqlite://" + sqliteFile +
	"?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate&_kine_disable_startup_vacuum=true"

// sqliteFile is the database.
const sqliteFile = dataDir + "/state.db"

// dataSourceKey is the key of the Secret with the data source of an external database.
const dataSourceKey = "dataSource"

// storeArgs returns the API server's arguments for its store.
func (p *Provisioner) storeArgs() []string {
	if p.Store().Kind != config.StoreEtcd {
		return []string{"--etcd-servers=" + kineSocket}
	}
	var servers []string
	for _, host := range p.etcdHosts() {
		servers = append(servers, fmt.Sprintf("https://%s:%d", host, etcdClientPort))
	}
	return []string{
		"--etcd-cafile=" + cert(certificates.EtcdCA),
		"--etcd-certfile=" + cert(certEtcdClient),
		"--etcd-keyfile=" + key(certEtcdClient),
		"--etcd-servers=" + strings.Join(servers, ","),
	}
}

// kine returns the container that speaks etcd's protocol in front of a database. The data source is in its environment,
// since it holds a password and the process list is public.
func (p *Provisioner) kine() corev1.Container {
	source := corev1.EnvVar{Name: "KINE_ENDPOINT", Value: sqliteSource}
	settings := p.VCluster.ControlPlane.BackingStore.Database.Embedded
	if p.Store().Kind == config.StoreExternal {
		settings = p.VCluster.ControlPlane.BackingStore.Database.External
		source = corev1.EnvVar{
			Name: source.Name,
			ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: p.dataSourceSecret()}, Key: dataSourceKey,
			}},
		}
	}
	container := p.container(hosted.Kine, config.MergeArguments(
		[]string{"--listen-address=" + kineSocket, "--metrics-bind-address=0"}, settings.ExtraArgs))
	container.Env = []corev1.EnvVar{source}
	container.Resources = requests("20m", "64Mi")
	container.VolumeMounts = []corev1.VolumeMount{
		{Name: volumeKine, MountPath: kineDir},
		{Name: volumeData, MountPath: dataDir},
		{Name: volumeTemporary, MountPath: temporaryDir},
	}
	return container
}

// endsAfterAPIServer has a store's container end after the API server of its pod, although all containers get SIGTERM
// at once. A sidecar of Kubernetes would do so too, but after each sidecar kubelet takes about a second to start the
// next container, at every start of a control plane.
func (p *Provisioner) endsAfterAPIServer(container corev1.Container) corev1.Container {
	container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{
		Command: []string{
			programPath, "await-end", fmt.Sprintf("--address=127.0.0.1:%d", p.apiPort()),
			fmt.Sprintf("--at-most=%ds", controlPlaneGrace-3),
		},
	}}}
	container.VolumeMounts = append(container.VolumeMounts,
		corev1.VolumeMount{Name: volumeProgram, MountPath: programDir, ReadOnly: true})
	return container
}

// dataSourceSecret returns the name of the Secret with the data source of an external database: the user's, or Argosy's
// where the document itself gives it.
func (p *Provisioner) dataSourceSecret() string {
	if connector := p.VCluster.ControlPlane.BackingStore.Database.External.Connector; connector != "" {
		return connector
	}
	return p.Names().DataSource()
}

// CheckDataSource reads the user's Secret before anything depends on it.
func (p *Provisioner) CheckDataSource(ctx context.Context) error {
	_, err := p.dataSourceOfUser(ctx)
	return err
}

// dataSourceOfUser returns the data source in the Secret that the document names; nil where it names none.
func (p *Provisioner) dataSourceOfUser(ctx context.Context) ([]byte, error) {
	external := p.VCluster.ControlPlane.BackingStore.Database.External
	if p.Store().Kind != config.StoreExternal || external.Connector == "" {
		return nil, nil
	}
	held, err := p.Host.CoreV1().Secrets(p.Namespace).Get(ctx, external.Connector, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading Secret %q, which backingStore.database.external.connector names: %w",
			external.Connector, apply.Classify(err))
	}
	if err := config.CheckDataSource(string(held.Data[dataSourceKey])); err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading key %q of Secret %q: %w", dataSourceKey,
			external.Connector, err)
	}
	return held.Data[dataSourceKey], nil
}

// etcdHosts returns the host names of the members of a deployed etcd, by which members and API servers reach them.
func (p *Provisioner) etcdHosts() []string {
	var hosts []string
	for i := range p.Store().Replicas {
		hosts = append(hosts, fmt.Sprintf("%s-%d.%s.%s.svc", p.Names().Etcd(), i, p.Names().Etcd(), p.Namespace))
	}
	return hosts
}

// etcdService returns the headless Service of the members, also of those that are not ready: a member must find the
// others to become ready.
func (p *Provisioner) etcdService() *corev1.Service {
	port := func(name string, number int) corev1.ServicePort {
		return corev1.ServicePort{
			Name: name, Protocol: corev1.ProtocolTCP, Port: int32(number),
			TargetPort: intstr.FromInt(number),
		}
	}
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Names().Etcd(), Namespace: p.Namespace,
			Labels: p.Names().Labels(hosted.Etcd),
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, PublishNotReadyAddresses: true,
			Selector: p.Names().Selector(hosted.Etcd),
			Ports:    []corev1.ServicePort{port("client", etcdClientPort), port("peer", etcdPeerPort)},
		},
	}
}

// etcd returns the StatefulSet of a deployed etcd; its certificates' digest is on its pods.
func (p *Provisioner) etcd(certsDigest string, kept keptOfEtcd) (*appsv1.StatefulSet, error) {
	claim, err := p.claim(volumeData,
		p.VCluster.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet.Persistence.VolumeClaim)
	if err != nil {
		return nil, err
	}
	pod := corev1.PodSpec{
		Containers:                    []corev1.Container{p.etcdContainer(cmp.Or(kept.image, p.etcdImage()))},
		SecurityContext:               podSecurity(),
		AutomountServiceAccountToken:  new(bool),
		EnableServiceLinks:            new(bool),
		TerminationGracePeriodSeconds: seconds(etcdGrace),
		TopologySpreadConstraints:     p.spreadMembers(kept),
	}
	mountCerts(&pod, func(string) string { return p.Names().EtcdCerts() })
	set := p.statefulSet(p.Names().Etcd(), hosted.Etcd, p.Store().Replicas, pod, certsDigest)
	if claim == nil {
		set.Spec.Template.Spec.Volumes = append(set.Spec.Template.Spec.Volumes,
			corev1.Volume{
				Name:         volumeData,
				VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
			})
	} else {
		set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{*claim}
		keepTemplates(set, kept.claims)
	}
	joins := p.Store().Replicas > 1
	if joins {
		p.addProgram(&set.Spec.Template.Spec)
	}
	if err := p.customizeEtcd(set); err != nil {
		return nil, err
	}
	if joins {
		container := &set.Spec.Template.Spec.Containers[0]
		container.Command = append([]string{programPath, "store", "run-member", "--"}, container.Command...)
	}
	stamp(set)
	return set, nil
}

// addProgram gives a member Argosy's program, which becomes etcd once the others expect this member.
func (p *Provisioner) addProgram(pod *corev1.PodSpec) {
	pod.InitContainers = append(pod.InitContainers, p.installProgram())
	pod.Volumes = append(pod.Volumes, corev1.Volume{
		Name:         volumeProgram,
		VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
	pod.Containers[0].VolumeMounts = append(pod.Containers[0].VolumeMounts,
		corev1.VolumeMount{Name: volumeProgram, MountPath: programDir, ReadOnly: true})
}

// spreadMembers keeps two members from one host as long as another host has none: with one host lost, the others still
// have a majority. Members that are on one host already stay there.
func (p *Provisioner) spreadMembers(kept keptOfEtcd) []corev1.TopologySpreadConstraint {
	constraints := spread(p.Names().Selector(hosted.Etcd))
	if p.Store().Replicas > 1 && !kept.sharesHosts {
		constraints[0].WhenUnsatisfiable = corev1.DoNotSchedule
	}
	return constraints
}

// etcdGrace is how long a member may take to hand over its leadership, in seconds.
const etcdGrace = 10

func (p *Provisioner) etcdContainer(image string) corev1.Container {
	own := fmt.Sprintf("https://$(POD_NAME).%s.%s.svc", p.Names().Etcd(), p.Namespace)
	var members []string
	for i, host := range p.etcdHosts() {
		members = append(members, fmt.Sprintf("%s-%d=https://%s:%d", p.Names().Etcd(), i, host, etcdPeerPort))
	}
	container := p.container(etcdContainerName, append([]string{
		"--name=$(POD_NAME)",
		"--data-dir=" + dataDir + "/etcd",
		fmt.Sprintf("--advertise-client-urls=%s:%d", own, etcdClientPort),
		fmt.Sprintf("--initial-advertise-peer-urls=%s:%d", own, etcdPeerPort),
		"--initial-cluster=" + strings.Join(members, ","),
		"--initial-cluster-token=" + p.Namespace + "/" + p.Name,
		fmt.Sprintf("--listen-client-urls=https://0.0.0.0:%d", etcdClientPort),
		// It is on plain HTTP, and a probe of kubelet's would need it on the pod's address.
		fmt.Sprintf("--listen-metrics-urls=http://127.0.0.1:%d", etcdMetricsPort),
		fmt.Sprintf("--listen-peer-urls=https://0.0.0.0:%d", etcdPeerPort),
		"--client-cert-auth=true", "--cert-file=" + cert(certEtcdServer), "--key-file=" + key(certEtcdServer),
		"--trusted-ca-file=" + cert(certificates.EtcdCA),
		"--peer-client-cert-auth=true", "--peer-cert-file=" + cert(certEtcdPeer),
		"--peer-key-file=" + key(certEtcdPeer), "--peer-trusted-ca-file=" + cert(certificates.EtcdCA),
	}, slices.Concat(corruptionChecks(image), p.quota())...))
	container.Image = image
	container.Env = []corev1.EnvVar{
		{
			Name:      "POD_NAME",
			ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}},
		},
		{
			// read at each start, so that a member which comes without its data does not found a cluster again
			Name: store.InitialClusterState,
			ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: p.Names().Etcd()}, Key: clusterStateKey,
			}},
		},
	}
	container.Ports = []corev1.ContainerPort{
		{Name: "client", ContainerPort: etcdClientPort, Protocol: corev1.ProtocolTCP},
		{Name: "peer", ContainerPort: etcdPeerPort, Protocol: corev1.ProtocolTCP},
	}
	container.ReadinessProbe = memberProbe("l", 3, 5, 2)
	container.LivenessProbe = memberProbe("s", 9, 10, 8)
	container.StartupProbe = memberProbe("l", 3, 1, startupFailures)
	container.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	container.Resources = requests("50m", "128Mi")
	container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: volumeData, MountPath: dataDir})
	return container
}

// memberProbe reads a key through etcdctl, in the member's own container and with its certificate: with consistency "l"
// as the majority has it, with "s" from the member's own data. Other than the health of etcdctl's own, a read does not
// count the alarm NOSPACE, whose mending needs members that are ready. timeout and period are in seconds; each probe
// takes some 10 ms of a processor's time.
func memberProbe(consistency string, timeout, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{
			path.Join(binariesDir, etcdctl), fmt.Sprintf("--endpoints=https://127.0.0.1:%d", etcdClientPort),
			"--cacert=" + cert(certificates.EtcdCA), "--cert=" + cert(certEtcdServer), "--key=" + key(certEtcdServer),
			fmt.Sprintf("--command-timeout=%ds", timeout), "get",
			"--consistency=" + consistency, "--keys-only", "health",
		}}},
		PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: probeTimeout,
	}
}

// etcdctl is the client in etcd's images.
const etcdctl = "etcdctl"
