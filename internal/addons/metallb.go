package addons

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	metalLBNamespace = "metallb-system"
	metalLBVersion   = "metallb.io/v1beta1"
	// poolName is the name of the pool that the documents describe, and of its advertisement.
	poolName = "default"
)

func metalLB(s *site) (Addon, error) {
	settings := s.cluster.VCluster.Deploy.MetalLB
	if !settings.Enabled {
		return Addon{}, nil
	}
	d := read(s, "metallb", "metallb-definitions")
	d.pull("metallb-controller", map[string]string{
		"metallb-controller": settings.ControllerImage, "metallb-speaker": settings.SpeakerImage,
	}, "")
	d.restartWith("metallb-excludel2")
	// Without addresses, pools are for users to make.
	if pool := settings.IPAddressPool; len(pool.Addresses) > 0 {
		addresses := make([]any, len(pool.Addresses))
		for i, address := range pool.Addresses {
			addresses[i] = address
		}
		d.objects = append(d.objects, metalLBObject("IPAddressPool", map[string]any{"addresses": addresses}))
		if pool.L2Advertisement {
			d.objects = append(d.objects, metalLBObject("L2Advertisement",
				map[string]any{"ipAddressPools": []any{poolName}}))
		}
	}
	return d.addon()
}

func metalLBObject(kind string, spec map[string]any) object {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": metalLBVersion, "kind": kind,
		"metadata": map[string]any{"name": poolName, "namespace": metalLBNamespace},
		"spec":     spec,
	}}
}
