package release

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// The types of an in-toto statement with SLSA's provenance, as their specifications name them.
const (
	statementType  = "https://in-toto.io/Statement/v1"
	provenanceType = "https://slsa.dev/provenance/v1"
	payloadType    = "application/vnd.in-toto+json"
	buildType      = source + "/blob/main/docs/release.md"
)

type (
	statement struct {
		Type          string     `json:"_type"`
		Subject       []resource `json:"subject"`
		PredicateType string     `json:"predicateType"`
		Predicate     provenance `json:"predicate"`
	}
	resource struct {
		Name   string            `json:"name,omitempty"`
		URI    string            `json:"uri,omitempty"`
		Digest map[string]string `json:"digest"`
	}
	provenance struct {
		BuildDefinition struct {
			BuildType            string            `json:"buildType"`
			ExternalParameters   map[string]string `json:"externalParameters"`
			InternalParameters   map[string]string `json:"internalParameters"`
			ResolvedDependencies []resource        `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Builder struct {
				ID string `json:"id"`
			} `json:"builder"`
		} `json:"runDetails"`
	}
)

// attest writes the provenance of all files, of the image and of the chart, their checksums, and the signatures.
func (m *Made) attest(ctx context.Context, folder string) error {
	stated, err := m.statement()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("argosy_%s.intoto.json", m.release.Version)
	if err := m.write(folder, name, stated); err != nil {
		return err
	}
	sums := m.sums()
	if err := os.WriteFile(filepath.Join(folder, Sums), sums, 0o644); err != nil {
		return fmt.Errorf("writing %q: %w", Sums, err)
	}
	if m.release.Key == nil {
		return nil
	}
	return m.sign(ctx, folder, stated, sums)
}

// sign writes the signature of the checksums, the signed provenance and the public key. They are not among the
// checksums, which they are made of.
func (m *Made) sign(ctx context.Context, folder string, stated, sums []byte) error {
	key := signer{m.release.Key}
	envelopes, err := dsse.NewEnvelopeSigner(key)
	if err != nil {
		return fmt.Errorf("preparing the signature of the provenance: %w", err)
	}
	envelope, err := envelopes.SignPayload(ctx, payloadType, stated)
	if err != nil {
		return fmt.Errorf("signing the provenance: %w", err)
	}
	if m.attestation, err = json.Marshal(envelope); err != nil {
		return fmt.Errorf("encoding the signed provenance: %w", err)
	}
	signature, err := key.Sign(ctx, sums)
	if err != nil {
		return fmt.Errorf("signing the checksums: %w", err)
	}
	public, err := publicKey(m.release.Key)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		fmt.Sprintf("argosy_%s.intoto.jsonl", m.release.Version): append(slices.Clone(m.attestation), '\n'),
		Sums + ".sig": []byte(base64.StdEncoding.EncodeToString(signature)),
		"cosign.pub":  public,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return fmt.Errorf("writing %q: %w", name, err)
		}
	}
	return nil
}

// statement returns the provenance: the files that were made, of which commit, with which settings.
func (m *Made) statement() ([]byte, error) {
	r := m.release
	made := statement{Type: statementType, PredicateType: provenanceType}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		made.Subject = append(made.Subject, resource{Name: name, Digest: map[string]string{"sha256": m.Files[name]}})
	}
	pushed, err := m.pushed()
	if err != nil {
		return nil, err
	}
	for _, p := range pushed {
		made.Subject = append(made.Subject, resource{
			Name:   p.repository,
			Digest: map[string]string{"sha256": p.sum.Hex},
		})
	}
	certificates, err := os.ReadFile(r.Certificates)
	if err != nil {
		return nil, fmt.Errorf("reading the authorities: %w", err)
	}
	definition := &made.Predicate.BuildDefinition
	definition.BuildType = buildType
	definition.ExternalParameters = map[string]string{"version": r.Version, "registry": r.Registry}
	definition.InternalParameters = map[string]string{"go": runtime.Version()}
	definition.ResolvedDependencies = []resource{
		{URI: "git+" + source + "@refs/tags/" + r.Version, Digest: map[string]string{"gitCommit": r.Commit}},
		{Name: "ca-certificates.crt", Digest: map[string]string{"sha256": hex.EncodeToString(digest(certificates))}},
	}
	made.Predicate.RunDetails.Builder.ID = r.Builder
	text, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the provenance: %w", err)
	}
	return append(text, '\n'), nil
}

// pushedTo is the place and the digest of the image or the chart in the registry.
type pushedTo struct {
	repository string
	sum        v1.Hash
}

func (m *Made) pushed() ([]pushedTo, error) {
	image, err := m.Image.Digest()
	if err != nil {
		return nil, fmt.Errorf("hashing the image: %w", err)
	}
	chart, err := m.Chart.Digest()
	if err != nil {
		return nil, fmt.Errorf("hashing the chart: %w", err)
	}
	return []pushedTo{{m.release.repository(), image}, {m.release.Registry + "/charts/" + chartName, chart}}, nil
}
