package controlplane

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

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/errclass"
)

// What becomes of machines that are joined when a cluster is deprovisioned.
const (
	// RefuseMachines keeps the cluster as long as it has machines.
	RefuseMachines = "refuse"
	// ResetMachines makes them clean first.
	ResetMachines = "reset"
	// KeepMachines leaves them as they are: their pods run on, and their kubelets wait for the control plane that a
	// restore brings back.
	KeepMachines = "keep"
)

// Joined is what there is to know of a cluster's machines before it goes.
type Joined struct {
	// Machines of argosy.yaml that are nodes of the cluster; when the cluster does not answer, all.
	Machines []string
	// Nodes that are no machine of argosy.yaml.
	Strangers []string
	// Silent says that the cluster does not answer, and why.
	Silent string
}

// String is one line for people.
func (j Joined) String() string {
	switch {
	case j.Silent != "" && len(j.Machines) > 0:
		return fmt.Sprintf("the cluster does not answer (%s); machines of argosy.yaml: %s", j.Silent,
			strings.Join(j.Machines, ", "))
	case j.Silent != "":
		return fmt.Sprintf("the cluster does not answer (%s)", j.Silent)
	case len(j.Machines)+len(j.Strangers) == 0:
		return "no machine is joined"
	}
	return "joined: " + strings.Join(append(slices.Clone(j.Machines), j.Strangers...), ", ")
}

// CheckDeprovision says which machines must be reset before the cluster may go. It is an error when it may not go.
//
//	the cluster         machines=refuse   machines=reset                          machines=keep
//	has no machine      goes              goes                                    goes
//	has machines        refused           they are reset, then it goes            goes
//	  not in the fleet  refused           refused: nobody knows the way to them   goes
//	does not answer     refused           refused                                 goes
//
// Whatever becomes of machines, a final backup needs the cluster's keys, and machines that are kept need an archive.
// With force, a cluster that does not answer goes all the same (all machines of argosy.yaml are reset when that is
// asked for), and nodes that are not in the fleet are left as they are. Machines that are known to be joined are left
// only when that is asked for.
func (p *Provisioner) CheckDeprovision(ctx context.Context, o DeprovisionOptions, report func(string)) (Joined, error) {
	joined, err := p.checkDeprovision(ctx, o, report)
	if err != nil {
		return joined, fmt.Errorf("checking whether cluster %q may go: %w", p.Cluster.Name, err)
	}
	return joined, nil
}

func (p *Provisioner) checkDeprovision(ctx context.Context, o DeprovisionOptions, report func(string)) (Joined, error) {
	if err := p.checkHosted(); err != nil {
		return Joined{}, err
	}
	going, err := p.going(ctx)
	if err != nil || going {
		return Joined{}, err
	}
	if err := p.checkGoodbye(ctx, o); err != nil {
		return Joined{}, err
	}
	joined, err := p.joined(ctx, report)
	if err != nil {
		return joined, err
	}
	return joined, errclass.With(errclass.Configuration, joined.refusal(o))
}

