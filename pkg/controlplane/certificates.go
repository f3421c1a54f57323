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
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/pki"
)

// Authorities in Secret <cluster>-pki, each as <name>.crt and <name>.key.
const (
	authorityCluster    = "ca"
	authorityFrontProxy = "front-proxy-ca"
	authorityEtcd       = "etcd-ca"
	signingKey          = "sa"
)

// Files in Secret <cluster>-certs, and in the pods.
const (
	certServing        = "apiserver"
	certKubeletClient  = "apiserver-kubelet-client"
	certEtcdClient     = "apiserver-etcd-client"
	certFrontProxy     = "front-proxy-client"
	confController     = "controller-manager.conf"
	confScheduler      = "scheduler.conf"
	confKonnectivity   = "konnectivity-server.conf"
	certEtcdServer     = "server"
	certEtcdPeer       = "peer"
	certExtension      = ".crt"
	keyExtension       = ".key"
	kubeconfigSuffix   = "-kubeconfig"
	kubeconfigDataKey  = "value"
	administratorGroup = "kubeadm:cluster-admins"
)

// keys are the cluster's authorities and its signing key. They never leave the namespace.
type keys struct {
	cluster, frontProxy, etcd  *pki.Authority
	signingPrivate, signingPub []byte
}

// caHash is the pin of the cluster's authority, "sha256:" and the digest of its public key, as kubeadm writes it.
func (k *keys) caHash() (string, error) {
	cert, err := pki.PublicKeyDigest(k.cluster.Cert)
	return "sha256:" + cert, err
}

// loadKeys reads Secret <cluster>-pki; nil without an error when the cluster has none yet.
func (p *Provisioner) loadKeys(ctx context.Context) (*keys, *config.Identity, error) {
	name := p.names().pki()
	held, err := p.Host.CoreV1().Secrets(p.namespace()).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading Secret %q: %w", name, apply.Classify(err))
	}
	if err := p.checkNotRestoring(held); err != nil {
		return nil, nil, err
	}
	made := &keys{signingPrivate: held.Data[signingKey+keyExtension], signingPub: held.Data[signingKey+".pub"]}
	for authority, place := range map[string]**pki.Authority{authorityCluster: &made.cluster,
		authorityFrontProxy: &made.frontProxy, authorityEtcd: &made.etcd} {
		*place, err = pki.LoadAuthority(pki.Pair{Cert: held.Data[authority+certExtension],
			Key: held.Data[authority+keyExtension]})
		if err != nil {
			return nil, nil, errclass.Errorf(errclass.Permanent,
				"reading %q of Secret %q, which holds the cluster's keys: %w; restore it from a backup", authority,
				name, err)
		}
	}
	if len(made.signingPrivate) == 0 || len(made.signingPub) == 0 {
		return nil, nil, errclass.Errorf(errclass.Permanent,
			"reading Secret %q, which holds the cluster's keys: it lacks the key for service accounts; restore it "+
				"from a backup", name)
	}
	identity := &config.Identity{}
	if err := json.Unmarshal([]byte(held.Annotations[identityAnnotation]), identity); err != nil {
		return nil, nil, errclass.Errorf(errclass.Permanent, "reading annotation %s of Secret %q: %w",
			identityAnnotation, name, err)
	}
	return made, identity, nil
}

func makeKeys(now time.Time) (*keys, error) {
	made := &keys{}
	var err error
	for _, authority := range []struct {
		place *(*pki.Authority)
		name  string
	}{{&made.cluster, "kubernetes"}, {&made.frontProxy, "front-proxy-ca"}, {&made.etcd, "etcd-ca"}} {
		if *authority.place, err = pki.NewAuthority(authority.name, now); err != nil {
			return nil, err
		}
	}
	made.signingPrivate, made.signingPub, err = pki.NewSigningKey()
	return made, err
}

