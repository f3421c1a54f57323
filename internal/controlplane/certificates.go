package controlplane

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/encryption"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// Files in Secret <cluster>-certs and Secret <cluster>-etcd-certs, and in the pods.
const (
	certServing       = "apiserver"
	certKubeletClient = "apiserver-kubelet-client"
	certEtcdClient    = "apiserver-etcd-client"
	certFrontProxy    = "front-proxy-client"
	confController    = "controller-manager.conf"
	confScheduler     = "scheduler.conf"
	confKonnectivity  = "konnectivity-server.conf"
	confEndpoint      = "endpoint.conf"
	certEtcdServer    = "server"
	certEtcdPeer      = "peer"
)

// kubeletClient is the user as whom the API server calls kubelets, for logs and exec.
const kubeletClient = "kube-apiserver-kubelet-client"

// administratorGroup is kubeadm's group of administrators.
const administratorGroup = "kubeadm:cluster-admins"

// loadKeys reads Secret <cluster>-pki; nil without an error when the cluster has none yet.
func (p *Provisioner) loadKeys(ctx context.Context) (*certificates.Keys, *config.Identity, error) {
	name := p.Names().PKI()
	held, err := p.Host.CoreV1().Secrets(p.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading Secret %q: %w", name, apply.Classify(err))
	}
	if err := p.checkNotRestoring(held); err != nil {
		return nil, nil, err
	}
	keys, err := certificates.ParseKeys(held.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("reading Secret %q, which holds the cluster's keys: %w; restore it from a backup",
			name, err)
	}
	identity := &config.Identity{}
	if err := json.Unmarshal([]byte(held.Annotations[hosted.IdentityAnnotation]), identity); err != nil {
		return nil, nil, errclass.Errorf(errclass.Permanent, "reading annotation %s of Secret %q: %w",
			hosted.IdentityAnnotation, name, err)
	}
	return keys, identity, nil
}

// ensureKeys makes the cluster's authorities once. Two runs at the same time do not make two: the Secret is created,
// never replaced, and the run that comes second reads the keys of the first.
func (p *Provisioner) ensureKeys(ctx context.Context) (*certificates.Keys, []apply.Change, error) {
	held, previous, err := p.loadKeys(ctx)
	if err != nil {
		return nil, nil, err
	}
	if held != nil {
		return held, nil, p.checkCompatible(ctx, previous)
	}
	if err := p.checkCompatible(ctx, nil); err != nil {
		return nil, nil, err
	}
	made, err := certificates.NewKeys(p.Now())
	if err != nil {
		return nil, nil, err
	}
	// The store of a new cluster is empty: nothing has to be written again.
	first, err := encryption.Initial(p.wantedEncryption())
	if err != nil {
		return nil, nil, err
	}
	if made.Encryption, err = first.Text(); err != nil {
		return nil, nil, err
	}
	identity, err := json.Marshal(p.Identity())
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the cluster's identity: %w", err)
	}
	secret := p.Secret(p.Names().PKI(), made.Data())
	secret.Annotations = map[string]string{hosted.IdentityAnnotation: string(identity)}
	_, err = p.Host.CoreV1().Secrets(p.Namespace).Create(ctx, secret,
		metav1.CreateOptions{FieldManager: apply.Manager})
	if apierrors.IsAlreadyExists(err) {
		return p.ensureKeys(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("creating Secret %q: %w", secret.Name, apply.Classify(err))
	}
	return made, []apply.Change{{
		Kind: "Secret", Namespace: secret.Namespace, Name: secret.Name,
		Outcome: apply.Created,
	}}, nil
}

// controlPlaneCerts returns all certificates that the control plane's pods hold, except authorities.
func (p *Provisioner) controlPlaneCerts(k *certificates.Keys, endpoint Endpoint) []certificates.Wanted {
	local := fmt.Sprintf("https://127.0.0.1:%d", p.apiPort())
	clusterClient := func(file, commonName string) certificates.Wanted {
		return certificates.Wanted{File: file, By: k.Cluster, Leaf: certificates.ClientLeaf(commonName), Server: local}
	}
	list := []certificates.Wanted{
		{File: certServing, By: k.Cluster, Leaf: pki.Leaf{
			CommonName: "kube-apiserver", Hosts: p.servingHosts(endpoint),
			Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}},
		{File: certKubeletClient, By: k.Cluster, Leaf: certificates.ClientLeaf(kubeletClient)},
		{File: certFrontProxy, By: k.FrontProxy, Leaf: certificates.ClientLeaf("front-proxy-client")},
		clusterClient(confController, "system:kube-controller-manager"),
		clusterClient(confScheduler, "system:kube-scheduler"),
	}
	if p.konnectivity() {
		list = append(list, clusterClient(confKonnectivity, "system:konnectivity-server"))
	}
	if p.followsEndpoint(endpoint) {
		list = append(list, clusterClient(confEndpoint, endpointUser))
	}
	if p.Store().Kind == config.StoreEtcd {
		list = append(list, etcdClientCert(k))
	}
	return list
}

func etcdClientCert(k *certificates.Keys) certificates.Wanted {
	return certificates.Wanted{
		File: certEtcdClient, By: k.Etcd,
		Leaf: certificates.ClientLeaf("kube-apiserver-etcd-client"),
	}
}

// etcdMemberCerts returns the certificates that the members of a deployed etcd hold.
func (p *Provisioner) etcdMemberCerts(k *certificates.Keys) []certificates.Wanted {
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	hosts := append(p.etcdHosts(), "localhost", "127.0.0.1")
	return []certificates.Wanted{
		{File: certEtcdServer, By: k.Etcd, Leaf: pki.Leaf{CommonName: "etcd", Hosts: hosts, Usages: both}},
		// Members check that a peer's name leads to the address it comes from, so a peer's certificate has no more than
		// that.
		{File: certEtcdPeer, By: k.Etcd, Leaf: pki.Leaf{CommonName: "etcd-peer", Hosts: p.etcdHosts(), Usages: both}},
		etcdClientCert(k),
	}
}

// ensureCerts returns the data of a Secret with exactly the certificates of the list, and by file the reason of each
// one that was signed anew.
func (p *Provisioner) ensureCerts(ctx context.Context, name string, list []certificates.Wanted,
	caCert []byte,
) (map[string][]byte, map[string]string, error) {
	held, err := p.Host.CoreV1().Secrets(p.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, nil, fmt.Errorf("reading Secret %q: %w", name, apply.Classify(err))
	}
	issuer := certificates.Issuer{Cluster: p.Name, CACert: caCert, Now: p.Now(), Renew: p.renew}
	return issuer.Ensure(held.Data, list)
}

// digestOf returns a digest of data, so that pods which read it at their start are replaced when it changes.
func digestOf(data map[string][]byte) string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(data)) {
		_, _ = fmt.Fprintf(sum, "%s %d\n", name, len(data[name]))
		_, _ = sum.Write(data[name])
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}
