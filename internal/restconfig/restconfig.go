// Package restconfig reads the kubeconfig of a Secret. Its author may have fewer rights than this program,
// so it has to be complete: no program is started, no plugin is asked, and no file is read.
package restconfig

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"argosy.dev/argosy/pkg/errclass"
)

// Parse returns the configuration of a client for the kubeconfig's current context. It refuses every user and cluster
// that needs more than the text, also those of other contexts. Errors are of class configuration, and have no content
// of the kubeconfig but names.
func Parse(text []byte) (*rest.Config, error) {
	held, err := clientcmd.Load(text)
	if err != nil {
		return nil, errclass.With(errclass.Configuration, err)
	}
	if found := outside(held); len(found) > 0 {
		return nil, errclass.Errorf(errclass.Configuration, "it needs more than itself: %s; write certificates, key "+
			"and token into it, e.g. with: kubectl config view --raw --flatten --minify", strings.Join(found, "; "))
	}
	made, err := clientcmd.NewDefaultClientConfig(*held, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, errclass.With(errclass.Configuration, err)
	}
	return made, nil
}

// outside returns the keys of a kubeconfig that have a program started, a plugin asked or a file read. A tokenFile
// could name the token of this program's own service account, and the server would receive it.
func outside(held *clientcmdapi.Config) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(held.Clusters)) {
		if cluster := held.Clusters[name]; cluster != nil && cluster.CertificateAuthority != "" {
			found = append(found, fmt.Sprintf("cluster %q has certificate-authority", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(held.AuthInfos)) {
		user := held.AuthInfos[name]
		if user == nil {
			continue
		}
		for _, one := range []struct {
			key string
			set bool
		}{
			{"client-certificate", user.ClientCertificate != ""},
			{"client-key", user.ClientKey != ""},
			{"tokenFile", user.TokenFile != ""},
			{"exec", user.Exec != nil},
			{"auth-provider", user.AuthProvider != nil},
		} {
			if one.set {
				found = append(found, fmt.Sprintf("user %q has %s", name, one.key))
			}
		}
	}
	return found
}
