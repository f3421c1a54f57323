package certificates

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"argosy.dev/argosy/internal/pki"
)

// KubeconfigKey is the key of a Secret that holds a kubeconfig, as Cluster API has it.
const KubeconfigKey = "value"

// WriteKubeconfig returns a kubeconfig with everything inside, which needs no other file.
func WriteKubeconfig(cluster, server, user string, caCert []byte, pair pki.Pair) ([]byte, error) {
	made := clientcmdapi.NewConfig()
	made.Clusters[cluster] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: caCert}
	made.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.Cert, ClientKeyData: pair.Key}
	made.Contexts[cluster] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: user}
	made.CurrentContext = cluster
	text, err := clientcmd.Write(*made)
	if err != nil {
		return nil, fmt.Errorf("writing the kubeconfig of %q: %w", user, err)
	}
	return text, nil
}

// ReadKubeconfig returns the client certificate and the server of a kubeconfig's current context, and nothing of text
// that is no kubeconfig: to its callers that is a certificate that has to be signed anew.
func ReadKubeconfig(text []byte) (pki.Pair, string) {
	held, err := clientcmd.Load(text)
	if err != nil {
		return pki.Pair{}, ""
	}
	current := held.Contexts[held.CurrentContext]
	if current == nil || held.AuthInfos[current.AuthInfo] == nil || held.Clusters[current.Cluster] == nil {
		return pki.Pair{}, ""
	}
	user := held.AuthInfos[current.AuthInfo]
	return pki.Pair{Cert: user.ClientCertificateData, Key: user.ClientKeyData}, held.Clusters[current.Cluster].Server
}
