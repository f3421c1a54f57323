package lab

import (
	"context"
	_ "embed"

	"argosy.dev/argosy/pkg/bundle/components"
)

//go:embed manifests/coredns.yaml
var dnsManifest string

// dnsImage is the image that resolves names on the host cluster, under the name that the builder gives it.
var dnsImage = "docker.io/coredns/coredns:" + components.AddonVersion(components.CoreDNS)

// dns resolves the names of the host cluster's Services, at the address that
// kubeadm tells kubelets: the tenth of the Services' network. The manifest is
// filled by ensureDNS.
func dns() deployment {
	return deployment{what: "DNS", namespace: "kube-system", name: "coredns"}
}

// ensureDNS gives the host cluster's Services names.
func (l *Lab) ensureDNS(ctx context.Context) (err error) {
	wanted := dns()
	wanted.manifest, err = render("coredns.yaml", dnsManifest, struct{ Address, Image string }{"10.96.0.10", dnsImage})
	if err != nil {
		return err
	}
	return l.ensureDeployment(ctx, wanted)
}
