package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	proxyv1 "k8s.io/kube-proxy/config/v1alpha1"
	kubeletv1 "k8s.io/kubelet/config/v1beta1"
)

// The rules of the configurations of kubelet and kube-proxy: neither starts with an unknown setting, nor kubelet with a
// number out of its bounds.

const kubeletConfigKey = "privateNodes.kubelet.config"

// kubeletSince holds the settings of KubeletConfiguration that came after Kubernetes 1.34, by the minor version that
// they came with, up to 1.37. Those of 1.34 are in the type of k8s.io/kubelet.
var kubeletSince = map[string]int{"memoryReservationPolicy": 36, "tlsCurvePreferences": 36, "defaultPodSysctls": 37}

// checkComponentConfigs checks the configurations of kubelet and kube-proxy.
func (d *document) checkComponentConfigs(c *Cluster) {
	minor := minorOf(c.KubernetesVersion())
	kubelet := maps.Clone(c.VCluster.PrivateNodes.Kubelet.Config)
	for _, name := range slices.Sorted(maps.Keys(kubeletSince)) {
		if _, set := kubelet[name]; !set {
			continue
		}
		delete(kubelet, name)
		if since := kubeletSince[name]; minor < since {
			d.add(join(kubeletConfigKey, name), fmt.Sprintf("is a setting of kubelets from Kubernetes 1.%d on, and "+
				"those of %s would not start", since, c.KubernetesVersion()), "remove it")
		}
	}
	if n := d.nodes[kubeletConfigKey]; n != nil {
		rest := *n
		rest.fields = slices.DeleteFunc(slices.Clone(n.fields), func(f field) bool { return kubeletSince[f.name] > 0 })
		d.nodes[kubeletConfigKey] = &rest
		defer func() { d.nodes[kubeletConfigKey] = n }()
	}
	d.fits(kubeletConfigKey, kubelet, new(kubeletv1.KubeletConfiguration))
	d.checkKubeletNumbers(kubelet)
	d.fits("deploy.kubeProxy.config", c.VCluster.Deploy.KubeProxy.Config, new(proxyv1.KubeProxyConfiguration))
}

// minorOf returns the minor number of a version; 0 when it has none.
func minorOf(version string) int {
	parts := strings.Split(version, ".")
	if len(parts) < 2 {
		return 0
	}
	minor, _ := strconv.Atoi(parts[1])
	return minor
}

// bounds of a number, both included.
type bounds struct{ least, most int }

// kubeletBounds are those that kubelet checks when it starts, by setting. Those that it replaces by a default when they
// are 0 begin with 0.
func kubeletBounds() map[string]bounds {
	percent, bit := bounds{0, 100}, bounds{0, 31}
	found := map[string]bounds{
		"port": {1, math.MaxUint16}, "readOnlyPort": {0, math.MaxUint16}, "healthzPort": {0, math.MaxUint16},
		"imageGCHighThresholdPercent": percent, "imageGCLowThresholdPercent": percent,
		"iptablesMasqueradeBit": bit, "iptablesDropBit": bit,
		"oomScoreAdj": {-1000, 1000}, "nodeStatusMaxImages": {-1, math.MaxInt32}, "podPidsLimit": {-1, math.MaxInt},
		"maxParallelImagePulls": {1, math.MaxInt32}, "containerLogMaxFiles": {2, math.MaxInt32},
		"containerLogMaxWorkers": {1, math.MaxInt32},
	}
	for _, name := range []string{
		"maxPods", "podsPerCore", "registryPullQPS", "registryBurst", "eventRecordQPS", "eventBurst", "kubeAPIQPS",
		"kubeAPIBurst", "maxOpenFiles", "nodeLeaseDurationSeconds",
	} {
		found[name] = bounds{0, math.MaxInt}
	}
	return found
}

func (d *document) checkKubeletNumbers(config Unstructured) {
	allowed := kubeletBounds()
	for _, name := range slices.Sorted(maps.Keys(config)) {
		number, isNumber := config[name].(int)
		limits, limited := allowed[name]
		if !isNumber || !limited || number >= limits.least && number <= limits.most {
			continue
		}
		instead := fmt.Sprintf("use %d to %d", limits.least, limits.most)
		if limits.most >= math.MaxInt32 {
			instead = fmt.Sprintf("use %d or more", limits.least)
		}
		d.add(join(kubeletConfigKey, name), fmt.Sprintf("%d is out of range, and no kubelet would start", number),
			instead)
	}
	const low, high = "imageGCLowThresholdPercent", "imageGCHighThresholdPercent"
	least, hasLeast := config[low].(int)
	most, hasMost := config[high].(int)
	if hasLeast && hasMost && least >= most {
		d.add(join(kubeletConfigKey, low), fmt.Sprintf("%d is not less than %s, which is %d", least, high, most),
			"lower it")
	}
}
