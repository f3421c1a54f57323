package controlplane

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/store"
)

// Components of Jobs.
const (
	componentBackup  = "backup"
	componentRestore = "restore"
)

// taskAnnotation says on a Job what it does, so that a run that meets an unfinished one knows whether it is its own.
const taskAnnotation = "argosy.dev/task"

// taskContainer is the one container of a Job that does its work.
const taskContainer = "argosy"

// Folders of a Job's pod.
const (
	backupsDir   = "/backups"
	pkiDir       = "/etc/argosy/pki"
	documentsDir = "/etc/argosy/documents"
)

const (
	volumeBackups   = "backups"
	volumePKI       = "pki"
	volumeDocuments = "documents"
)

// Bounds of a Job. A store of a gigabyte is read in a minute, and written through kine in ten.
const (
	taskDeadline = int64(time.Hour / time.Second)
	taskRetries  = int32(1)
	// taskKept is how long a Job that ended can be looked at.
	taskKept = int32(time.Hour / time.Second)
)

// task is work that Argosy's own program does in a pod of the cluster's namespace, where the volumes are and from where
// the keys need not leave.
type task struct {
	component string
	// key tells tasks apart: a run that finds an unfinished Job with its key waits for that one. An empty key is shared
	// by nothing; unfinished Jobs of the component are then removed first.
	key  string
	args []string
	// readsCluster mounts what a backup holds beside the store.
	readsCluster bool
	// store brings the store within reach.
	store bool
	// after has an SQLite database that is not there yet begin behind this revision.
	after int64
	// holding has the pod answer the cluster's clients.
	holding bool
}

// taskTime is in the names of Jobs.
const taskTime = "20060102-150405"

// job is the Job of a task.
func (p *Provisioner) job(t task, at time.Time) (*batchv1.Job, error) {
	pod, err := p.taskPod(t)
	if err != nil {
		return nil, err
	}
	// Services lead to the control plane's pods by their labels, so a pod that answers in its place needs the same.
	podLabels := p.names().labels(t.component)
	if t.holding {
		podLabels = p.names().labels(componentControlPlane)
	}
	deadline, retries, kept := taskDeadline, taskRetries, taskKept
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%s-%s", p.names(), t.component, at.UTC().Format(taskTime)), Namespace: p.namespace(),
			Labels: p.names().labels(t.component), Annotations: map[string]string{taskAnnotation: t.key},
		},
		Spec: batchv1.JobSpec{
			BackoffLimit: &retries, ActiveDeadlineSeconds: &deadline, TTLSecondsAfterFinished: &kept,
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: podLabels}, Spec: pod},
		},
	}, nil
}

func (p *Provisioner) taskPod(t task) (corev1.PodSpec, error) {
	container := p.program(taskContainer, t.args, corev1.VolumeMount{Name: volumeBackups, MountPath: backupsDir})
	pod := corev1.PodSpec{
		RestartPolicy:                corev1.RestartPolicyNever,
		Volumes:                      []corev1.Volume{claimed(volumeBackups, p.names().backups())},
		SecurityContext:              podSecurity(),
		ImagePullSecrets:             p.pullSecrets(),
		AutomountServiceAccountToken: new(bool),
		EnableServiceLinks:           new(bool),
	}
	if t.readsCluster {
		pod.Volumes = append(pod.Volumes, p.clusterVolumes()...)
		container.VolumeMounts = append(container.VolumeMounts,
			corev1.VolumeMount{Name: volumePKI, MountPath: pkiDir, ReadOnly: true},
			corev1.VolumeMount{Name: volumeDocuments, MountPath: documentsDir, ReadOnly: true})
	}
	if pairs := p.taskCerts(t); len(pairs) > 0 {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: volumeCerts, VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{DefaultMode: readableByGroup(), Sources: pairs},
		}})
		container.VolumeMounts = append(container.VolumeMounts,
			corev1.VolumeMount{Name: volumeCerts, MountPath: certsDir, ReadOnly: true})
	}
	if t.store && p.Cluster.Store().Kind != config.StoreEtcd {
		p.addKine(&pod, t.after)
		container.VolumeMounts = append(container.VolumeMounts,
			corev1.VolumeMount{Name: volumeKine, MountPath: kineDir})
	}
	pod.Containers = []corev1.Container{container}
	return pod, p.runLikeControlPlane(&pod)
}

// program is a container that runs Argosy's own program.
func (p *Provisioner) program(name string, args []string, mounts ...corev1.VolumeMount) corev1.Container {
	container := p.container(name, args)
	container.Image, container.Command = p.Image, nil
	container.Resources = requests("50m", "64Mi")
	container.VolumeMounts = mounts
	return container
}

