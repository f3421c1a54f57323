package controlplane

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/addons"
	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// Validate checks all that can be checked before anything is touched: permissions, the Secrets that the documents name,
// and the settings that may not change any more. The documents themselves were checked when they were read. It returns
// a message for people.
func (p *Provisioner) Validate(ctx context.Context, report func(string)) (string, error) {
	if !p.Hosted() {
		return "", errclass.Errorf(errclass.Configuration, "cluster %q is provisioned by others, since "+
			"argosy.yaml gives cluster.kubeconfigSecret %q: remove that key to have Argosy make the control plane",
			p.Name, p.Fleet.Cluster.KubeconfigSecret)
	}
	report("asking the host cluster for permissions")
	if err := p.CheckPermissions(ctx); err != nil {
		return "", err
	}
	if err := p.CheckDataSource(ctx); err != nil {
		return "", err
	}
	if p.CheckSecrets != nil {
		report("reading the Secrets that the documents name")
		if err := p.CheckSecrets(ctx); err != nil {
			return "", err
		}
	}
	if err := p.CheckPods(ctx); err != nil {
		return "", err
	}
	if _, err := p.service(); err != nil {
		return "", err
	}
	if _, err := p.kubeletConfig(); err != nil {
		return "", err
	}
	k, previous, err := p.loadKeys(ctx)
	if err != nil {
		return "", err
	}
	if err := p.checkCompatible(ctx, previous); err != nil {
		return "", err
	}
	text := "the documents are valid; the control plane exists and will be brought to them"
	if k == nil {
		text = "the documents are valid; a control plane will be made"
	}
	return strings.Join(append([]string{text}, p.Remarks...), "\n"), nil
}

// Health is the state of the whole cluster, as Verify found it.
type Health struct {
	Version string `json:"version"`
	// Addons has for each addon "ok", or the reason why it does not work.
	Addons map[string]string `json:"addons"`
	// Nodes counts the nodes, and Ready those of them that are Ready.
	Nodes, Ready int
	// CertificatesEnd is when the first leaf certificate ends.
	CertificatesEnd time.Time `json:"certificatesEnd"`
	waiting         []string
}

// String returns the text for people.
func (h Health) String() string {
	text := fmt.Sprintf("%s, %d of %d nodes Ready, certificates hold until %s", h.Version, h.Ready, h.Nodes,
		h.CertificatesEnd.Format(time.DateOnly))
	if len(h.waiting) > 0 {
		text += "\nwait for machines: " + strings.Join(h.waiting, ", ")
	}
	return text
}

// Verify checks the cluster as its users see it: the API server answers at the documents' version, every component
// works, and so do the addons, as far as there are machines. All of it has the fleet's controlPlane.timeout to come up.
func (p *Provisioner) Verify(ctx context.Context, report func(string)) (Health, error) {
	health, err := p.verify(ctx, report)
	if err != nil {
		return health, fmt.Errorf("verifying cluster %q: %w", p.Name, err)
	}
	return health, nil
}

func (p *Provisioner) verify(ctx context.Context, report func(string)) (Health, error) {
	health := Health{Addons: map[string]string{}}
	cluster, wanted, err := p.wantedAddons(ctx, report)
	if err != nil {
		return health, err
	}
	version, err := cluster.Client.Discovery().ServerVersion()
	if err != nil {
		return health, fmt.Errorf("asking the API server for its version: %w", apply.Classify(err))
	}
	health.Version = version.GitVersion
	if wanted := p.KubernetesVersion(); health.Version != wanted {
		return health, errclass.Errorf(errclass.Permanent, "the API server runs %s, and the documents want "+
			"%s: check that image %s holds the version of its tag", health.Version, wanted, p.ControlPlaneImage())
	}
	if err := countNodes(ctx, cluster, &health); err != nil {
		return health, err
	}
	if health.CertificatesEnd, err = p.certificatesEnd(ctx); err != nil {
		return health, err
	}
	return health, p.Wait(ctx, "cluster not working", report, func(ctx context.Context) (string, error) {
		if reason, err := p.notWorking(ctx, cluster.Client); err != nil || reason != "" {
			return reason, err // addons can't work before
		}
		return notReady(ctx, cluster, wanted, &health)
	})
}

func countNodes(ctx context.Context, cluster *hosted.Connection, health *Health) error {
	nodes, err := cluster.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing the cluster's nodes: %w", apply.Classify(err))
	}
	health.Nodes = len(nodes.Items)
	for _, node := range nodes.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == "Ready" && condition.Status == "True" {
				health.Ready++
			}
		}
	}
	return nil
}

// certificatesEnd returns the first end among the certificates of the control plane, its etcd and its administrator.
func (p *Provisioner) certificatesEnd(ctx context.Context) (time.Time, error) {
	secrets := []string{p.Names().Certs(), p.KubeconfigSecret()}
	if p.Store().Kind == config.StoreEtcd {
		secrets = append(secrets, p.Names().EtcdCerts())
	}
	var first time.Time
	for _, name := range secrets {
		held, err := p.Host.CoreV1().Secrets(p.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return time.Time{}, fmt.Errorf("reading Secret %q: %w", name, apply.Classify(err))
		}
		ends, err := certificates.Earliest(held.Data)
		if err != nil {
			return time.Time{}, fmt.Errorf("reading Secret %q: %w", name, err)
		}
		if !ends.IsZero() && (first.IsZero() || ends.Before(first)) {
			first = ends
		}
	}
	return first, nil
}

// notReady returns the addons that do not work yet; those that only lack machines to run on do not count.
func notReady(ctx context.Context, cluster *hosted.Connection, wanted []addons.Addon, health *Health) (string, error) {
	var missing []string
	health.waiting = nil
	for _, addon := range wanted {
		if !addon.Enabled {
			continue
		}
		state, err := addons.NotReady(ctx, cluster.Client, addon)
		if err != nil {
			return "", err
		}
		health.Addons[addon.Name] = "ok"
		switch {
		case state.Reason == "":
		case state.NeedsMachines:
			health.Addons[addon.Name] = state.Reason
			health.waiting = append(health.waiting, addon.Name)
		default:
			health.Addons[addon.Name] = state.Reason
			missing = append(missing, state.Reason)
		}
	}
	return strings.Join(missing, "; "), nil
}
