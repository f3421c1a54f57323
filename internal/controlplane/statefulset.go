package controlplane

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"argosy.dev/argosy/internal/addons"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
)

// podUser is the user and group that every container runs as.
const podUser = 65532

// controlPlane returns the StatefulSet of the control plane. digest is of everything that its pods read at their start.
func (p *Provisioner) controlPlane(digest string) (*appsv1.StatefulSet, error) {
	pod := corev1.PodSpec{
		Containers:                    p.containers(),
		Volumes:                       p.volumes(),
		SecurityContext:               podSecurity(),
		AutomountServiceAccountToken:  new(bool),
		EnableServiceLinks:            new(bool),
		TerminationGracePeriodSeconds: seconds(controlPlaneGrace),
	}
	if p.needsProgram() {
		pod.InitContainers = []corev1.Container{p.installProgram()}
	}
	mountCerts(&pod, p.certsSecret)
	p.spreadPods(&pod)
	set := p.statefulSet(p.Names().ControlPlane(), hosted.ControlPlane, p.replicas(), pod, digest)
	if err := p.customize(set); err != nil {
		return nil, err
	}
	stamp(set)
	if p.upgraded != "" {
		set.Annotations[upgradedAnnotation] = p.upgraded
	}
	return set, nil
}

// containers returns the containers in the order in which kubelet starts them, one after another and without a pause:
// the store comes before the API server that needs it.
func (p *Provisioner) containers() []corev1.Container {
	var list []corev1.Container
	if p.RunsKine() {
		list = append(list, p.endsAfterAPIServer(p.kine()))
	}
	if p.konnectivity() {
		list = append(list, p.konnectivityServer())
	}
	if p.servesBundles() {
		list = append(list, p.bundleServer())
	}
	if p.followsEndpoint(p.endpoint) {
		list = append(list, p.endpointFollower())
	}
	return append(list, p.scheduler(), p.controllerManager(), p.apiServer())
}

// controlPlaneGrace bounds the end of a pod, in seconds: the API server's delay, the requests that it still answers,
// and the store, which goes last.
const controlPlaneGrace = 15

// spreadPods spreads replicas over hosts. With SQLite on a volume, the pod that takes over while another is replaced
// must run where the volume is.
func (p *Provisioner) spreadPods(pod *corev1.PodSpec) {
	selector := p.Names().Selector(hosted.ControlPlane)
	if p.Store().Kind != config.StoreSQLite {
		pod.TopologySpreadConstraints = spread(selector)
		return
	}
	pod.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			LabelSelector: &metav1.LabelSelector{MatchLabels: selector}, TopologyKey: corev1.LabelHostname,
		}},
	}}
}

func spread(selector map[string]string) []corev1.TopologySpreadConstraint {
	return []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector: &metav1.LabelSelector{MatchLabels: selector},
	}}
}

// statefulSet returns a StatefulSet of a pod. Pods start in parallel; a change replaces them one by one, the highest
// number first, each when the one before is ready.
func (p *Provisioner) statefulSet(name, component string, replicas int, pod corev1.PodSpec,
	digest string,
) *appsv1.StatefulSet {
	count := int32(replicas)
	pod.ImagePullSecrets = p.pullSecrets()
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.Namespace, Labels: p.Names().Labels(component)},
		Spec: appsv1.StatefulSetSpec{
			ServiceName:         name,
			Replicas:            &count,
			PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector:            &metav1.LabelSelector{MatchLabels: p.Names().Selector(component)},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      p.Names().Labels(component),
					Annotations: map[string]string{addons.ConfigAnnotation: digest},
				},
				Spec: pod,
			},
		},
	}
}

// pullSecrets returns the Secrets with the pods' logins at registries.
func (p *Provisioner) pullSecrets() []corev1.LocalObjectReference {
	var secrets []corev1.LocalObjectReference
	for _, secret := range p.VCluster.ControlPlane.Advanced.ServiceAccount.ImagePullSecrets {
		secrets = append(secrets, corev1.LocalObjectReference{Name: secret.Name})
	}
	return secrets
}

// stamp annotates a StatefulSet with a digest of its pod template, so that a change is noticed before it is applied.
func stamp(set *appsv1.StatefulSet) {
	text, err := json.Marshal(set.Spec.Template)
	if err != nil {
		panic(err) // our own types always encode
	}
	sum := sha256.Sum256(text)
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	set.Annotations[templateAnnotation] = hex.EncodeToString(sum[:8])
}

// volumes returns the volumes of the control plane's pod, without those with certificates.
func (p *Provisioner) volumes() []corev1.Volume {
	volumes := []corev1.Volume{
		{Name: volumeConfig, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: p.Names().Config()},
		}}},
	}
	for _, name := range []string{volumeKonnectivity, volumeKine, volumeTemporary} {
		volumes = append(volumes, corev1.Volume{
			Name:         name,
			VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
		})
	}
	if p.needsProgram() {
		volumes = append(volumes, corev1.Volume{
			Name:         volumeProgram,
			VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
		})
	}
	data := corev1.Volume{Name: volumeData, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	if p.Persists() {
		data = claimed(volumeData, p.Names().Data())
	}
	return append(volumes, data)
}

func secretFiles(secret string, files ...string) corev1.VolumeProjection {
	projection := &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}
	for _, file := range files {
		projection.Items = append(projection.Items, corev1.KeyToPath{Key: file, Path: file})
	}
	return corev1.VolumeProjection{Secret: projection}
}

// budget returns the PodDisruptionBudget that lets the host cluster's administrators drain nodes, one pod at a time. A
// pod that is not ready may go in any case, unless the documents say otherwise: one that crashes would hold up every
// drain, since it counts as the one that is away.
func (p *Provisioner) budget(name, component string) *policyv1.PodDisruptionBudget {
	one, unhealthy := intstr.FromInt(1), policyv1.AlwaysAllow
	if policy := p.VCluster.ControlPlane.Advanced.PodDisruptionBudget.UnhealthyPodEvictionPolicy; policy != "" {
		unhealthy = policyv1.UnhealthyPodEvictionPolicyType(policy)
	}
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.Namespace, Labels: p.Names().Labels(component)},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: &one, UnhealthyPodEvictionPolicy: &unhealthy,
			Selector: &metav1.LabelSelector{MatchLabels: p.Names().Selector(component)},
		},
	}
}

func podSecurity() *corev1.PodSecurityContext {
	user, yes, policy := int64(podUser), true, corev1.FSGroupChangeOnRootMismatch
	return &corev1.PodSecurityContext{
		RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, FSGroup: &user, FSGroupChangePolicy: &policy,
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// readableByGroup returns the mode of key files in a pod, whose group is the containers'.
func readableByGroup() *int32 {
	mode := int32(0o440)
	return &mode
}

func seconds(n int64) *int64 { return &n }
