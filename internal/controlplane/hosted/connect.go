package hosted

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/restconfig"
	"argosy.dev/argosy/pkg/errclass"
)

// Connection is a client of the provisioned cluster, with an administrator's rights.
type Connection struct {
	Client  kubernetes.Interface
	Objects *apply.Setter
}

// Connect opens the cluster with the kubeconfig of its Secret and waits until its API server is ready.
func (c Cluster) Connect(ctx context.Context, report func(string)) (*Connection, error) {
	restConfig, err := c.RESTConfig(ctx)
	if err != nil {
		return nil, err
	}
	return c.Open(ctx, restConfig, report)
}

// Open opens the cluster with restConfig and waits until its API server is ready.
func (c Cluster) Open(ctx context.Context, restConfig *rest.Config, report func(string)) (*Connection, error) {
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return nil, errclass.Errorf(errclass.Permanent, "making a client for %q: %w", restConfig.Host, err)
	}
	objects, err := apply.New(restConfig)
	if err != nil {
		return nil, err
	}
	unmet := fmt.Sprintf("API server %q not ready", restConfig.Host)
	err = c.Wait(ctx, unmet, report, func(ctx context.Context) (string, error) {
		if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
			return fmt.Sprintf("asking API server %q for /readyz: %v", restConfig.Host, err), nil
		}
		return "", nil
	})
	return &Connection{Client: client, Objects: objects}, err
}

// RESTConfig reads the cluster's kubeconfig Secret.
func (c Cluster) RESTConfig(ctx context.Context) (*rest.Config, error) {
	name := c.KubeconfigSecret()
	held, err := c.Host.CoreV1().Secrets(c.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's kubeconfig, Secret %q, which provisioning writes: %w", name,
			apply.Classify(err))
	}
	restConfig, err := restconfig.Parse(held.Data[certificates.KubeconfigKey])
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig in Secret %q: %w", name, err)
	}
	restConfig.UserAgent = apply.Manager
	restConfig.QPS, restConfig.Burst = 50, 100
	return restConfig, nil
}
