package certificates

import (
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/pkg/errclass"
)

// Wanted describes one certificate that a component needs.
type Wanted struct {
	// File is its name in the Secret: <File>.crt and <File>.key, or with a Server a kubeconfig of just this name.
	File string
	By   *pki.Authority
	Leaf pki.Leaf
	// Server is the URL of the API server in the kubeconfig; "" for a pair of files.
	Server string
}

// ClientLeaf describes a client's certificate.
func ClientLeaf(commonName string, organizations ...string) pki.Leaf {
	return pki.Leaf{
		CommonName: commonName, Organizations: organizations,
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// Issuer brings the data of Secrets to the certificates that a cluster wants.
type Issuer struct {
	// Cluster is its name, and CACert its authority's certificate: both are in kubeconfigs.
	Cluster string
	CACert  []byte
	Now     time.Time
	// Renew signs every certificate anew, whatever its age.
	Renew bool
}

// Ensure returns the certificates of the list, and by file the reason of each one that was signed anew. Those of held,
// the data that the Secret has now, that still hold are kept.
func (i Issuer) Ensure(held map[string][]byte, list []Wanted) (map[string][]byte, map[string]string, error) {
	data, reasons := map[string][]byte{}, map[string]string{}
	for _, wanted := range list {
		files, reason, err := i.ensure(held, wanted)
		if err != nil {
			return nil, nil, err
		}
		if reason != "" {
			reasons[wanted.File] = reason
		}
		maps.Copy(data, files)
	}
	return data, reasons, nil
}

// ensure returns the file or files of one certificate, and the reason when it was signed anew.
func (i Issuer) ensure(held map[string][]byte, wanted Wanted) (map[string][]byte, string, error) {
	pair := pki.Pair{Cert: held[wanted.File+CertExtension], Key: held[wanted.File+KeyExtension]}
	server := ""
	if wanted.Server != "" {
		pair, server = ReadKubeconfig(held[wanted.File])
	}
	reason := wanted.By.Worn(pair, wanted.Leaf, i.Now)
	switch {
	case reason == "" && i.Renew:
		reason = "its renewal was asked for"
	case reason == "" && server != wanted.Server:
		reason = "the server's address changed"
	}
	if reason != "" {
		var err error
		if pair, err = wanted.By.Issue(wanted.Leaf, i.Now); err != nil {
			return nil, "", err
		}
	}
	if wanted.Server == "" {
		return map[string][]byte{wanted.File + CertExtension: pair.Cert, wanted.File + KeyExtension: pair.Key}, reason,
			nil
	}
	if reason == "" {
		return map[string][]byte{wanted.File: held[wanted.File]}, "", nil
	}
	text, err := WriteKubeconfig(i.Cluster, wanted.Server, wanted.Leaf.CommonName, i.CACert, pair)
	return map[string][]byte{wanted.File: text}, reason, err
}

// Earliest returns the first end among the certificates in the data of a Secret; the zero time when it holds none.
func Earliest(data map[string][]byte) (time.Time, error) {
	var first time.Time
	for _, file := range slices.Sorted(maps.Keys(data)) {
		cert := certificateIn(file, data[file])
		if cert == nil {
			continue
		}
		ends, err := pki.Expiry(cert)
		if err != nil {
			return time.Time{}, errclass.Errorf(errclass.Permanent, "reading the certificate in %q: %w", file, err)
		}
		if first.IsZero() || ends.Before(first) {
			first = ends
		}
	}
	return first, nil
}

// certificateIn returns the certificate in a file of a Secret: the file itself, or a kubeconfig's; nil when it holds
// none.
func certificateIn(file string, content []byte) []byte {
	switch {
	case strings.HasSuffix(file, CertExtension):
		return content
	case strings.HasSuffix(file, ".conf"), file == KubeconfigKey:
		pair, _ := ReadKubeconfig(content)
		return pair.Cert
	}
	return nil
}
