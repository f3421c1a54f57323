package join

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/restconfig"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
)

// Target is the cluster that machines join, as its kubeconfig Secret describes it.
type Target struct {
	Client kubernetes.Interface
	// REST is how Client reaches the API server, for kinds without a typed client; nil in tests that need none.
	REST *rest.Config
	// Answers observes how the API server answers Client; nil in tests that need none.
	Answers *restconfig.Answers
	// Renewing is REST for clients that read the kubeconfig again where its credentials are refused, as Client does.
	Renewing *rest.Config
	// Server is the API server's address as the machines see it, "https://host:port".
	Server string
	// CACert is the cluster's certificate authority, PEM.
	CACert string
	// UID is the UID of the kube-system namespace: which cluster this is, whatever its address.
	UID string
	// Version is the API server's, e.g. "v1.34.4".
	Version string
	// CgroupDriver is that of the cluster's kubelet-config, "systemd" by default.
	CgroupDriver string
	// KubeletConfig is that kubelet-config, a KubeletConfiguration in YAML.
	KubeletConfig string
	// BundlesURL is where a control plane that Argosy provisioned serves node bundles; empty when it serves none.
	BundlesURL string
}

// BundlesKey of the kubeconfig Secret holds Target.BundlesURL.
const BundlesKey = "bundles"

// kubeconfigKeys are the Secret keys that hold a kubeconfig, in the order in which tools write them: Cluster API, our
// own, kubectl users.
var kubeconfigKeys = []string{"value", "kubeconfig", "config"}

// Connect opens the target of cluster: it reads the kubeconfig Secret and asks the API server who it is.
func Connect(ctx context.Context, source config.Source, cluster *config.Cluster) (*Target, error) {
	name := cluster.KubeconfigSecret()
	content, restConfig, err := readKubeconfig(ctx, source, name)
	if cluster.Hosted() && errors.Is(err, config.ErrNotFound) {
		return nil, fmt.Errorf("reading the kubeconfig of cluster %q: %w; provision the cluster first: argo submit "+
			"--from workflowtemplate/provision -p cluster=%s", cluster.Name, err, cluster.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of cluster %q: %w", cluster.Name, err)
	}
	again := func(ctx context.Context) (*rest.Config, error) {
		_, found, err := readKubeconfig(ctx, source, name)
		return found, err
	}
	target, err := fromREST(restConfig, cluster.Fleet.Cluster.Endpoint, again)
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading the kubeconfig in Secret %q: %w", name, err)
	}
	if address, ok := content[BundlesKey]; ok {
		target.BundlesURL = address.Reveal()
	}
	if err := target.ask(ctx); err != nil {
		return nil, fmt.Errorf("asking the API server %s of cluster %q: %w", restConfig.Host, cluster.Name, err)
	}
	return target, nil
}

