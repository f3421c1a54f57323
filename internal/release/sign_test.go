package release

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
	"helm.sh/helm/v3/pkg/chart/loader"
	helmregistry "helm.sh/helm/v3/pkg/registry"
)

// verifier checks signatures with the public key of a release alone, as cosign does.
type verifier struct{ key *ecdsa.PublicKey }

func (v verifier) Verify(_ context.Context, content, signature []byte) error {
	if !ecdsa.VerifyASN1(v.key, digest(content), signature) {
		return errors.New("the signature does not fit")
	}
	return nil
}

func (verifier) KeyID() (string, error)     { return "", errors.New("keys have no names") }
func (v verifier) Public() crypto.PublicKey { return v.key }

// verifierOf reads the public key that a release has beside its files.
func verifierOf(t *testing.T, folder string) verifier {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "cosign.pub"))
	assert.NilError(t, err)
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	assert.NilError(t, err)
	return verifier{key.(*ecdsa.PublicKey)}
}

func TestThePushedImageIsThatOfTheLayout(t *testing.T) {
	r := pushed(t)
	again, err := r.made.Push(t.Context())
	assert.NilError(t, err)
	assert.DeepEqual(t, again, r.names)
	tag, err := name.NewTag(r.Registry + "/executor-plugin:" + r.Version)
	assert.NilError(t, err)
	index, err := remote.Index(tag)
	assert.NilError(t, err)
	assert.NilError(t, validate.Index(index))
	sum, err := index.Digest()
	assert.NilError(t, err)
	assert.Equal(t, r.names[0], r.Registry+"/executor-plugin@"+sum.String())
}

func TestHelmPullsThePushedChart(t *testing.T) {
	r := pushed(t)
	client, err := helmregistry.NewClient(helmregistry.ClientOptPlainHTTP())
	assert.NilError(t, err)
	pulled, err := client.Pull(r.Registry + "/charts/argosy:1.2.3-rc.1")
	assert.NilError(t, err)
	assert.Equal(t, pulled.Chart.Meta.Name, "argosy")
	assert.Equal(t, pulled.Chart.Meta.AppVersion, r.Version)
	packed, err := os.ReadFile(filepath.Join(r.folder, "argosy-1.2.3-rc.1.tgz"))
	assert.NilError(t, err)
	assert.Assert(t, string(pulled.Chart.Data) == string(packed))
	_, err = loader.LoadArchive(strings.NewReader(string(pulled.Chart.Data)))
	assert.NilError(t, err)
}

// attachment returns the content and the annotations of an attachment of a pushed digest.
func attachment(t *testing.T, of, suffix string) (content []byte, annotations map[string]string) {
	t.Helper()
	reference, err := name.NewDigest(of)
	assert.NilError(t, err)
	sum, err := v1.NewHash(reference.DigestStr())
	assert.NilError(t, err)
	image, err := remote.Image(reference.Context().Tag(attachedTag(sum, suffix)))
	assert.NilError(t, err)
	assert.NilError(t, validate.Image(image, validate.Fast))
	manifest, err := image.Manifest()
	assert.NilError(t, err)
	layer, err := image.LayerByDigest(manifest.Layers[0].Digest)
	assert.NilError(t, err)
	opened, err := layer.Compressed()
	assert.NilError(t, err)
	content, err = io.ReadAll(opened)
	assert.NilError(t, err)
	return content, manifest.Layers[0].Annotations
}

func TestSignaturesInTheRegistryFitThePushedDigests(t *testing.T) {
	folder, names := pushed(t).folder, pushed(t).names
	key := verifierOf(t, folder)
	for _, of := range names {
		payload, annotations := attachment(t, of, "sig")
		signature, err := base64.StdEncoding.DecodeString(annotations["dev.cosignproject.cosign/signature"])
		assert.NilError(t, err)
		assert.NilError(t, key.Verify(t.Context(), payload, signature))
		assert.ErrorContains(t, key.Verify(t.Context(), append(payload, ' '), signature), "does not fit")
		var signed struct {
			Critical struct {
				Identity map[string]string `json:"identity"`
				Image    map[string]string `json:"image"`
				Type     string            `json:"type"`
			} `json:"critical"`
		}
		assert.NilError(t, json.Unmarshal(payload, &signed))
		repository, sum, _ := strings.Cut(of, "@")
		assert.Equal(t, signed.Critical.Identity["docker-reference"], repository)
		assert.Equal(t, signed.Critical.Image["docker-manifest-digest"], sum)
		assert.Equal(t, signed.Critical.Type, "cosign container image signature")
	}
}

