package controlplane

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/imageref"
	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/config"
)

// keptOfEtcd are the properties of an etcd that exists which its StatefulSet keeps, whatever the documents have. The
// zero value is for one that does not exist yet.
type keptOfEtcd struct {
	// image is that of members which run a newer etcd than the documents' image has; "" for the documents'.
	image string
	// claims are the templates of the members' volumes, which a StatefulSet does not change.
	claims []corev1.PersistentVolumeClaim
	// sharesHosts is set where members were placed on one host when nothing forbade it yet: the one that is replaced
	// could not go anywhere, since its volume may be bound to its host.
	sharesHosts bool
}

// keptOf reads the properties that an etcd keeps; held is nil where there is none.
func (p *Provisioner) keptOf(ctx context.Context, held *appsv1.StatefulSet) (keptOfEtcd, error) {
	if held == nil {
		return keptOfEtcd{}, nil
	}
	pods, err := p.Host.CoreV1().Pods(p.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(p.Names().Selector(hosted.Etcd)).String()})
	if err != nil {
		return keptOfEtcd{}, fmt.Errorf("listing etcd's pods: %w", apply.Classify(err))
	}
	return keptOfEtcd{
		image:       p.newerEtcd(held, pods.Items),
		claims:      held.Spec.VolumeClaimTemplates,
		sharesHosts: !spreadsStrictly(held) && shareHosts(pods.Items),
	}, nil
}

// etcdContainerName is the container of a member.
const etcdContainerName = "etcd"

// newerEtcd returns the image of members that run a newer minor version than the documents' image has; "" where they
// do not. etcd does not read the data of a newer minor version, so an upgrade that is taken back keeps the etcd that
// it brought: any version of Kubernetes works with it. An image that no member ever started from is not kept, since it
// may be the reason why the upgrade is taken back.
//
//	members' image     pods                                 result
//	not newer          –                                    the documents' image
//	newer              none, or rolled out once             the members' image
//	newer              one that started from that image     the members' image
//	newer              none that started from that image    the documents' image
func (p *Provisioner) newerEtcd(held *appsv1.StatefulSet, pods []corev1.Pod) string {
	runs := imageOf(held.Spec.Template.Spec, etcdContainerName)
	wanted := p.etcdImage()
	if !newerMinor(etcdVersion(runs), etcdVersion(wanted)) {
		return ""
	}
	status := held.Status
	if len(pods) == 0 || status.CurrentRevision != "" && status.CurrentRevision == status.UpdateRevision {
		return runs
	}
	for i := range pods {
		if imageOf(pods[i].Spec, etcdContainerName) == runs && started(pods[i].Status, etcdContainerName) {
			return runs
		}
	}
	return ""
}

func imageOf(pod corev1.PodSpec, name string) string {
	for _, container := range pod.Containers {
		if container.Name == name {
			return container.Image
		}
	}
	return ""
}

// started reports whether a container passed its startup probe.
func started(status corev1.PodStatus, name string) bool {
	return slices.ContainsFunc(status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.Name == name && (c.Ready || c.Started != nil && *c.Started)
	})
}

// etcdImage returns the image of a deployed etcd, as the documents have it.
func (p *Provisioner) etcdImage() string {
	if own := p.VCluster.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet.Image; own.Repository != "" {
		return p.ImageRef(own.Reference())
	}
	return p.ControlPlaneImage()
}

// etcdVersion returns the version of etcd in an image, by its tag: etcd's own ("3.6.16-0"), or that of Kubernetes, with
// which the control plane's image has the etcd of its row in package components. It is nil where the tag tells neither.
func etcdVersion(image string) *version.Version {
	if tagged, err := version.ParseSemantic(imageref.Tag(image)); err == nil && tagged.Major() == 3 {
		return tagged
	}
	kubernetes, err := version.ParseSemantic(config.VersionOfImage(image))
	if err != nil {
		return nil
	}
	minor := fmt.Sprintf("%d.%d", kubernetes.Major(), kubernetes.Minor())
	for _, row := range components.Rows() {
		if row.Minor == minor {
			return version.MustParseSemantic(row.Components[components.Etcd])
		}
	}
	return nil
}