// ensureKeys makes the cluster's authorities once and for all. Two runs that meet do not make two: the Secret is
// created, never replaced, and the one that loses reads the winner's.
func (p *Provisioner) ensureKeys(ctx context.Context) (*keys, []apply.Change, error) {
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
	made, err := makeKeys(p.now())
	if err != nil {
		return nil, nil, err
	}
	identity, err := json.Marshal(p.Cluster.Identity())
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the cluster's identity: %w", err)
	}
	secret := p.secret(p.names().pki(), map[string][]byte{signingKey + keyExtension: made.signingPrivate,
		signingKey + ".pub": made.signingPub})
	secret.Annotations = map[string]string{identityAnnotation: string(identity)}
	for name, authority := range map[string]*pki.Authority{authorityCluster: made.cluster,
		authorityFrontProxy: made.frontProxy, authorityEtcd: made.etcd} {
		secret.Data[name+certExtension], secret.Data[name+keyExtension] = authority.Cert, authority.Key
	}
	_, err = p.Host.CoreV1().Secrets(p.namespace()).Create(ctx, secret,
		metav1.CreateOptions{FieldManager: apply.Manager})
	if apierrors.IsAlreadyExists(err) {
		return p.ensureKeys(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("creating Secret %q: %w", secret.Name, apply.Classify(err))
	}
	return made, []apply.Change{{Kind: "Secret", Namespace: secret.Namespace, Name: secret.Name,
		Outcome: apply.Created}}, nil
}

func (p *Provisioner) secret(name string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.namespace(),
			Labels: p.names().labels(componentControlPlane)},
		Type: corev1.SecretTypeOpaque,
		Data: data,
	}
}

// signed is one certificate that a component needs.
type signed struct {
	file string
	by   *pki.Authority
	leaf pki.Leaf
	// server makes the file a kubeconfig for this URL rather than a pair of files.
	server string
}

