package lab

import (
	"context"
	_ "embed"
)

//go:embed manifests/coredns.yaml
var dnsManifest string

// dnsImage is the image that resolves names on the host cluster, under the name that the builder gives it.
const dnsImage = "docker.io/coredns/coredns:1.12.1"

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