// taskCerts are the certificates that a task shows to etcd, and to the cluster's clients.
func (p *Provisioner) taskCerts(t task) []corev1.VolumeProjection {
	var pairs []corev1.VolumeProjection
	if t.store && p.Cluster.Store().Kind == config.StoreEtcd {
		pairs = append(pairs, secretFiles(p.names().etcdCerts(), certEtcdClient+certExtension,
			certEtcdClient+keyExtension, authorityEtcd+certExtension))
	}
	if t.holding {
		pairs = append(pairs, secretFiles(p.names().certs(), certServing+certExtension, certServing+keyExtension))
	}
	return pairs
}

func claimed(volume, claim string) corev1.Volume {
	return corev1.Volume{Name: volume,
		VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}
}

// clusterVolumes are the cluster's keys and its documents.
func (p *Provisioner) clusterVolumes() []corev1.Volume {
	documents := corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: p.Cluster.Name},
		Items: []corev1.KeyToPath{
			{Key: config.VClusterDocument, Path: config.VClusterDocument},
			{Key: config.FleetDocument, Path: config.FleetDocument},
		}}
	return []corev1.Volume{
		{Name: volumePKI, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: p.names().pki(), DefaultMode: readableByGroup()}}},
		{Name: volumeDocuments, VolumeSource: corev1.VolumeSource{ConfigMap: &documents}},
	}
}

// addKine gives a Job's pod a kine of its own, as the control plane's pods have theirs. Two kines may work on one
// database; on SQLite they must be on one machine, which is where the volume is.
func (p *Provisioner) addKine(pod *corev1.PodSpec, after int64) {
	kine, always := p.kine(), corev1.ContainerRestartPolicyAlways
	kine.RestartPolicy = &always // a sidecar: the Job is done when its own program is
	if after > 0 {
		pod.InitContainers = append(pod.InitContainers, p.program("prepare",
			[]string{"store", "prepare", "--file=" + sqliteFile, fmt.Sprintf("--revision=%d", after)},
			corev1.VolumeMount{Name: volumeData, MountPath: dataDir}))
		kine.Args = append(kine.Args, store.PreparedKineArgs()...)
	}
	pod.InitContainers = append(pod.InitContainers, kine)
	data := corev1.Volume{Name: volumeData, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	if p.persists() {
		data = claimed(volumeData, p.names().data())
	}
	pod.Volumes = append(pod.Volumes, data)
	for _, name := range []string{volumeKine, volumeTemporary} {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: name,
			VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	}
}

// storeFlags tell Argosy's program where the store is.
func (p *Provisioner) storeFlags() []string {
	if p.Cluster.Store().Kind != config.StoreEtcd {
		return []string{"--endpoint=" + kineSocket}
	}
	var flags []string
	for _, host := range p.etcdHosts() {
		flags = append(flags, fmt.Sprintf("--endpoint=https://%s:%d", host, etcdClientPort))
	}
	return append(flags, "--cacert="+cert(authorityEtcd), "--cert="+cert(certEtcdClient), "--key="+key(certEtcdClient))
}

// runLikeControlPlane gives a pod the place, the user and the names of hosts that the document gives to the control
// plane's pods: it shares their volumes and speaks to their store.
func (p *Provisioner) runLikeControlPlane(pod *corev1.PodSpec) error {
	s := p.Cluster.VCluster.ControlPlane.StatefulSet
	pod.NodeSelector, pod.DNSPolicy = s.Scheduling.NodeSelector, corev1.DNSPolicy(s.DNSPolicy)
	sections := []struct{ from, to any }{
		{s.Scheduling.Tolerations, &pod.Tolerations}, {s.Security.PodSecurityContext, &pod.SecurityContext},
		{s.DNSConfig, &pod.DNSConfig}, {s.HostAliases, &pod.HostAliases},
	}
	for _, containers := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range containers {
			sections = append(sections, struct{ from, to any }{s.Security.ContainerSecurityContext,
				&containers[i].SecurityContext})
		}
	}
	for _, section := range sections {
		if err := over(section.from, section.to); err != nil {
			return errclass.Errorf(errclass.Configuration, "reading controlPlane.statefulSet: %w", err)
		}
	}
	return nil
}

// besideControlPlane puts a Job's pod onto the machine of the control plane's pod, where there is one: a volume that
// only one machine can have is there.
func (p *Provisioner) besideControlPlane(ctx context.Context, job *batchv1.Job) error {
	if !p.persists() {
		return nil
	}
	selector := p.names().selector(componentControlPlane)
	pods, err := p.Host.CoreV1().Pods(p.namespace()).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(selector).String()})
	if err != nil {
		return fmt.Errorf("listing the control plane's pods: %w", apply.Classify(err))
	}
	if len(pods.Items) == 0 {
		return nil
	}
	job.Spec.Template.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			LabelSelector: &metav1.LabelSelector{MatchLabels: selector}, TopologyKey: corev1.LabelHostname,
		}},
	}}
	return nil
}
