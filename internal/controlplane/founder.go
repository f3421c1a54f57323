package controlplane

import (
	"context"
	"time"

	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

// founderLife is the life of the founder's certificate.
const founderLife = time.Hour

// connectFounder opens the cluster with every right from the first moment: administrators get theirs by a binding in
// the cluster itself, which has to be made first. The certificate is not stored anywhere.
func (p *Provisioner) connectFounder(ctx context.Context, k *certificates.Keys,
	report func(string),
) (*hosted.Connection, error) {
	leaf := certificates.ClientLeaf("argosy:founder", "system:masters")
	leaf.Life = founderLife
	pair, err := k.Cluster.Issue(leaf, p.Now())
	if err != nil {
		return nil, err
	}
	restConfig, err := p.RESTConfig(ctx)
	if err != nil {
		return nil, err
	}
	restConfig.CertData, restConfig.KeyData = pair.Cert, pair.Key
	return p.Open(ctx, restConfig, report)
}
