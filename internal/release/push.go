package release

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push uploads image and chart under the release's version, and with a key their signatures and the image's provenance.
// It logs in with docker's configuration, and returns the names with digests.
func (m *Made) Push(ctx context.Context) ([]string, error) {
	pushed, err := m.pushed()
	if err != nil {
		return nil, err
	}
	tags := map[string]remote.Taggable{
		pushed[0].repository + ":" + m.release.Version:  m.Image,
		pushed[1].repository + ":" + m.release.number(): m.Chart,
	}
	var names []string
	for _, p := range pushed {
		names = append(names, p.repository+"@"+p.sum.String())
		if m.release.Key == nil {
			continue
		}
		signature, err := signatureOf(ctx, m.release.Key, p.repository, p.sum)
		if err != nil {
			return nil, err
		}
		tags[p.repository+":"+attachedTag(p.sum, "sig")] = signature
		attestation, err := attestationOf(m.attestation)
		if err != nil {
			return nil, err
		}
		tags[p.repository+":"+attachedTag(p.sum, "att")] = attestation
	}
	wanted := map[name.Reference]remote.Taggable{}
	for tag, content := range tags {
		reference, err := name.NewTag(tag, name.StrictValidation)
		if err != nil {
			return nil, fmt.Errorf("reading reference %q: %w", tag, err)
		}
		wanted[reference] = content
	}
	err = remote.MultiWrite(wanted, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return nil, fmt.Errorf("pushing release %q to %q: %w", m.release.Version, m.release.Registry, err)
	}
	return names, nil
}

// attachedTag is the tag at which cosign looks for signatures and attestations of a digest.
func attachedTag(of v1.Hash, suffix string) string {
	return fmt.Sprintf("%s-%s.%s", of.Algorithm, of.Hex, suffix)
}