func TestTheSignedProvenanceIsThatOfTheFiles(t *testing.T) {
	folder, names := pushed(t).folder, pushed(t).names
	stated, err := os.ReadFile(filepath.Join(folder, "argosy_v1.2.3-rc.1.intoto.json"))
	assert.NilError(t, err)
	beside, err := os.ReadFile(filepath.Join(folder, "argosy_v1.2.3-rc.1.intoto.jsonl"))
	assert.NilError(t, err)
	attached, annotations := attachment(t, names[0], "att")
	assert.Equal(t, annotations["predicateType"], "https://slsa.dev/provenance/v1")
	verifiers, err := dsse.NewEnvelopeVerifier(verifierOf(t, folder))
	assert.NilError(t, err)
	for _, text := range [][]byte{beside, attached} {
		var envelope dsse.Envelope
		assert.NilError(t, json.Unmarshal(text, &envelope))
		_, err = verifiers.Verify(t.Context(), &envelope)
		assert.NilError(t, err)
		payload, err := envelope.DecodeB64Payload()
		assert.NilError(t, err)
		assert.Assert(t, string(payload) == string(stated))
		assert.Equal(t, envelope.PayloadType, "application/vnd.in-toto+json")
		envelope.Payload = base64.StdEncoding.EncodeToString(append(payload, ' '))
		_, err = verifiers.Verify(t.Context(), &envelope)
		assert.Assert(t, err != nil, "changed contents pass")
	}
}

func TestTheSignatureOfTheChecksumsFits(t *testing.T) {
	folder := pushed(t).folder
	files := filesOf(t, folder)
	signature, err := base64.StdEncoding.DecodeString(files["SHA256SUMS.sig"])
	assert.NilError(t, err)
	key := verifierOf(t, folder)
	assert.NilError(t, key.Verify(t.Context(), []byte(files["SHA256SUMS"]), signature))
	assert.ErrorContains(t, key.Verify(t.Context(), []byte(files["SHA256SUMS"]+" "), signature), "does not fit")
}

// keyFile writes a key as cosign does.
func keyFile(t *testing.T, key any, kind string) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	assert.NilError(t, err)
	sealed, err := encrypted.Encrypt(der, []byte("password"))
	assert.NilError(t, err)
	path := filepath.Join(t.TempDir(), "cosign.key")
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: sealed})
	assert.NilError(t, os.WriteFile(path, text, 0o600))
	return path
}

func TestAKeyOfCosignIsRead(t *testing.T) {
	want, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	for _, kind := range []string{"ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"} {
		got, err := ReadKey(keyFile(t, want, kind), []byte("password"))
		assert.NilError(t, err)
		assert.Assert(t, got.Equal(want))
	}
}

func TestAKeyThatCanNotSignIsRefused(t *testing.T) {
	good, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	assert.NilError(t, err)
	const kind = "ENCRYPTED SIGSTORE PRIVATE KEY"
	for name, test := range map[string]struct{ path, password, want string }{
		"wrong password": {keyFile(t, good, kind), "other", "COSIGN_PASSWORD"},
		"another format": {keyFile(t, good, "PRIVATE KEY"), "password", "cosign generate-key-pair"},
		"another kind":   {keyFile(t, other, kind), "password", "instead of an ECDSA key"},
		"no file":        {filepath.Join(t.TempDir(), "none"), "password", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadKey(test.path, []byte(test.password))
			assert.Assert(t, is.ErrorContains(err, test.want))
			assert.Assert(t, !strings.Contains(err.Error(), test.password) || test.password == "password")
		})
	}
}
