package controlplane

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/addons"
	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/pki"
)

// Validate checks all that can be checked before anything is touched: permissions, the Secrets that the documents name,
// and what may not change any more. The documents themselves were checked when they were read.
func (p *Provisioner) Validate(ctx context.Context, report func(string)) (string, error) {
	if !p.Cluster.Hosted() {
		return "", errclass.Errorf(errclass.Configuration, "cluster %q exists already, since argosy.yaml gives "+
			"cluster.kubeconfigSecret %q: there is nothing to provision; remove that key to have Argosy make the "+
			"control plane",
			p.Cluster.Name, p.Cluster.Fleet.Cluster.KubeconfigSecret)
	}
	report("asking the host cluster for permissions")
	if err := p.checkPermissions(ctx); err != nil {
		return "", err
	}
	if err := p.checkDataSource(ctx); err != nil {
		return "", err
	}
	if p.CheckSecrets != nil {
		report("reading the Secrets that the documents name")
		if err := p.CheckSecrets(ctx); err != nil {
			return "", err
		}
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
	if k == nil {
		return "the documents are valid; the control plane will be made", nil
	}
	return "the documents are valid; the control plane is there and will be brought to them", nil
}

// Health is what a look at the whole cluster showed.
type Health struct {
	Version string `json:"version"`
	// Addons by name: "ok", or what each waits for.
	Addons map[string]string `json:"addons"`
	// Machines says how many nodes there are and how many of them are Ready.
	Nodes, Ready int
	// CertificatesEnd is when the first leaf certificate ends.
	CertificatesEnd time.Time `json:"certificatesEnd"`
	waiting         []string
}

// String is what people read.
func (h Health) String() string {
	text := fmt.Sprintf("%s, %d of %d nodes Ready, certificates hold until %s", h.Version, h.Ready, h.Nodes,
		h.CertificatesEnd.Format(time.DateOnly))
	if len(h.waiting) > 0 {
		text += "\nwait for machines: " + strings.Join(h.waiting, ", ")
	}
	return text
}

// Verify looks at the cluster as its users will: the API server answers at the version wanted, every component works,
// and what runs in the cluster runs, as far as there are machines. All of it gets the fleet's controlPlane.timeout to
// come up.
func (p *Provisioner) Verify(ctx context.Context, report func(string)) (Health, error) {
	health, err := p.verify(ctx, report)
	if err != nil {
		return health, fmt.Errorf("verifying cluster %q: %w", p.Cluster.Name, err)
	}
	return health, nil
}

func (p *Provisioner) verify(ctx context.Context, report func(string)) (Health, error) {
	health := Health{Addons: map[string]string{}}
	cluster, wanted, err := p.wantedAddons(ctx, report)
	if err != nil {
		return health, err
	}
	version, err := cluster.client.Discovery().ServerVersion()
	if err != nil {
		return health, fmt.Errorf("asking the API server for its version: %w", apply.Classify(err))
	}
	health.Version = version.GitVersion
	if wanted := p.Cluster.KubernetesVersion(); health.Version != wanted {
		return health, errclass.Errorf(errclass.Permanent, "the API server runs %s, and the documents want %s; is "+
			"image %s what its tag says?", health.Version, wanted, p.Cluster.ControlPlaneImage())
	}
	if err := countNodes(ctx, cluster, &health); err != nil {
		return health, err
	}
	if health.CertificatesEnd, err = p.certificatesEnd(ctx); err != nil {
		return health, err
	}
	return health, p.wait(ctx, report, func(ctx context.Context) (string, error) {
		if why, err := p.notWorking(ctx, cluster.client); err != nil || why != "" {
			return why, err // addons can't work before
		}
		return notReady(ctx, cluster, wanted, &health)
	})
}

func countNodes(ctx context.Context, cluster *connection, health *Health) error {
	nodes, err := cluster.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
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

// certificatesEnd is when the first ends of the certificates that the control plane, its etcd and its administrator
// have.
func (p *Provisioner) certificatesEnd(ctx context.Context) (time.Time, error) {
	secrets := []string{p.names().certs(), p.Cluster.KubeconfigSecret()}
	if p.Cluster.Store().Kind == config.StoreEtcd {
		secrets = append(secrets, p.names().etcdCerts())
	}
	var first time.Time
	for _, name := range secrets {
		held, err := p.Host.CoreV1().Secrets(p.namespace()).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return time.Time{}, fmt.Errorf("reading Secret %q: %w", name, apply.Classify(err))
		}
		for file, content := range held.Data {
			cert := certificateIn(file, content)
			if cert == nil {
				continue
			}
			ends, err := pki.Expiry(cert)
			if err != nil {
				return time.Time{}, errclass.Errorf(errclass.Permanent, "reading %q of Secret %q: %w", file, name, err)
			}
			if first.IsZero() || ends.Before(first) {
				first = ends
			}
		}
	}
	return first, nil
}

// certificateIn is the certificate in a file of a Secret: the file itself, or a kubeconfig's; nil when it holds none.
func certificateIn(file string, content []byte) []byte {
	switch {
	case strings.HasSuffix(file, certExtension):
		return content
	case strings.HasSuffix(file, ".conf"), file == kubeconfigDataKey:
		pair, _ := readKubeconfig(content)
		return pair.Cert
	}
	return nil
}

// notReady says which addons do not work yet; those that only lack machines to run on do not count.
func notReady(ctx context.Context, cluster *connection, wanted []addons.Addon, health *Health) (string, error) {
	var missing []string
	health.waiting = nil
	for _, addon := range wanted {
		if !addon.Enabled {
			continue
		}
		state, err := addons.NotReady(ctx, cluster.client, addon)
		if err != nil {
			return "", err
		}
		health.Addons[addon.Name] = "ok"
		switch {
		case state.Why == "":
		case state.NeedsMachines:
			health.Addons[addon.Name] = state.Why
			health.waiting = append(health.waiting, addon.Name)
		default:
			health.Addons[addon.Name] = state.Why
			missing = append(missing, state.Why)
		}
	}
	return strings.Join(missing, "; "), nil
}