// checkGoodbye refuses what would leave nothing to come back from, and a final backup that can't be made.
func (p *Provisioner) checkGoodbye(ctx context.Context, o DeprovisionOptions) error {
	if o.Machines == KeepMachines && !o.FinalBackup && !o.KeepVolumes {
		return errclass.With(errclass.Configuration, errors.New("machines=keep has machines wait for a restore, and "+
			"finalBackup=false with keepVolumes=false leaves no archive to restore from: give one of them up"))
	}
	if !o.FinalBackup {
		return nil
	}
	_, err := p.Host.CoreV1().Secrets(p.namespace()).Get(ctx, p.names().pki(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return errclass.Errorf(errclass.Configuration, "the cluster's keys (Secret %q) are gone, and an archive "+
			"without keys can't be restored: submit again with finalBackup=false, and restore from an earlier archive",
			p.names().pki())
	}
	if err != nil {
		return fmt.Errorf("reading Secret %q: %w", p.names().pki(), apply.Classify(err))
	}
	return nil
}

func (j Joined) refusal(o DeprovisionOptions) error {
	switch {
	case o.Machines == KeepMachines:
		return nil
	case j.Silent != "" && !o.Force:
		return fmt.Errorf("its API server does not answer, so nobody knows whether machines are joined: %s; repair "+
			"it, submit again with machines=keep to restore it afterwards, or with force=true", j.Silent)
	case j.Silent != "":
		return nil
	case o.Machines == RefuseMachines && len(j.Machines)+len(j.Strangers) > 0:
		return fmt.Errorf("machines are %s; submit again with machines=reset to have them made clean, with "+
			"machines=keep to have them wait for a restore, or take them out of the cluster first", j)
	case len(j.Strangers) > 0 && !o.Force:
		return fmt.Errorf("nodes that are no machines of argosy.yaml can't be reset: %s; add them, take them out of "+
			"the cluster, or submit again with force=true, which leaves them as they are",
			strings.Join(j.Strangers, ", "))
	}
	return nil
}

// going says whether the cluster may go without a question: it was asked already, or there is none.
func (p *Provisioner) going(ctx context.Context) (bool, error) {
	_, err := p.Host.AppsV1().StatefulSets(p.namespace()).Get(ctx, p.names().controlPlane(), metav1.GetOptions{})
	if err == nil {
		return false, nil
	}
	if !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("reading StatefulSet %q: %w", p.names().controlPlane(), apply.Classify(err))
	}
	pki, err := p.Host.CoreV1().Secrets(p.namespace()).Get(ctx, p.names().pki(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading Secret %q: %w", p.names().pki(), apply.Classify(err))
	}
	_, noted := pki.Annotations[deprovisionAnnotation]
	return noted, nil
}

// How long a cluster may take to say which nodes it has.
const (
	askPatience = 20 * time.Second
	askTimeout  = 8 * time.Second
)

// joined asks the cluster for its nodes.
func (p *Provisioner) joined(ctx context.Context, report func(string)) (Joined, error) {
	report("asking the cluster for its nodes")
	restConfig, err := p.restConfig(ctx)
	if err != nil && !apierrors.IsNotFound(err) {
		return Joined{}, err
	}
	if err != nil {
		return p.silent(err), nil
	}
	restConfig.Timeout = askTimeout
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return Joined{}, errclass.Errorf(errclass.Permanent, "making a client for %s: %w", restConfig.Host, err)
	}
	deadline := time.Now().Add(askPatience)
	for {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		switch {
		case err == nil:
			return p.joinedOf(nodes.Items), nil
		case ctx.Err() != nil:
			return Joined{}, errclass.With(errclass.Cancelled, context.Cause(ctx))
		case time.Now().After(deadline):
			return p.silent(err), nil
		}
		report(fmt.Sprintf("the cluster does not answer yet: %v", err))
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// silent is all that is known of a cluster that does not answer: any machine of the fleet may be joined.
func (p *Provisioner) silent(why error) Joined {
	joined := Joined{Silent: why.Error()}
	for _, machine := range p.Cluster.Fleet.Machines {
		joined.Machines = append(joined.Machines, machine.Name)
	}
	return joined
}

// joinedOf tells nodes that are machines of the fleet, by their names, from others.
func (p *Provisioner) joinedOf(nodes []corev1.Node) Joined {
	var joined Joined
	byNode := map[string]string{}
	for _, machine := range p.Cluster.Fleet.Machines {
		byNode[machine.NodeName] = machine.Name
	}
	for _, node := range nodes {
		if machine, known := byNode[node.Name]; known {
			joined.Machines = append(joined.Machines, machine)
		} else {
			joined.Strangers = append(joined.Strangers, node.Name)
		}
	}
	return joined
}
