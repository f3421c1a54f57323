package controlplane

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/errclass"
)

// connection is the provisioned cluster as an administrator sees it.
type connection struct {
	client  kubernetes.Interface
	objects *apply.Setter
	server  string
}

// connect opens the cluster with its own kubeconfig and waits until its API server says that it is ready.
func (p *Provisioner) connect(ctx context.Context, report func(string)) (*connection, error) {
	restConfig, err := p.restConfig(ctx)
	if err != nil {
		return nil, err
	}
	return p.open(ctx, restConfig, report)
}

// founderLife is how long the founder's certificate holds.
const founderLife = time.Hour

// found opens the cluster as somebody who may do everything from the first moment: what lets administrators in is a
// binding in the cluster itself, which has to be made first. The certificate for that is kept nowhere.
func (p *Provisioner) found(ctx context.Context, k *keys, report func(string)) (*connection, error) {
	leaf := client("argosy:founder", "system:masters")
	leaf.Life = founderLife
	pair, err := k.cluster.Issue(leaf, p.now())
	if err != nil {
		return nil, err
	}
	restConfig, err := p.restConfig(ctx)
	if err != nil {
		return nil, err
	}
	restConfig.CertData, restConfig.KeyData = pair.Cert, pair.Key
	return p.open(ctx, restConfig, report)
}

func (p *Provisioner) open(ctx context.Context, restConfig *rest.Config, report func(string)) (*connection, error) {
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return nil, errclass.Errorf(errclass.Permanent, "making a client for %s: %w", restConfig.Host, err)
	}
	objects, err := apply.New(restConfig)
	if err != nil {
		return nil, err
	}
	err = p.wait(ctx, report, func(ctx context.Context) (string, error) {
		if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
			return fmt.Sprintf("API server %s does not say that it is ready: %v", restConfig.Host, err), nil
		}
		return "", nil
	})
	return &connection{client: client, objects: objects, server: restConfig.Host}, err
}

// restConfig reads the cluster's kubeconfig Secret.
func (p *Provisioner) restConfig(ctx context.Context) (*rest.Config, error) {
	name := p.Cluster.KubeconfigSecret()
	held, err := p.Host.CoreV1().Secrets(p.namespace()).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's kubeconfig, Secret %q, which provisioning writes: %w", name,
			apply.Classify(err))
	}
	restConfig, err := clientcmd.RESTConfigFromKubeConfig(held.Data[kubeconfigDataKey])
	if err != nil {
		return nil, errclass.Errorf(errclass.Permanent, "reading the kubeconfig in Secret %q: %w", name, err)
	}
	restConfig.UserAgent = apply.Manager
	restConfig.QPS, restConfig.Burst = 50, 100
	return restConfig, nil
}