// newerMinor reports whether a is of a later minor version than b; not where one of them is unknown.
func newerMinor(a, b *version.Version) bool {
	if a == nil || b == nil {
		return false
	}
	return a.Major() > b.Major() || a.Major() == b.Major() && a.Minor() > b.Minor()
}

// corruptionChecks returns the arguments by which a member compares its data with the others' before it serves, and
// tells watchers its revision every five seconds; both as kubeadm sets them. 3.5 has them as experiments, and an image
// of an unknown version is taken for a newer one.
func corruptionChecks(image string) []string {
	known := etcdVersion(image)
	if kubernetes, err := version.ParseSemantic(config.VersionOfImage(image)); known == nil && err == nil {
		oldest, _ := components.Supported()
		if first := version.MustParseGeneric(oldest); kubernetes.LessThan(first) {
			known = version.MajorMinor(3, 5)
		}
	}
	if known != nil && known.LessThan(version.MajorMinor(3, 6)) {
		return []string{
			"--experimental-initial-corrupt-check=true", "--experimental-watch-progress-notify-interval=5s",
		}
	}
	return []string{"--feature-gates=InitialCorruptCheck=true", "--watch-progress-notify-interval=5s"}
}

// spreadsStrictly reports whether a StatefulSet forbids two of its pods on one host while another one has none.
func spreadsStrictly(set *appsv1.StatefulSet) bool {
	return slices.ContainsFunc(set.Spec.Template.Spec.TopologySpreadConstraints,
		func(c corev1.TopologySpreadConstraint) bool { return c.WhenUnsatisfiable == corev1.DoNotSchedule })
}

// shareHosts reports whether two pods are on one host.
func shareHosts(pods []corev1.Pod) bool {
	seen := map[string]bool{}
	for _, pod := range pods {
		if host := pod.Spec.NodeName; host != "" {
			if seen[host] {
				return true
			}
			seen[host] = true
		}
	}
	return false
}

// compareEtcdImage refuses an image with an older minor version of etcd than the members run, where the documents name
// it. The control plane's own image is not refused: there the members' image stays.
func (p *Provisioner) compareEtcdImage(set *appsv1.StatefulSet, add adder) {
	if set == nil || p.Store().Kind != config.StoreEtcd {
		return
	}
	if p.VCluster.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet.Image.Repository == "" {
		return
	}
	runs, wanted := etcdVersion(imageOf(set.Spec.Template.Spec, etcdContainerName)), etcdVersion(p.etcdImage())
	if newerMinor(runs, wanted) {
		add("controlPlane.backingStore.etcd.deploy.statefulSet.image.tag",
			fmt.Sprintf("write an image of %d.%d or later", runs.Major(), runs.Minor()),
			"is of etcd %s, and the members run %s: etcd does not read the data of a later minor version",
			strings.TrimPrefix(wanted.String(), "v"), runs)
	}
}

// quota returns the argument that bounds a member's database, in proportion to its volume: a database beyond it raises
// the alarm NOSPACE, after which reads and the mending still work, while a volume that is full ends the member. Beside
// the database a volume holds a copy of it while it is defragmented, snapshots and the log. 8 GiB is the most that etcd
// recommends.
func (p *Provisioner) quota() []string {
	volume := p.VCluster.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet.Persistence.VolumeClaim
	size, err := resource.ParseQuantity(volume.Size)
	if !volume.On() || err != nil {
		return nil
	}
	return []string{fmt.Sprintf("--quota-backend-bytes=%d", min(size.Value()*quotaPercent/100, maxQuota))}
}

const (
	quotaPercent = 40
	maxQuota     = int64(8) << 30
)
