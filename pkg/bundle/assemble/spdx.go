package assemble

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The parts of an SPDX 2.3 document that the list of contents uses; the names are SPDX's.
type (
	spdxDocument struct {
		SPDXVersion       string             `json:"spdxVersion"`
		DataLicense       string             `json:"dataLicense"`
		SPDXID            string             `json:"SPDXID"`
		Name              string             `json:"name"`
		DocumentNamespace string             `json:"documentNamespace"`
		CreationInfo      spdxCreation       `json:"creationInfo"`
		Packages          []spdxPackage      `json:"packages"`
		Files             []spdxFile         `json:"files"`
		Relationships     []spdxRelationship `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		SPDXID           string            `json:"SPDXID"`
		Name             string            `json:"name"`
		VersionInfo      string            `json:"versionInfo"`
		DownloadLocation string            `json:"downloadLocation"`
		FilesAnalyzed    bool              `json:"filesAnalyzed"`
		VerificationCode *spdxVerification `json:"packageVerificationCode,omitempty"`
		Checksums        []spdxChecksum    `json:"checksums,omitempty"`
		ExternalRefs     []spdxReference   `json:"externalRefs,omitempty"`
	}
	spdxVerification struct {
		Value string `json:"packageVerificationCodeValue"`
	}
	spdxFile struct {
		SPDXID    string         `json:"SPDXID"`
		FileName  string         `json:"fileName"`
		Checksums []spdxChecksum `json:"checksums"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxReference struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

const (
	spdxDocumentID = "SPDXRef-DOCUMENT"
	spdxRootID     = "SPDXRef-Package-kubernetes-set"
	// spdxNamespace is only a name; no page needs to exist at it.
	spdxNamespace = "https://argosy.dev/spdx/"
)

// writeContents writes the list of contents of an architecture: each file of both parts with its digests, and each
// thing that was downloaded with its version and address.
func (a *Assembly) writeContents(ctx context.Context, folder, arch string) (Bundle, error) {
	name := fmt.Sprintf("kubernetes-%s-%s.spdx.json", a.Version, arch)
	document, err := a.contents(ctx, arch)
	if err != nil {
		return Bundle{}, fmt.Errorf("writing list of contents %q: %w", name, err)
	}
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return Bundle{}, fmt.Errorf("writing list of contents %q: %w", name, err)
	}
	text = append(text, '\n')
	path := filepath.Join(folder, name)
	if err := writeFile(path, text); err != nil {
		return Bundle{}, err
	}
	sum := sha256.Sum256(text)
	return Bundle{Path: path, Name: name, Arch: arch, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(text))}, nil
}

func (a *Assembly) contents(ctx context.Context, arch string) (*spdxDocument, error) {
	name := "kubernetes-" + a.Version + "-" + arch
	document := &spdxDocument{
		SPDXVersion:  "SPDX-2.3",
		DataLicense:  "CC0-1.0",
		SPDXID:       spdxDocumentID,
		Name:         name,
		CreationInfo: spdxCreation{Created: a.created().Format(time.RFC3339), Creators: []string{"Tool: argosy"}},
		Relationships: []spdxRelationship{
			{spdxDocumentID, "DESCRIBES", spdxRootID},
		},
	}
	for _, f := range a.files[arch] {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("hashing %q: %w", f.path, err)
		}
		listed, err := listFile(f)
		if err != nil {
			return nil, err
		}
		document.Files = append(document.Files, listed)
		document.relate(spdxRootID, "CONTAINS", listed.SPDXID)
	}
	document.Packages = []spdxPackage{{
		SPDXID: spdxRootID, Name: name, VersionInfo: a.Version, DownloadLocation: "NOASSERTION",
		FilesAnalyzed: true, VerificationCode: &spdxVerification{verificationCode(document.Files)},
	}}
	for _, c := range a.Components {
		if c.Arch == arch {
			document.origin(c)
		}
	}
	return document, document.identify()
}

// identify sets the namespace of the document, which must differ for each content.
func (d *spdxDocument) identify() error {
	text, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("identifying the document: %w", err)
	}
	sum := sha256.Sum256(text)
	d.DocumentNamespace = spdxNamespace + d.Name + "-" + hex.EncodeToString(sum[:16])
	return nil
}

// origin adds the source of files as a package, and its relation to them. The package is not marked as analysed, since
// it may have more files than were taken.
func (d *spdxDocument) origin(c Component) {
	from := spdxPackage{
		SPDXID: spdxID("Package", c.Name), Name: c.Name, VersionInfo: c.Version, DownloadLocation: c.Location,
		Checksums: []spdxChecksum{{"SHA256", c.SHA256}},
	}
	if c.PURL != "" {
		from.ExternalRefs = []spdxReference{{"PACKAGE-MANAGER", "purl", c.PURL}}
	}
	d.Packages = append(d.Packages, from)
	d.relate(spdxRootID, "CONTAINS", from.SPDXID)
	for _, f := range d.Files {
		if !slices.Contains(c.Files, strings.TrimPrefix(f.FileName, "./")) {
			continue
		}
		relation := "EXPANDED_FROM_ARCHIVE"
		if slices.Contains(f.Checksums, from.Checksums[0]) {
			relation = "COPY_OF"
		}
		d.relate(f.SPDXID, relation, from.SPDXID)
	}
}

func (d *spdxDocument) relate(element, relation, related string) {
	d.Relationships = append(d.Relationships, spdxRelationship{element, relation, related})
}

// listFile hashes a file. SPDX 2.3 demands a SHA-1; rely on the SHA-256.
func listFile(f file) (spdxFile, error) {
	source, err := os.Open(f.source)
	if err != nil {
		return spdxFile{}, fmt.Errorf("hashing %q: %w", f.path, err)
	}
	defer source.Close()
	demanded, sum := sha1.New(), sha256.New()
	if _, err := io.CopyBuffer(io.MultiWriter(demanded, sum), struct{ io.Reader }{source},
		make([]byte, copyBuffer)); err != nil {
		return spdxFile{}, fmt.Errorf("hashing %q: %w", f.path, err)
	}
	return spdxFile{
		SPDXID:   spdxID("File", f.path),
		FileName: "./" + f.path,
		Checksums: []spdxChecksum{
			{"SHA1", hex.EncodeToString(demanded.Sum(nil))},
			{"SHA256", hex.EncodeToString(sum.Sum(nil))},
		},
	}, nil
}

// verificationCode is SPDX's digest of a package: the SHA-1 of the sorted SHA-1s of its files.
func verificationCode(files []spdxFile) string {
	var sums []string
	for _, f := range files {
		sums = append(sums, f.Checksums[0].Value)
	}
	slices.Sort(sums)
	sum := sha1.Sum([]byte(strings.Join(sums, "")))
	return hex.EncodeToString(sum[:])
}

var notInSPDXID = regexp.MustCompile(`[^A-Za-z0-9.-]`)

// spdxID replaces characters that SPDX does not allow in identifiers.
func spdxID(kind, name string) string {
	return "SPDXRef-" + kind + "-" + notInSPDXID.ReplaceAllString(name, "-")
}
