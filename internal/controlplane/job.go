package controlplane

import (
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// JobAnnotation is on a Job and holds the key of its Job, so that a run which meets an unfinished one knows whether it
// is its own.
const JobAnnotation = "argosy.dev/task"

// JobContainer is the container of a Job's pod that runs Argosy's program.
const JobContainer = "argosy"

// Folders of a Job's pod.
const (
	BackupsDir   = "/backups"
	PKIDir       = "/etc/argosy/pki"
	DocumentsDir = "/etc/argosy/documents"
	identityDir  = "/etc/argosy/identity"
)

const (
	volumeBackups   = "backups"
	volumePKI       = "pki"
	volumeDocuments = "documents"
	volumeIdentity  = "identity"
)

// Bounds of a Job, in seconds. A store of a gigabyte is read in a minute, and written through kine in ten.
const (
	jobDeadline = int64(time.Hour / time.Second)
	jobRetries  = int32(1)
	// jobKept is how long a Job that ended can be inspected.
	jobKept = int32(time.Hour / time.Second)
)

// Job describes work that Argosy's own program does in a pod of the cluster's namespace, where the volumes are and from
// where the keys need not leave.
type Job struct {
	Component string
	// Key tells Jobs apart: a run that finds an unfinished one with its key waits for that one. An empty key is shared
	// by nothing; unfinished Jobs of the component are then removed first.
	Key  string
	Args []string
	// Archives mounts the volume with archives.
	Archives bool
	// OpensArchive mounts the identity that opens an encrypted archive.
	OpensArchive bool
	// ReadsCluster mounts the keys and the documents, which a backup holds beside the store.
	ReadsCluster bool
	// Store makes the store reachable.
	Store bool
	// After has an SQLite database that does not exist yet begin behind this revision.
	After int64
	// Holding has the pod answer the cluster's clients in the API server's place; see store.ServeHolding.
	Holding bool
}

// jobTime is the layout of the time in the names of Jobs.
const jobTime = "20060102-150405"

// RenderJob returns the Job.
func (p *Provisioner) RenderJob(j Job) (*batchv1.Job, error) {
	pod, err := p.jobPod(j)
	if err != nil {
		return nil, err
	}
	// Services lead to the control plane's pods by their labels, so a pod that answers in its place needs the same.
	podLabels := p.Names().Labels(j.Component)
	if j.Holding {
		podLabels = p.Names().Labels(hosted.ControlPlane)
	}
	deadline, retries, kept := jobDeadline, jobRetries, jobKept
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{
			Name:      fmt.Sprintf("%s-%s-%s", p.Names(), j.Component, p.Now().UTC().Format(jobTime)),
			Namespace: p.Namespace, Labels: p.Names().Labels(j.Component),
			Annotations: map[string]string{JobAnnotation: j.Key},
		},
		Spec: batchv1.JobSpec{
			BackoffLimit: &retries, ActiveDeadlineSeconds: &deadline, TTLSecondsAfterFinished: &kept,
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: podLabels}, Spec: pod},
		},
	}, nil
}

// jobPod returns the pod of a Job.
func (p *Provisioner) jobPod(j Job) (corev1.PodSpec, error) {
	args := j.Args
	if j.Holding {
		args = append(slices.Clone(args), fmt.Sprintf("--answer=:%d", p.apiPort()), "--tls-cert="+cert(certServing),
			"--tls-key="+key(certServing))
	}
	identity := p.Fleet.ControlPlane.Archives.IdentitySecret
	if j.OpensArchive && identity != "" {
		args = append(slices.Clone(args), "--identity="+path.Join(identityDir, identityKey))
	}
	container := p.program(JobContainer, args)
	pod := corev1.PodSpec{
		RestartPolicy:                corev1.RestartPolicyNever,
		SecurityContext:              podSecurity(),
		ImagePullSecrets:             p.pullSecrets(),
		AutomountServiceAccountToken: new(bool),
		EnableServiceLinks:           new(bool),
	}
	if j.Archives {
		pod.Volumes = append(pod.Volumes, claimed(volumeBackups, p.Names().Backups()))
		container.VolumeMounts = append(container.VolumeMounts,
			corev1.VolumeMount{Name: volumeBackups, MountPath: BackupsDir})
	}
	if j.ReadsCluster {
		pod.Volumes = append(pod.Volumes, p.clusterVolumes()...)
		container.VolumeMounts = append(container.VolumeMounts,
			corev1.VolumeMount{Name: volumePKI, MountPath: PKIDir, ReadOnly: true},
			corev1.VolumeMount{Name: volumeDocuments, MountPath: DocumentsDir, ReadOnly: true})
	}
	if j.OpensArchive && identity != "" {
		pod.Volumes = append(pod.Volumes, identityVolume(identity))
		container.VolumeMounts = append(container.VolumeMounts,
			corev1.VolumeMount{Name: volumeIdentity, MountPath: identityDir, ReadOnly: true})
	}
	if pairs := p.jobCerts(j); len(pairs) > 0 {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: volumeCerts, VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{DefaultMode: readableByGroup(), Sources: pairs},
		}})
		container.VolumeMounts = append(container.VolumeMounts,
			corev1.VolumeMount{Name: volumeCerts, MountPath: certsDir, ReadOnly: true})
	}
	if j.Store && p.Store().Kind != config.StoreEtcd {
		p.addKine(&pod, j.After)
		container.VolumeMounts = append(container.VolumeMounts,
			corev1.VolumeMount{Name: volumeKine, MountPath: kineDir})
	}
	pod.Containers = []corev1.Container{container}
	return pod, p.runLikeControlPlane(&pod)
}

