// Package kubeconfig reads the cluster and the client certificate of a kubeconfig. It makes no connection and is not a
// client's loader: it supports no merging and no exec plugins.
package kubeconfig

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"argosy.dev/argosy/pkg/node/host"
)

// Config is a kubeconfig's current context.
type Config struct {
	// Server is the API server's address, "https://host:port".
	Server string
	// CA is the certificate authority, PEM.
	CA []byte
	// ClientCertificate is the bearer's certificate, PEM; from the file it names, where it names one.
	ClientCertificate []byte
}

type document struct {
	CurrentContext string `yaml:"current-context"`
	Contexts       []struct {
		Name    string
		Context struct{ Cluster, User string }
	}
	Clusters []struct {
		Name    string
		Cluster struct {
			Server string
			CAData string `yaml:"certificate-authority-data"`
			CAFile string `yaml:"certificate-authority"`
		}
	}
	Users []struct {
		Name string
		User struct {
			CertificateData string `yaml:"client-certificate-data"`
			CertificateFile string `yaml:"client-certificate"`
		}
	}
}

// Read reads the kubeconfig at name on the machine. Its error wraps fs.ErrNotExist when there is none.
func Read(h *host.Host, name string) (*Config, error) {
	data, err := h.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	var doc document
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	return doc.resolve(h, name)
}

// WithServer returns a kubeconfig with another server in the cluster of its current context; all else stays.
func WithServer(data []byte, server string) ([]byte, error) {
	var tree yaml.Node
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("reading a kubeconfig: %w", err)
	}
	root := &tree
	if len(root.Content) == 1 {
		root = root.Content[0]
	}
	current := field(root, "current-context")
	context := field(named(field(root, "contexts"), current), "context")
	held := field(field(named(field(root, "clusters"), field(context, "cluster")), "cluster"), "server")
	if held == nil {
		return nil, errors.New("its current context names no server")
	}
	held.SetString(server)
	changed, err := yaml.Marshal(&tree)
	if err != nil {
		return nil, fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return changed, nil
}

// field returns the value of a mapping's key; nil where there is none.
func field(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// named returns the entry of a list with this name; nil where there is none.
func named(list, name *yaml.Node) *yaml.Node {
	if list == nil || name == nil {
		return nil
	}
	for _, entry := range list.Content {
		if held := field(entry, "name"); held != nil && held.Value == name.Value {
			return entry
		}
	}
	return nil
}

func (d *document) resolve(h *host.Host, name string) (*Config, error) {
	var config Config
	var errs []error
	for _, context := range d.Contexts {
		if context.Name != d.CurrentContext {
			continue
		}
		for _, cluster := range d.Clusters {
			if cluster.Name == context.Context.Cluster {
				ca, err := content(h, cluster.Cluster.CAData, cluster.Cluster.CAFile)
				config.Server, config.CA = cluster.Cluster.Server, ca
				errs = append(errs, err)
			}
		}
		for _, user := range d.Users {
			if user.Name == context.Context.User {
				certificate, err := content(h, user.User.CertificateData, user.User.CertificateFile)
				config.ClientCertificate = certificate
				errs = append(errs, err)
			}
		}
	}
	if config.Server == "" {
		errs = append(errs, errors.New("its current context names no server"))
	}
	if err := errors.Join(errs...); err != nil {
		return &config, fmt.Errorf("reading %q: %w", name, err)
	}
	return &config, nil
}

// content returns data decoded, or else the file.
func content(h *host.Host, data, file string) ([]byte, error) {
	if data != "" {
		decoded, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, fmt.Errorf("decoding a certificate: %w", err)
		}
		return decoded, nil
	}
	if file != "" {
		return h.ReadFile(file)
	}
	return nil, nil
}

// CADigest returns the hex sha256 of the first certificate's DER, which identifies the authority; "" when there is
// none.
func CADigest(bundle []byte) string {
	certificate := first(bundle)
	if certificate == nil {
		return ""
	}
	sum := sha256.Sum256(certificate.Raw)
	return hex.EncodeToString(sum[:])
}

// SameCA reports whether two bundles have a certificate in common: while an authority is rotated, both are trusted.
func SameCA(a, b []byte) bool {
	for _, one := range all(a) {
		for _, other := range all(b) {
			if bytes.Equal(one.Raw, other.Raw) {
				return true
			}
		}
	}
	return false
}

// Node returns the name of the node that the certificate is for, "" when it is no node's, and the end of its validity.
func Node(certificate []byte) (name string, until time.Time) {
	c := first(certificate)
	if c == nil {
		return "", time.Time{}
	}
	name, isNode := strings.CutPrefix(c.Subject.CommonName, "system:node:")
	if !isNode {
		return "", c.NotAfter
	}
	return name, c.NotAfter
}

func first(bundle []byte) *x509.Certificate {
	if certificates := all(bundle); len(certificates) > 0 {
		return certificates[0]
	}
	return nil
}

func all(bundle []byte) []*x509.Certificate {
	var certificates []*x509.Certificate
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		// The kubelet's file has the key in it too.
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			certificates = append(certificates, c)
		}
	}
	return certificates
}
