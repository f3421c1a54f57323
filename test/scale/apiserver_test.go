package scale

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
	"gotest.tools/v3/assert"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/pkg/bundle/components"
)

const (
	apiServer = "127.0.0.1:6443"
	// hostAddress and clusterAddress are the ways of the plugin to one API server, which is that of the host cluster
	// and of the virtual one.
	hostAddress    = "127.0.0.1:7443"
	clusterAddress = "127.0.0.1:8443"
	etcdAddress    = "127.0.0.1:2379"

	adminToken = "0123456789abcdef"
	namespace  = "team-a"

	serverVersion = components.DefaultKubernetes
)

// api is an API server with etcd. Requests of the test itself do not pass the proxies.
type api struct {
	t         *testing.T
	folder    string
	authority []byte
	rest      *rest.Config
	client    *kubernetes.Clientset
	argo      *versioned.Clientset
	// host and cluster are the plugin's ways to it.
	host, cluster *proxy
	server        *process
}

// startAPI starts etcd, without fsync, and an API server. It has neither a scheduler nor a controller manager: nodes
// stay as their machines report them, and pods where they are.
func startAPI(t *testing.T, folder string) *api {
	t.Helper()
	authority, err := pki.NewAuthority("scale", time.Now())
	assert.NilError(t, err)
	pair, err := authority.Issue(pki.Leaf{
		CommonName: "kube-apiserver", Hosts: []string{"127.0.0.1", "localhost"},
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, time.Now())
	assert.NilError(t, err)
	private, public, err := pki.NewSigningKey()
	assert.NilError(t, err)
	for name, content := range map[string][]byte{
		"server.crt": pair.Cert, "server.key": pair.Key, "accounts.key": private, "accounts.pub": public,
		"tokens.csv": []byte(adminToken + ",admin,1,system:masters\n"),
	} {
		assert.NilError(t, os.WriteFile(filepath.Join(folder, name), content, 0o600))
	}
	a := &api{t: t, folder: folder, authority: authority.Cert}
	a.startServers()
	a.rest = &rest.Config{
		Host: "https://" + apiServer, BearerToken: adminToken, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: a.authority},
	}
	a.client, err = kubernetes.NewForConfig(a.rest)
	assert.NilError(t, err)
	a.argo, err = versioned.NewForConfig(a.rest)
	assert.NilError(t, err)
	await(t, "the API server", 2*time.Minute, func() error {
		_, err := a.client.RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context())
		select {
		case <-a.server.ended:
			t.Fatalf("kube-apiserver ended:\n%s", a.server.tail(20))
		default:
		}
		return err
	})
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	assert.NilError(t, err)
	a.host = newProxy(t, hostAddress, a.rest.Host, a.authority, certificate)
	a.cluster = newProxy(t, clusterAddress, a.rest.Host, a.authority, certificate)
	return a
}

func (a *api) startServers() {
	launch(a.t, a.folder, "etcd", nil, built(a.t, "etcd/*/etcd"), "--data-dir="+filepath.Join(a.folder, "etcd"),
		"--listen-client-urls=http://"+etcdAddress, "--advertise-client-urls=http://"+etcdAddress,
		"--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level=error",
		"--quota-backend-bytes=4294967296")
	in := func(name string) string { return filepath.Join(a.folder, name) }
	program := built(a.t, "kubernetes/"+serverVersion+"-*/kube-apiserver")
	a.server = launch(a.t, a.folder, "kube-apiserver", nil, program,
		"--etcd-servers=http://"+etcdAddress, "--bind-address=127.0.0.1", "--secure-port=6443",
		"--advertise-address=192.0.2.1", "--service-cluster-ip-range=10.96.0.0/16",
		"--tls-cert-file="+in("server.crt"), "--tls-private-key-file="+in("server.key"),
		"--token-auth-file="+in("tokens.csv"), "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+in("accounts.pub"),
		"--service-account-signing-key-file="+in("accounts.key"), "--enable-bootstrap-token-auth=true",
		"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition")
}

// kubeconfig writes one for a namespace, by an address of the API server, and returns its path.
func (a *api) kubeconfig(name, address, namespace string) string {
	a.t.Helper()
	path := filepath.Join(a.folder, name+".kubeconfig")
	assert.NilError(a.t, os.WriteFile(path, a.kubeconfigText(address, namespace), 0o600))
	return path
}

func (a *api) kubeconfigText(address, namespace string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://%s", certificate-authority-data: %s}}]
users: [{name: c, user: {token: %s}}]
contexts: [{name: c, context: {cluster: c, user: c, namespace: %s}}]
`, address, encode(a.authority), adminToken, namespace)
}

// apply sets objects as kubectl does: those of a text where it is not empty, else those of files of the repository.
func (a *api) apply(text string, files ...string) {
	a.t.Helper()
	args := []string{
		"--kubeconfig", a.kubeconfig("admin", apiServer, namespace), "apply", "--server-side", "--validate=false",
	}
	for _, file := range files {
		if !filepath.IsAbs(file) {
			file = filepath.Join(root, file)
		}
		args = append(args, "--filename", file)
	}
	if text != "" {
		args = append(args, "--filename", "-")
	}
	// A busy computer may take longer than the API server's own time limit.
	await(a.t, "the API server to take objects", 5*time.Minute, func() error {
		command := exec.Command(built(a.t, "kubernetes/"+serverVersion+"-*/kubectl"), args...)
		command.Stdin = strings.NewReader(text)
		out, err := command.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}
