package deprovision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/errclass"
)

// Choices for the machines that are joined when a cluster is deprovisioned.
const (
	// RefuseMachines keeps the cluster as long as it has machines.
	RefuseMachines = "refuse"
	// ResetMachines resets them first.
	ResetMachines = "reset"
	// KeepMachines leaves them as they are: their pods run on, and their kubelets wait for the control plane that a
	// restore brings back.
	KeepMachines = "keep"
)

// Joined lists a cluster's machines before it is removed.
type Joined struct {
	// Machines of argosy.yaml that are nodes of the cluster; when the cluster does not answer, all.
	Machines []string
	// Unlisted are nodes that are no machine of argosy.yaml.
	Unlisted []string
	// Silent is the reason why the cluster does not answer; "" when it does.
	Silent string
}

// String returns one line for people.
func (j Joined) String() string {
	switch {
	case j.Silent != "" && len(j.Machines) > 0:
		return fmt.Sprintf("the cluster does not answer (%s); machines of argosy.yaml: %s", j.Silent,
			strings.Join(j.Machines, ", "))
	case j.Silent != "":
		return fmt.Sprintf("the cluster does not answer (%s)", j.Silent)
	case len(j.Machines)+len(j.Unlisted) == 0:
		return "no machine is joined"
	}
	return "joined: " + strings.Join(append(slices.Clone(j.Machines), j.Unlisted...), ", ")
}

// Check returns the machines that must be reset before the cluster may be removed. It is an error when it may not be.
//
//	the cluster          machines=refuse   machines=reset                            machines=keep
//	has no machine       removed           removed                                   removed
//	has machines         refused           they are reset, then it is removed        removed
//	  not in argosy.yaml refused           refused: their address is unknown         removed
//	does not answer      refused           refused                                   removed
//
// With any choice, a final backup needs the cluster's keys, and machines that are kept need an archive.
// With force, a cluster that does not answer is removed all the same (with machines=reset, all machines of argosy.yaml
// are reset), and nodes that are not in argosy.yaml are left as they are. Machines that are known to be joined are
// left only with machines=keep.
func (d *Deprovisioner) Check(ctx context.Context, o Options, report func(string)) (Joined, error) {
	joined, err := d.check(ctx, o, report)
	if err != nil {
		return joined, fmt.Errorf("checking whether cluster %q may be removed: %w", d.Name, err)
	}
	return joined, nil
}

func (d *Deprovisioner) check(ctx context.Context, o Options, report func(string)) (Joined, error) {
	if err := d.CheckHosted(); err != nil {
		return Joined{}, err
	}
	begun, err := d.begun(ctx)
	if err != nil || begun {
		return Joined{}, err
	}
	if err := d.checkRestorable(ctx, o); err != nil {
		return Joined{}, err
	}
	joined, err := d.joined(ctx, report)
	if err != nil {
		return joined, err
	}
	return joined, errclass.With(errclass.Configuration, joined.refusal(o))
}

