// Package apply sets objects in a cluster with server-side apply under one field manager, removes them again, and
// reports the change of each. Without Options.Force it never takes a field that another manager set, and it never
// removes an object without Argosy's label.
package apply

import (
	"context"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"argosy.dev/argosy/pkg/errclass"
)

const (
	// Manager is the field manager of all fields that Argosy sets.
	Manager = "argosy"
	// ManagedByLabel is on every object that was set; its value is Manager. Only such objects are ever removed.
	ManagedByLabel = "app.kubernetes.io/managed-by"
)

// Objects worked on at once. Together with the client's rate they let a run over a hundred objects take as long as a
// few round trips; client-go's own default of 5 requests a second would take 40 s.
const (
	parallel          = 16
	requestsPerSecond = 200
	burst             = 400
)

// Setter sets and removes objects in one cluster. It may be used by several goroutines.
type Setter struct {
	client    dynamic.Interface
	discovery discovery.DiscoveryInterface
	mapper    meta.RESTMapper
}

// New returns a Setter for the cluster behind config. It connects when it is first used, discovers the cluster's kinds
// once, and again when it meets an unknown one.
func New(config *rest.Config) (*Setter, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = requestsPerSecond, burst
	config.UserAgent = Manager
	// Warnings of the API server are about its own future versions; here they would end in a log unread.
	config.WarningHandler = rest.NoWarnings{}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "making a client for the API server %q: %w", config.Host,
			err)
	}
	discoverer, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "making a discovery client for the API server %q: %w",
			config.Host, err)
	}
	return &Setter{
		client: client, discovery: discoverer,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discoverer)),
	}, nil
}

// Options of Set and Sync.
type Options struct {
	// Force takes over fields that others own. Without it such a field keeps its owner's value, and the object's Change
	// names it.
	Force bool
}

// Set applies objects rank by rank: those that others may depend on first, and custom resources after their definitions
// are established. All are read before the first is changed. It returns the changes that were made, also with an error.
// The error names every object of a rank that failed, with its cause; later ranks were not begun.
func (s *Setter) Set(ctx context.Context, objects []*unstructured.Unstructured, o Options) ([]Change, error) {
	found, err := s.readAll(ctx, objects)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, rank := range ranked(objects) {
		set, err := each(ctx, "setting", rank, func(ctx context.Context, object *unstructured.Unstructured) (*Change,
			error,
		) {
			return s.set(ctx, found[object], o)
		})
		changes = append(changes, set...)
		if err != nil {
			return changes, err
		}
		if err := s.awaitDefinitions(ctx, rank, set); err != nil {
			return changes, err
		}
	}
	return changes, nil
}

// each calls do for all objects, several at once. do returns nil when there was nothing to do. The error lists all
// objects that failed.
func each(ctx context.Context, doing string, objects []*unstructured.Unstructured,
	do func(context.Context, *unstructured.Unstructured) (*Change, error),
) ([]Change, error) {
	made := make([]*Change, len(objects))
	failed := make([]error, len(objects))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, object := range objects {
		group.Go(func() error {
			if failed[i] = Classify(context.Cause(ctx)); failed[i] == nil {
				made[i], failed[i] = do(ctx, object)
			}
			return nil
		})
	}
	_ = group.Wait() // no function returns an error: all of them are in failed
	var changes []Change
	for _, change := range made {
		if change != nil {
			changes = append(changes, *change)
		}
	}
	return changes, joinErrors(doing, objects, failed)
}

// resource returns the client for object's kind and namespace.
func (s *Setter) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := s.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		meta.MaybeResetRESTMapper(s.mapper)
		mapping, err = s.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, Classify(err)
	}
	resource := s.client.Resource(mapping.Resource)
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return resource, nil
	}
	if object.GetNamespace() == "" {
		return nil, errclass.Errorf(errclass.Configuration, "metadata.namespace is required")
	}
	return resource.Namespace(object.GetNamespace()), nil
}