func client(commonName string, organizations ...string) pki.Leaf {
	return pki.Leaf{CommonName: commonName, Organizations: organizations,
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

// controlPlaneCerts is all that the control plane's pods hold, beside authorities.
func (p *Provisioner) controlPlaneCerts(k *keys, endpoint Endpoint) []signed {
	local := fmt.Sprintf("https://127.0.0.1:%d", p.apiPort())
	list := []signed{
		{file: certServing, by: k.cluster, leaf: pki.Leaf{
			CommonName: "kube-apiserver", Hosts: p.servingHosts(endpoint),
			Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}},
		{file: certKubeletClient, by: k.cluster, leaf: client("kube-apiserver-kubelet-client", administratorGroup)},
		{file: certFrontProxy, by: k.frontProxy, leaf: client("front-proxy-client")},
		{file: confController, by: k.cluster, leaf: client("system:kube-controller-manager"), server: local},
		{file: confScheduler, by: k.cluster, leaf: client("system:kube-scheduler"), server: local},
	}
	if p.konnectivity() {
		list = append(list, signed{file: confKonnectivity, by: k.cluster, leaf: client("system:konnectivity-server"),
			server: local})
	}
	if p.Cluster.Store().Kind == config.StoreEtcd {
		list = append(list, signed{file: certEtcdClient, by: k.etcd, leaf: client("kube-apiserver-etcd-client")})
	}
	return list
}

// etcdCerts is what the members of a deployed etcd hold.
func (p *Provisioner) etcdMemberCerts(k *keys) []signed {
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	hosts := append(p.etcdHosts(), "localhost", "127.0.0.1")
	return []signed{
		{file: certEtcdServer, by: k.etcd, leaf: pki.Leaf{CommonName: "etcd", Hosts: hosts, Usages: both}},
		// Members check that a peer's name leads to the address it comes from, so a peer's certificate has no more than
		// that.
		{file: certEtcdPeer, by: k.etcd, leaf: pki.Leaf{CommonName: "etcd-peer", Hosts: p.etcdHosts(), Usages: both}},
		{file: certEtcdClient, by: k.etcd, leaf: client("kube-apiserver-etcd-client")},
	}
}

// ensureCerts brings a Secret to hold exactly the certificates of the list: those that still do are kept, others are
// signed anew, all when renew is set. It returns the data and why each one was signed, by file.
func (p *Provisioner) ensureCerts(ctx context.Context, name string, list []signed, extra map[string][]byte,
	caCert []byte) (map[string][]byte, map[string]string, error) {
	held, err := p.Host.CoreV1().Secrets(p.namespace()).Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, nil, fmt.Errorf("reading Secret %q: %w", name, apply.Classify(err))
	}
	data, reasons := maps.Clone(extra), map[string]string{}
	if data == nil {
		data = map[string][]byte{}
	}
	for _, want := range list {
		files, reason, err := p.certFiles(want, held, caCert)
		if err != nil {
			return nil, nil, err
		}
		if reason != "" {
			reasons[want.file] = reason
		}
		maps.Copy(data, files)
	}
	return data, reasons, nil
}

// certFiles returns the file or files of one certificate, and why it was signed anew, if it was.
func (p *Provisioner) certFiles(want signed, held *corev1.Secret, caCert []byte) (map[string][]byte, string, error) {
	pair := pki.Pair{Cert: held.Data[want.file+certExtension], Key: held.Data[want.file+keyExtension]}
	server := ""
	if want.server != "" {
		pair, server = readKubeconfig(held.Data[want.file])
	}
	reason := want.by.Worn(pair, want.leaf, p.now())
	switch {
	case reason == "" && p.renew:
		reason = "its renewal was asked for"
	case reason == "" && server != want.server:
		reason = "the server's address changed"
	}
	if reason != "" {
		var err error
		if pair, err = want.by.Issue(want.leaf, p.now()); err != nil {
			return nil, "", err
		}
	}
	if want.server == "" {
		return map[string][]byte{want.file + certExtension: pair.Cert, want.file + keyExtension: pair.Key}, reason, nil
	}
	if reason == "" {
		return map[string][]byte{want.file: held.Data[want.file]}, "", nil
	}
	text, err := writeKubeconfig(p.Cluster.Name, want.server, want.leaf.CommonName, caCert, pair)
	return map[string][]byte{want.file: text}, reason, err
}

// writeKubeconfig makes a kubeconfig with everything inside.
func writeKubeconfig(cluster, server, user string, caCert []byte, pair pki.Pair) ([]byte, error) {
	made := clientcmdapi.NewConfig()
	made.Clusters[cluster] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: caCert}
	made.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.Cert, ClientKeyData: pair.Key}
	made.Contexts[cluster] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: user}
	made.CurrentContext = cluster
	text, err := clientcmd.Write(*made)
	if err != nil {
		return nil, fmt.Errorf("writing the kubeconfig of %q: %w", user, err)
	}
	return text, nil
}

// readKubeconfig returns what writeKubeconfig put into one; nothing when it can't be read.
func readKubeconfig(text []byte) (pki.Pair, string) {
	held, err := clientcmd.Load(text)
	if err != nil {
		return pki.Pair{}, ""
	}
	current := held.Contexts[held.CurrentContext]
	if current == nil || held.AuthInfos[current.AuthInfo] == nil || held.Clusters[current.Cluster] == nil {
		return pki.Pair{}, ""
	}
	user := held.AuthInfos[current.AuthInfo]
	return pki.Pair{Cert: user.ClientCertificateData, Key: user.ClientKeyData}, held.Clusters[current.Cluster].Server
}

// digestOf names the content of data, so that pods which read it at their start are replaced when it changes.
func digestOf(data map[string][]byte) string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(data)) {
		_, _ = fmt.Fprintf(sum, "%s %d\n", name, len(data[name]))
		_, _ = sum.Write(data[name])
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}