// checkRestorable refuses options that leave machines waiting for a restore without an archive, and a final backup that
// can't be made.
func (d *Deprovisioner) checkRestorable(ctx context.Context, o Options) error {
	if o.Machines == KeepMachines && !o.FinalBackup && !o.KeepVolumes {
		return errclass.With(errclass.Configuration, errors.New("machines=keep has machines wait for a restore, and "+
			"finalBackup=false with keepVolumes=false leaves no archive to restore from: change one of them"))
	}
	if !o.FinalBackup {
		return nil
	}
	_, err := d.Host.CoreV1().Secrets(d.Namespace).Get(ctx, d.Names().PKI(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return errclass.Errorf(errclass.Configuration, "the cluster's keys (Secret %q) are gone, and an archive "+
			"without keys can't be restored: submit again with finalBackup=false, and restore from an earlier archive",
			d.Names().PKI())
	}
	if err != nil {
		return fmt.Errorf("reading Secret %q: %w", d.Names().PKI(), apply.Classify(err))
	}
	return nil
}

func (j Joined) refusal(o Options) error {
	switch {
	case o.Machines == KeepMachines:
		return nil
	case j.Silent != "" && !o.Force:
		return fmt.Errorf("asking the API server for joined machines: it does not answer: %s; repair it, submit "+
			"again with machines=keep to restore it afterwards, or with force=true", j.Silent)
	case j.Silent != "":
		return nil
	case o.Machines == RefuseMachines && len(j.Machines)+len(j.Unlisted) > 0:
		return fmt.Errorf("machines are %s; submit again with machines=reset to have them reset, with machines=keep "+
			"to have them wait for a restore, or remove them from the cluster first", j)
	case len(j.Unlisted) > 0 && !o.Force:
		return fmt.Errorf("nodes that are no machines of argosy.yaml can't be reset: %s; add them, remove them from "+
			"the cluster, or submit again with force=true, which leaves them as they are",
			strings.Join(j.Unlisted, ", "))
	}
	return nil
}

// begun reports whether the cluster may be removed without a question: an earlier run asked, or there is no cluster.
func (d *Deprovisioner) begun(ctx context.Context) (bool, error) {
	_, err := d.Host.AppsV1().StatefulSets(d.Namespace).Get(ctx, d.Names().ControlPlane(), metav1.GetOptions{})
	if err == nil {
		return false, nil
	}
	if !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("reading StatefulSet %q: %w", d.Names().ControlPlane(), apply.Classify(err))
	}
	pki, err := d.Host.CoreV1().Secrets(d.Namespace).Get(ctx, d.Names().PKI(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading Secret %q: %w", d.Names().PKI(), apply.Classify(err))
	}
	_, noted := pki.Annotations[removalAnnotation]
	return noted, nil
}

// Bounds of asking a cluster for its nodes: all attempts together, and each one.
const (
	askLimit   = 20 * time.Second
	askTimeout = 8 * time.Second
)

// joined asks the cluster for its nodes.
func (d *Deprovisioner) joined(ctx context.Context, report func(string)) (Joined, error) {
	report("asking the cluster for its nodes")
	restConfig, err := d.RESTConfig(ctx)
	if err != nil && !apierrors.IsNotFound(err) {
		return Joined{}, err
	}
	if err != nil {
		return d.silent(err), nil
	}
	restConfig.Timeout = askTimeout
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return Joined{}, errclass.Errorf(errclass.Permanent, "making a client for %q: %w", restConfig.Host, err)
	}
	deadline := time.Now().Add(askLimit)
	for {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		switch {
		case err == nil:
			return d.sortNodes(nodes.Items), nil
		case ctx.Err() != nil:
			return Joined{}, errclass.With(errclass.Cancelled, context.Cause(ctx))
		case time.Now().After(deadline):
			return d.silent(err), nil
		}
		report(fmt.Sprintf("the cluster does not answer yet: %v", err))
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// silent returns the machines of a cluster that does not answer: any machine of argosy.yaml may be joined.
func (d *Deprovisioner) silent(reason error) Joined {
	joined := Joined{Silent: reason.Error()}
	for _, machine := range d.Fleet.Machines {
		joined.Machines = append(joined.Machines, machine.Name)
	}
	return joined
}

// sortNodes tells nodes that are machines of argosy.yaml, by their names, from others.
func (d *Deprovisioner) sortNodes(nodes []corev1.Node) Joined {
	var joined Joined
	byNode := map[string]string{}
	for _, machine := range d.Fleet.Machines {
		byNode[machine.NodeName] = machine.Name
	}
	for _, node := range nodes {
		if machine, known := byNode[node.Name]; known {
			joined.Machines = append(joined.Machines, machine)
		} else {
			joined.Unlisted = append(joined.Unlisted, node.Name)
		}
	}
	return joined
}
