package factory

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// OpenProvisioner reads cluster from a namespace of the host cluster and makes a provisioner for it. image is Argosy's
// own, used where argosy.yaml names none.
func OpenProvisioner(ctx context.Context, host *rest.Config, namespace, cluster,
	image string,
) (*controlplane.Provisioner, error) {
	// Waiting reads several objects at a time; client-go's default of 5 requests a second would slow it down.
	host = rest.CopyConfig(host)
	host.QPS, host.Burst = 50, 100
	client, err := kubernetes.NewForConfig(host)
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "making a client for the host cluster %q: %w", host.Host,
			err)
	}
	objects, err := apply.New(host)
	if err != nil {
		return nil, err
	}
	source := config.FromAPI(client, namespace)
	documents, err := config.Load(ctx, source, cluster)
	if err != nil {
		return nil, fmt.Errorf("loading cluster %q: %w", cluster, err)
	}
	if own := documents.Fleet.ControlPlane.Image; own != "" {
		image = own
	}
	provisioner := &controlplane.Provisioner{
		Cluster: hosted.Cluster{Cluster: documents, Host: client}, Objects: objects, Image: documents.ImageRef(image),
		CheckSecrets: func(ctx context.Context) error { return CheckSecrets(ctx, source, documents) },
	}
	return provisioner.Follow(ctx)
}
