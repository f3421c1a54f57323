package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/encryption"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// encrypt brings the store to the encryption that the documents want, step by step. Before it, all API servers have the
// configuration of k. Each step is noted in Secret <cluster>-pki before API servers get it, and the next run begins
// with giving them the one that is noted, so that a run may end anywhere.
func (p *Provisioner) encrypt(ctx context.Context, k *certificates.Keys, endpoint Endpoint,
	report func(string),
) ([]apply.Change, error) {
	var changes []apply.Change
	err := p.takeSteps(ctx, k, func(resources []string) error {
		return p.rewrite(ctx, k, resources, report)
	}, func(texts []string) error {
		report(strings.Join(texts, "; "))
		made, _, err := p.runPods(ctx, k, endpoint, report)
		changes = append(changes, made...)
		return err
	})
	return changes, err
}

// wantedEncryption returns the encryption that argosy.yaml asks for.
func (p *Provisioner) wantedEncryption() encryption.Wanted {
	wanted := p.Fleet.ControlPlane.Encryption
	return encryption.Wanted{
		Provider: string(wanted.Provider), KeyName: wanted.KeyName, Resources: wanted.Resources,
	}
}

// takeSteps takes the steps: rewrite has objects of resources written again, and rollOut gives all API servers the
// configuration of k.
func (p *Provisioner) takeSteps(ctx context.Context, k *certificates.Keys,
	rewrite, rollOut func([]string) error,
) error {
	for {
		held, err := encryption.Parse(k.Encryption)
		if err != nil {
			return err
		}
		step, err := held.Next(p.wantedEncryption())
		if err != nil || step == nil {
			return err
		}
		if err := rewrite(step.Rewrite); err != nil {
			return err
		}
		text, err := step.Next.Text()
		if err != nil {
			return err
		}
		if err := p.noteEncryption(ctx, text); err != nil {
			return err
		}
		k.Encryption = text
		if err := rollOut(step.Texts); err != nil {
			return err
		}
	}
}

// checkOwnEncryption refuses arguments of the user's with which the API server would not get the keys of its store.
func (p *Provisioner) checkOwnEncryption(k *certificates.Keys) error {
	settings := p.VCluster.ControlPlane.Distro.K8s.APIServer
	own := len(settings.Command) > 0 || config.HasArgument(settings.ExtraArgs, "encryption-provider-config")
	if len(k.Encryption) == 0 || !own {
		return nil
	}
	return errclass.Errorf(errclass.Configuration, "the store is encrypted with keys of Secret %q, and the API server "+
		"would not get them: remove its command and --encryption-provider-config, and provision with "+
		"controlPlane.encryption.provider: identity in argosy.yaml first", p.Names().PKI())
}

// noteEncryption writes the configuration into Secret <cluster>-pki, or removes it where it is nil.
func (p *Provisioner) noteEncryption(ctx context.Context, text []byte) error {
	data := map[string]any{encryption.File: nil}
	if len(text) > 0 {
		data[encryption.File] = text
	}
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return fmt.Errorf("encoding %q: %w", encryption.File, err)
	}
	name := p.Names().PKI()
	if _, err := p.Host.CoreV1().Secrets(p.Namespace).Patch(ctx, name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: apply.Manager}); err != nil {
		return fmt.Errorf("setting %q of Secret %q: %w", encryption.File, name, apply.Classify(err))
	}
	return nil
}

const (
	// rewriteLimit is how many objects are written at a time, and rewritePage how many are listed.
	rewriteLimit = 16
	rewritePage  = 500
)

// rewrite has the API server write all objects of resources again. It encrypts them with the first key, also where
// nothing else changes: a value that was read with another key counts as changed.
func (p *Provisioner) rewrite(ctx context.Context, k *certificates.Keys, resources []string,
	report func(string),
) error {
	if len(resources) == 0 {
		return nil
	}
	cluster, err := p.connectFounder(ctx, k, report)
	if err != nil {
		return err
	}
	groups, err := restmapper.GetAPIGroupResources(cluster.Client.Discovery())
	if err != nil {
		return fmt.Errorf("reading the cluster's resources: %w", apply.Classify(err))
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	for _, resource := range resources {
		found, err := mapper.ResourceFor(schema.ParseGroupResource(resource).WithVersion(""))
		if meta.IsNoMatchError(err) {
			continue // a resource that the cluster does not have has no objects
		}
		if err != nil {
			return errclass.Errorf(errclass.Permanent, "finding resource %q of controlPlane.encryption: %w", resource,
				err)
		}
		written, err := rewriteAll(ctx, cluster.Client, found)
		if err != nil {
			return fmt.Errorf("writing %s again: %w", resource, apply.Classify(err))
		}
		report(fmt.Sprintf("%s: %s written again", resource, count.Of(written, "object")))
	}
	return nil
}

// rewriteAll writes all objects of a resource again, and returns their number. Their content is not read: an empty
// patch has the API server do it. Objects that others delete meanwhile are gone, and those that others write are
// written.
func rewriteAll(ctx context.Context, client kubernetes.Interface, resource schema.GroupVersionResource) (int, error) {
	prefix := "/apis/" + resource.Group + "/" + resource.Version
	if resource.Group == "" {
		prefix = "/api/" + resource.Version
	}
	requests := client.Discovery().RESTClient()
	var written atomic.Int64
	for next := ""; ; {
		page, err := listMetadata(ctx, requests, prefix+"/"+resource.Resource, next)
		if err != nil {
			return int(written.Load()), err
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(rewriteLimit)
		for _, object := range page.Items {
			path := []string{prefix, resource.Resource, object.Name}
			if object.Namespace != "" {
				path = []string{prefix, "namespaces", object.Namespace, resource.Resource, object.Name}
			}
			group.Go(func() error {
				err := requests.Patch(types.MergePatchType).AbsPath(path...).Body([]byte("{}")).
					SetHeader("Accept", metadataOf("PartialObjectMetadata")).Do(ctx).Error()
				switch {
				case apierrors.IsNotFound(err):
					return nil
				case err != nil:
					return fmt.Errorf("object %q: %w", object.Name, err)
				}
				written.Add(1)
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return int(written.Load()), err
		}
		if next = page.Continue; next == "" {
			return int(written.Load()), nil
		}
	}
}

// metadataOf returns the media type by which an API server answers with metadata alone.
func metadataOf(kind string) string {
	return "application/json;as=" + kind + ";g=meta.k8s.io;v=v1"
}

func listMetadata(ctx context.Context, requests rest.Interface, path, next string) (*metav1.PartialObjectMetadataList,
	error,
) {
	request := requests.Get().AbsPath(path).Param("limit", fmt.Sprint(rewritePage)).
		SetHeader("Accept", metadataOf("PartialObjectMetadataList"))
	if next != "" {
		request = request.Param("continue", next)
	}
	text, err := request.DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing %q: %w", path, err)
	}
	page := &metav1.PartialObjectMetadataList{}
	if err := json.Unmarshal(text, page); err != nil {
		return nil, errclass.Errorf(errclass.Permanent, "reading the list of %q: %w", path, err)
	}
	return page, nil
}

// auditPolicy returns the API server's file with a policy.
func auditPolicy(policy config.AuditPolicy) string {
	text, err := json.Marshal(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		config.AuditPolicy
	}{"audit.k8s.io/v1", "Policy", policy})
	if err != nil {
		panic(err) // it is made of texts
	}
	return string(text)
}
