package controlplane

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// clusterStateKey is the key of ConfigMap <cluster>-etcd with the value of store.InitialClusterState.
const clusterStateKey = "initialClusterState"

// etcdConfig returns the ConfigMap that members read at their start.
func (p *Provisioner) etcdConfig(state string) *corev1.ConfigMap {
	files := configMap(p.Namespace, p.Names().Etcd(), clusterStateKey, state)
	files.Labels = p.Names().Labels(hosted.Etcd)
	return files
}

// clusterState returns the value that members find: store.MemberAdded while one of them is being replaced, else
// store.MemberFounds.
func (p *Provisioner) clusterState(ctx context.Context) (string, error) {
	name := p.Names().Etcd()
	held, err := p.Host.CoreV1().ConfigMaps(p.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return store.MemberFounds, nil
	case err != nil:
		return "", fmt.Errorf("reading ConfigMap %q: %w", name, apply.Classify(err))
	case held.Data[clusterStateKey] == store.MemberAdded:
		return store.MemberAdded, nil
	}
	return store.MemberFounds, nil
}

// replaceLostMember replaces the member that comes with an empty volume: the others refuse it, since they know it as
// one that holds their log. They forget it and accept it anew, and go on serving. It reports whether there was one.
// Nothing else is taken for a lost member: one whose volume is unreachable may come back with its data.
func (p *Provisioner) replaceLostMember(ctx context.Context, report func(string)) (bool, error) {
	if p.Store().Replicas == 1 {
		return false, nil
	}
	lost, err := p.lostMembers(ctx)
	switch {
	case err != nil || len(lost) == 0:
		return false, err
	case len(lost) > 1:
		return false, errclass.Errorf(errclass.Configuration, "members %s of etcd come with empty volumes, and the "+
			"others are no majority: submit deprovision with machines=keep and finalBackup=false, then restore with "+
			"replaceVolumes=true", strings.Join(lost, ", "))
	}
	report(fmt.Sprintf("member %s of etcd comes with an empty volume: removing and adding it, while the others serve",
		lost[0]))
	var done store.Maintained
	if _, err := p.RunJob(ctx, p.replaceJob(lost[0]), &done, report); err != nil {
		return false, err
	}
	if _, err := p.set(ctx, p.etcdConfig(store.MemberAdded)); err != nil {
		return true, fmt.Errorf("having member %q of etcd join the others: %w", lost[0], err)
	}
	return true, p.RemoveJobs(ctx, hosted.Maintenance)
}

// lostMembers returns the pods of etcd whose last words are that the others know them as members with data.
func (p *Provisioner) lostMembers(ctx context.Context) ([]string, error) {
	pods, err := p.Host.CoreV1().Pods(p.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(p.Names().Selector(hosted.Etcd)).String()})
	if err != nil {
		return nil, fmt.Errorf("listing etcd's pods: %w", apply.Classify(err))
	}
	var lost []string
	for i := range pods.Items {
		pod := &pods.Items[i]
		if !started(pod.Status, etcdContainerName) && p.refused(ctx, pod) {
			lost = append(lost, pod.Name)
		}
	}
	return lost, nil
}

// refused reports whether a member ended since the others know it as one that holds their log. Its last words are in
// its status, by the policy of its container; those of a pod from before that had it are in its log.
func (p *Provisioner) refused(ctx context.Context, pod *corev1.Pod) bool {
	for _, status := range pod.Status.ContainerStatuses {
		ended, current := status.State.Terminated, true
		if ended == nil {
			ended, current = status.LastTerminationState.Terminated, status.State.Waiting != nil
		}
		if status.Name != etcdContainerName || ended == nil {
			continue
		}
		return strings.Contains(ended.Message, store.LostMember) ||
			strings.Contains(p.LastLogLine(ctx, pod.Name, status.Name, current), store.LostMember)
	}
	return false
}

// replaceJob replaces a member of etcd.
func (p *Provisioner) replaceJob(name string) Job {
	host := fmt.Sprintf("https://%s.%s.%s.svc", name, p.Names().Etcd(), p.Namespace)
	return Job{
		Component: hosted.Maintenance, Key: "replace " + name, Store: true,
		Args: append([]string{
			"store", "replace-member", "--member=" + name, fmt.Sprintf("--client-url=%s:%d", host, etcdClientPort),
			fmt.Sprintf("--peer-url=%s:%d", host, etcdPeerPort),
		}, p.StoreFlags()...),
	}
}

// writeCheck is the name of a ConfigMap that is created and deleted at once.
const writeCheck = "argosy-write-check"

// outOfSpace is etcd's error for writes under the alarm NOSPACE.
const outOfSpace = "database space exceeded"

// mendSpace has an etcd that is out of space take writes again. It answers all reads, so that its API server is ready
// and nothing changes any more: only a write shows it. Other errors of that write are not the store's.
func (p *Provisioner) mendSpace(ctx context.Context, client kubernetes.Interface, report func(string)) error {
	if p.Store().Kind != config.StoreEtcd {
		return nil
	}
	if err := write(ctx, client); err == nil || !strings.Contains(err.Error(), outOfSpace) {
		return nil
	}
	report("etcd is out of space (alarm NOSPACE) and takes no writes: mending it")
	var done store.Maintained
	if _, err := p.RunJob(ctx, p.maintainJob(), &done, report); err != nil {
		return err
	}
	report(done.String())
	if err := p.RemoveJobs(ctx, hosted.Maintenance); err != nil {
		return err
	}
	return write(ctx, client)
}

// write creates a ConfigMap and deletes it.
func write(ctx context.Context, client kubernetes.Interface) error {
	configs := client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	err := configs.Delete(ctx, writeCheck, metav1.DeleteOptions{}) // of a run that was interrupted
	if err == nil || apierrors.IsNotFound(err) {
		_, err = configs.Create(ctx, configMap(metav1.NamespaceSystem, writeCheck, "by", apply.Manager),
			metav1.CreateOptions{FieldManager: apply.Manager})
	}
	if err == nil {
		err = configs.Delete(ctx, writeCheck, metav1.DeleteOptions{})
	}
	if err != nil {
		return fmt.Errorf("writing to the cluster's store: %w", apply.Classify(err))
	}
	return nil
}

// maintainJob returns space that etcd does not need.
func (p *Provisioner) maintainJob() Job {
	return Job{
		Component: hosted.Maintenance, Key: "maintain", Store: true,
		Args: append([]string{"store", "maintain"}, p.StoreFlags()...),
	}
}
