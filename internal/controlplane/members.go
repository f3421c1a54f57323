package controlplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// clusterState returns the value that members find: store.MemberFounds until all of several were ready once, from then
// on store.MemberJoins.
func (p *Provisioner) clusterState(ctx context.Context) (string, error) {
	name := p.Names().Etcd()
	held, err := p.Host.CoreV1().ConfigMaps(p.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return store.MemberFounds, nil
	case err != nil:
		return "", fmt.Errorf("reading ConfigMap %q: %w", name, apply.Classify(err))
	case held.Data[clusterStateKey] == store.MemberJoins:
		return store.MemberJoins, nil
	}
	return store.MemberFounds, nil
}

// errMemberLost ends the wait for members when one of them turns out to be without its data.
var errMemberLost = errclass.With(errclass.Permanent, errors.New("a member of etcd comes with an empty volume"))

// replacements is how often a run replaces a member: one that was replaced may have told nothing new yet.
const replacements = 3

// replaceLostMember replaces the member that comes with an empty volume, and is kept from starting until the others
// forget it and accept it anew; they go on serving. Nothing else is taken for a lost member: one whose volume is
// unreachable may come back with its data.
func (p *Provisioner) replaceLostMember(ctx context.Context, report func(string)) error {
	if p.Store().Replicas == 1 {
		return nil
	}
	names, err := p.lostMembers(ctx)
	switch {
	case err != nil || len(names) == 0:
		return err
	case len(names) > 1:
		return errclass.Errorf(errclass.Configuration, "members %s of etcd come with empty volumes, and the "+
			"others are no majority: submit deprovision with machines=keep and finalBackup=false, then restore with "+
			"replaceVolumes=true", strings.Join(names, ", "))
	}
	report(fmt.Sprintf("member %s of etcd comes with an empty volume: removing and adding it, while the others serve",
		names[0]))
	var done store.Maintained
	if _, err := p.RunJob(ctx, p.replaceJob(names[0]), &done, report); err != nil {
		return err
	}
	if _, err := p.set(ctx, p.etcdConfig(store.MemberJoins)); err != nil {
		return fmt.Errorf("having member %q of etcd join the others: %w", names[0], err)
	}
	return p.RemoveJobs(ctx, hosted.Maintenance)
}

// lostMembers returns the pods of etcd's members without their data.
func (p *Provisioner) lostMembers(ctx context.Context) ([]string, error) {
	pods, err := p.Host.CoreV1().Pods(p.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(p.Names().Selector(hosted.Etcd)).String()})
	if err != nil {
		return nil, fmt.Errorf("listing etcd's pods: %w", apply.Classify(err))
	}
	var names []string
	for i := range pods.Items {
		pod := &pods.Items[i]
		lastLog := func(current bool) string { return p.LastLogLine(ctx, pod.Name, etcdContainerName, current) }
		if slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
			return c.Name == etcdContainerName && !started(pod.Status, c.Name) && lost(c, lastLog)
		}) {
			names = append(names, pod.Name)
		}
	}
	return names, nil
}

// lost reports whether a member of an etcd that exists is without its data, by its last words. lastLog returns the last
// line of its container's log, of the current run or of the one before.
//
//	its container                  its last words                             result
//	runs                           it is kept, since it has no data           lost
//	runs again after it ended      the others know it; kept before            it may have been replaced since
//	runs again after it ended      the others know it; of a pod from before   lost
//	                               members were kept
//	ended, or waits                either                                     lost
//	any                            others, or none                            not lost
func lost(member corev1.ContainerStatus, lastLog func(current bool) string) bool {
	runs := member.State.Running != nil
	if runs && strings.Contains(lastLog(true), store.EmptyMember) {
		return true
	}
	ended, current := member.State.Terminated, true
	if ended == nil {
		ended, current = member.LastTerminationState.Terminated, member.State.Waiting != nil
	}
	if ended == nil {
		return false
	}
	words := lastLine(ended.Message) + "\n" + lastLog(current) // the message depends on the container's policy
	kept, refused := strings.Contains(words, store.EmptyMember), strings.Contains(words, store.LostMember)
	if runs {
		return refused && !kept
	}
	return refused || kept
}

// lastLine returns the last line of a text that is not blank.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndex(text, "\n")+1:]
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