// program returns a container that runs Argosy's own program.
func (p *Provisioner) program(name string, args []string, mounts ...corev1.VolumeMount) corev1.Container {
	container := p.container(name, args)
	container.Image, container.Command = p.Image, nil
	container.Resources = requests("50m", "64Mi")
	container.VolumeMounts = mounts
	return container
}

// jobCerts returns the certificates that a Job shows to etcd, and to the cluster's clients.
func (p *Provisioner) jobCerts(j Job) []corev1.VolumeProjection {
	var pairs []corev1.VolumeProjection
	if j.Store && p.Store().Kind == config.StoreEtcd {
		pairs = append(pairs, secretFiles(p.Names().EtcdCerts(), certEtcdClient+certificates.CertExtension,
			certEtcdClient+certificates.KeyExtension, certificates.EtcdCA+certificates.CertExtension))
	}
	if j.Holding {
		pairs = append(pairs, secretFiles(p.Names().Certs(), certServing+certificates.CertExtension,
			certServing+certificates.KeyExtension))
	}
	return pairs
}

// claimed returns a volume that is a PersistentVolumeClaim.
func claimed(volume, claim string) corev1.Volume {
	return corev1.Volume{
		Name: volume,
		VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		},
	}
}

// identityKey is the key of the Secret with an age identity.
const identityKey = "identity"

// identityVolume returns a volume with an age identity. A pod whose Secret does not exist still starts, and tells what
// it lacks.
func identityVolume(secret string) corev1.Volume {
	optional := true
	return corev1.Volume{Name: volumeIdentity, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: secret, Optional: &optional, DefaultMode: readableByGroup(),
		Items: []corev1.KeyToPath{{Key: identityKey, Path: identityKey}},
	}}}
}

// clusterVolumes returns volumes with the cluster's keys and its documents.
func (p *Provisioner) clusterVolumes() []corev1.Volume {
	documents := corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: p.Name},
		Items: []corev1.KeyToPath{
			{Key: config.VClusterDocument, Path: config.VClusterDocument},
			{Key: config.FleetDocument, Path: config.FleetDocument},
		},
	}
	return []corev1.Volume{
		{Name: volumePKI, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: p.Names().PKI(), DefaultMode: readableByGroup(),
		}}},
		{Name: volumeDocuments, VolumeSource: corev1.VolumeSource{ConfigMap: &documents}},
	}
}

// addKine gives a Job's pod a kine of its own, as the control plane's pods have theirs. Two kines may use one database;
// with SQLite they must be on one machine, where the volume is.
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
	if p.Persists() {
		data = claimed(volumeData, p.Names().Data())
	}
	pod.Volumes = append(pod.Volumes, data)
	for _, name := range []string{volumeKine, volumeTemporary} {
		pod.Volumes = append(pod.Volumes, corev1.Volume{
			Name:         name,
			VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
		})
	}
}

// StoreFlags returns the flags by which Argosy's program reaches the store.
func (p *Provisioner) StoreFlags() []string {
	if p.Store().Kind != config.StoreEtcd {
		return []string{"--endpoint=" + kineSocket}
	}
	var flags []string
	for _, host := range p.etcdHosts() {
		flags = append(flags, fmt.Sprintf("--endpoint=https://%s:%d", host, etcdClientPort))
	}
	return append(flags, "--cacert="+cert(certificates.EtcdCA), "--cert="+cert(certEtcdClient),
		"--key="+key(certEtcdClient))
}

// runLikeControlPlane gives a pod the scheduling, the user and the host names that the document gives to the control
// plane's pods: it shares their volumes and their store.
func (p *Provisioner) runLikeControlPlane(pod *corev1.PodSpec) error {
	s := p.VCluster.ControlPlane.StatefulSet
	pod.NodeSelector, pod.DNSPolicy = s.Scheduling.NodeSelector, corev1.DNSPolicy(s.DNSPolicy)
	sections := []struct{ from, to any }{
		{s.Scheduling.Tolerations, &pod.Tolerations},
		{s.Security.PodSecurityContext, &pod.SecurityContext},
		{s.DNSConfig, &pod.DNSConfig},
		{s.HostAliases, &pod.HostAliases},
	}
	for _, containers := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range containers {
			sections = append(sections, struct{ from, to any }{
				s.Security.ContainerSecurityContext,
				&containers[i].SecurityContext,
			})
		}
	}
	for _, section := range sections {
		if err := over(section.from, section.to); err != nil {
			return errclass.Errorf(errclass.Configuration, "reading controlPlane.statefulSet: %w", err)
		}
	}
	return nil
}

// PlaceJob puts a Job's pod onto the machine of the control plane's pod, where there is one: that machine may be the
// only one that can mount the volume.
func (p *Provisioner) PlaceJob(ctx context.Context, job *batchv1.Job) error {
	if !p.Persists() {
		return nil
	}
	selector := p.Names().Selector(hosted.ControlPlane)
	pods, err := p.Host.CoreV1().Pods(p.Namespace).List(ctx,
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