// readKubeconfig reads a kubeconfig Secret, and returns its content too.
func readKubeconfig(ctx context.Context, source config.Source, name string) (map[string]secret.Value, *rest.Config,
	error,
) {
	content, err := source.Secret(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	kubeconfig, found := firstOf(content, kubeconfigKeys)
	if !found {
		return nil, nil, errclass.Errorf(errclass.Configuration, "Secret %q in namespace %q has none of the keys %q",
			name, source.Namespace(), kubeconfigKeys)
	}
	restConfig, err := restconfig.Parse([]byte(kubeconfig.Reveal()))
	if err != nil {
		return nil, nil, fmt.Errorf("in Secret %q: %w", name, err)
	}
	return content, restConfig, nil
}

func firstOf(content map[string]secret.Value, keys []string) (secret.Value, bool) {
	for _, key := range keys {
		if value, ok := content[key]; ok {
			return value, true
		}
	}
	return secret.Value{}, false
}

// fromREST makes a Target of a kubeconfig; endpoint, host:port, wins over the kubeconfig's own server. read reads the
// kubeconfig again.
func fromREST(restConfig *rest.Config, endpoint string, read func(context.Context) (*rest.Config, error)) (*Target,
	error,
) {
	if restConfig.Insecure || len(restConfig.CAData) == 0 {
		return nil, fmt.Errorf("it carries no certificate-authority-data; a machine must be able to verify the " +
			"cluster it joins")
	}
	// One client serves every machine of a workflow: client-go's default of 5 requests a second would queue them.
	restConfig.QPS, restConfig.Burst = 50, 100
	restConfig.UserAgent = "argosy"
	answers := &restconfig.Answers{}
	renewing := answers.Observed(restconfig.Renewing(restConfig, read))
	client, err := kubernetes.NewForConfig(renewing)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	server, err := url.Parse(restConfig.Host)
	if err != nil || server.Scheme != "https" || server.Host == "" {
		return nil, fmt.Errorf("its server %q is not an https URL", restConfig.Host)
	}
	host := server.Host
	if endpoint != "" {
		host = endpoint
	}
	return &Target{
		Client: client, REST: restConfig, Renewing: renewing, Answers: answers, Server: "https://" + host,
		CACert: string(restConfig.CAData),
	}, nil
}

// ask reads the fields that only the running cluster knows.
func (t *Target) ask(ctx context.Context) error {
	version, err := t.ServerVersion(ctx)
	if err != nil {
		return err
	}
	t.Version = version
	system, err := t.Client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return apply.Classify(err)
	}
	t.UID = string(system.UID)
	return t.readKubeletConfig(ctx)
}

// kubeletConfigMap has the configuration of every kubelet, in kube-system.
const kubeletConfigMap = "kubelet-config"

// ServerVersion asks the API server for its version as it is now.
func (t *Target) ServerVersion(context.Context) (string, error) {
	version, err := t.Client.Discovery().ServerVersion()
	if err != nil {
		return "", errclass.With(errclass.Transient, err)
	}
	return version.GitVersion, nil
}

// readKubeletConfig reads the configuration of every kubelet, and the cgroup driver in it: containerd's must be the
// same.
func (t *Target) readKubeletConfig(ctx context.Context) error {
	kubelet, err := t.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, kubeletConfigMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return errclass.Errorf(errclass.Configuration, "the cluster has no ConfigMap kube-system/kubelet-config, "+
			"which kubeadm join needs; it was not made by kubeadm or for it")
	}
	if err != nil {
		return apply.Classify(err)
	}
	t.KubeletConfig = kubelet.Data["kubelet"]
	t.CgroupDriver, err = cgroupDriverOf(kubelet)
	return err
}

func cgroupDriverOf(kubelet *corev1.ConfigMap) (string, error) {
	var wanted struct {
		CgroupDriver string `json:"cgroupDriver"`
	}
	if err := decodeYAML(kubelet.Data["kubelet"], &wanted); err != nil {
		return "", errclass.Errorf(errclass.Configuration, "reading kube-system/kubelet-config: %w", err)
	}
	if wanted.CgroupDriver == "" {
		return "systemd", nil
	}
	return wanted.CgroupDriver, nil
}

// nodesPerPage bounds how many nodes are in memory with the names of their images, some 20 KB each.
const nodesPerPage = 100

// Nodes lists the nodes of the cluster, whose name is for errors, and returns them by name, without their images.
func (t *Target) Nodes(ctx context.Context, cluster string) (map[string]*corev1.Node, error) {
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return t.Client.CoreV1().Nodes().List(ctx, options)
	})
	pages.PageSize, pages.PageBufferSize = nodesPerPage, 0
	byName := map[string]*corev1.Node{}
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		if node, ok := object.(*corev1.Node); ok {
			kept := *node // the page, of which the object is a part, shall be freed
			kept.Status.Images = nil
			byName[kept.Name] = &kept
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the nodes of cluster %q: %w", cluster, apply.Classify(err))
	}
	return byName, nil
}
