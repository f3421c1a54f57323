package release

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// The formats of cosign, as its specification of signatures names them.
const (
	signatureType       types.MediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
	envelopeType        types.MediaType = "application/vnd.dsse.envelope.v1+json"
	signatureAnnotation                 = "dev.cosignproject.cosign/signature"
)

// ReadKey reads a key as "cosign generate-key-pair" writes it, with the password that it is encrypted with.
func ReadKey(path string, password []byte) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading key %q: %w", path, err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "ENCRYPTED SIGSTORE PRIVATE KEY" && block.Type != "ENCRYPTED COSIGN PRIVATE KEY" {
		return nil, fmt.Errorf("reading key %q: it is no private key of cosign; "+
			"make one with: cosign generate-key-pair", path)
	}
	plain, err := encrypted.Decrypt(block.Bytes, password)
	if err != nil {
		return nil, fmt.Errorf("decrypting key %q with the password in COSIGN_PASSWORD: %w", path, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fmt.Errorf("decoding key %q: %w", path, err)
	}
	signs, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("decoding key %q: it is a %T instead of an ECDSA key", path, key)
	}
	return signs, nil
}

// publicKey returns the key by which others verify, as cosign writes it.
func publicKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// signer signs with ECDSA and SHA-256, as cosign does. Without a source of random numbers a signature follows from key
// and content alone (RFC 6979), so that a release that is made twice has equal ones.
type signer struct{ key *ecdsa.PrivateKey }

var _ dsse.Signer = signer{}

// Sign returns the signature of content.
func (s signer) Sign(_ context.Context, content []byte) ([]byte, error) {
	signature, err := s.key.Sign(nil, digest(content), crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing with ECDSA: %w", err)
	}
	return signature, nil
}

// KeyID returns an error: cosign's envelopes name no key.
func (signer) KeyID() (string, error) { return "", errors.New("keys have no names") }

// signatureOf returns cosign's signature of a digest in a repository, as it is pushed under signatureTag.
func signatureOf(ctx context.Context, key *ecdsa.PrivateKey, repository string, of v1.Hash) (v1.Image, error) {
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]any{"docker-reference": repository},
			"image":    map[string]any{"docker-manifest-digest": of.String()},
			"type":     "cosign container image signature",
		},
		"optional": nil,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the signed text: %w", err)
	}
	signature, err := signer{key}.Sign(ctx, payload)
	if err != nil {
		return nil, fmt.Errorf("signing %q: %w", repository, err)
	}
	return attached(payload, signatureType, map[string]string{
		signatureAnnotation: base64.StdEncoding.EncodeToString(signature),
	})
}

// attestationOf returns a signed statement as cosign attaches it to an image, under tag sha256-….att.
func attestationOf(envelope []byte) (v1.Image, error) {
	return attached(envelope, envelopeType, map[string]string{
		signatureAnnotation: "", "predicateType": provenanceType,
	})
}

// attached returns an artifact that belongs to an image. cosign reads it as an image with one layer.
func attached(content []byte, contentType types.MediaType, annotations map[string]string) (v1.Image, error) {
	config, err := json.Marshal(v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{hashOf(content)}}})
	if err != nil {
		return nil, fmt.Errorf("encoding a configuration: %w", err)
	}
	return artifactOf(config, types.OCIConfigJSON, content, contentType, annotations, nil)
}
