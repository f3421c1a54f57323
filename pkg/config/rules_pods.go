package config

import (
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The rules of pods, the same for all sections that describe pods.

func (d *document) metadata(key string, labels, annotations map[string]string) {
	d.labels(join(key, "labels"), labels)
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		if len(validation.IsQualifiedName(name)) > 0 {
			d.add(join(join(key, "annotations"), name), shown(name)+" is not a name for an annotation",
				`use letters, digits, "-", "_" and ".", up to 63, after an optional DNS prefix and "/"`)
		}
	}
}

// resources checks amounts, and that no request is more than its limit.
func (d *document) resources(key string, r Resources) {
	limits, requests := d.amounts(join(key, "limits"), r.Limits), d.amounts(join(key, "requests"), r.Requests)
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		if limit, limited := limits[name]; limited && limit.Cmp(requests[name]) < 0 {
			d.add(join(join(key, "requests"), name), "is more than the limit "+limit.String(),
				"lower it, or raise the limit")
		}
	}
}

func (d *document) amounts(key string, section Unstructured) map[string]resource.Quantity {
	amounts := map[string]resource.Quantity{}
	for _, name := range slices.Sorted(maps.Keys(section)) {
		at := join(key, name)
		var text string
		switch value := section[name].(type) {
		case string:
			text = value
		case int:
			text = strconv.Itoa(value)
		case float64:
			text = strconv.FormatFloat(value, 'f', -1, 64)
		}
		// A quantity is short; the time of its parser grows with the length of the text.
		amount, err := resource.ParseQuantity(text[:min(len(text), 64)])
		if err != nil || len(text) > 64 || amount.Sign() < 0 {
			d.add(at, "is not an amount of a resource", `write e.g. "200m" for cpu or "256Mi" for memory`)
			continue
		}
		d.qualified(at, name)
		amounts[name] = amount
	}
	return amounts
}

func (d *document) scheduling(key string, s Scheduling) {
	d.labels(join(key, "nodeSelector"), s.NodeSelector)
	d.fits(join(key, "affinity"), s.Affinity, new(corev1.Affinity))
	fitsEach[corev1.Toleration](d, join(key, "tolerations"), s.Tolerations)
	d.object(join(key, "priorityClassName"), s.PriorityClassName)
	fitsEach[corev1.TopologySpreadConstraint](d, join(key, "topologySpreadConstraints"), s.TopologySpreadConstraints)
}

func (d *document) security(key string, s Security) {
	d.fits(join(key, "podSecurityContext"), s.PodSecurityContext, new(corev1.PodSecurityContext))
	d.fits(join(key, "containerSecurityContext"), s.ContainerSecurityContext, new(corev1.SecurityContext))
}

func (d *document) persistence(key string, p Persistence) {
	claim := join(key, "volumeClaim")
	switch p.VolumeClaim.Enabled {
	case nil, true, false, "auto", "":
	default:
		suggestion := ""
		if n := d.nodes[join(claim, "enabled")]; n != nil && meansFalse(n) {
			suggestion = "write false"
		}
		d.add(join(claim, "enabled"), "must be true, false or auto", suggestion)
	}
	d.quantity(join(claim, "size"), p.VolumeClaim.Size)
	d.object(join(claim, "storageClass"), p.VolumeClaim.StorageClass)
	for i, mode := range p.VolumeClaim.AccessModes {
		at := claim + ".accessModes[" + strconv.Itoa(i) + "]"
		d.required(at, mode, "remove it")
		d.oneOf(at, mode, "ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany")
	}
	fitsEach[corev1.Volume](d, join(key, "addVolumes"), p.AddVolumes)
	fitsEach[corev1.VolumeMount](d, join(key, "addVolumeMounts"), p.AddVolumeMounts)
}

func (d *document) probes(key string, p Probes) {
	for name, probe := range map[string]Probe{
		"livenessProbe": p.LivenessProbe, "readinessProbe": p.ReadinessProbe,
		"startupProbe": p.StartupProbe,
	} {
		for field, number := range map[string]int{
			"failureThreshold": probe.FailureThreshold, "initialDelaySeconds": probe.InitialDelaySeconds,
			"timeoutSeconds": probe.TimeoutSeconds, "periodSeconds": probe.PeriodSeconds,
		} {
			if number < 0 {
				d.add(join(join(key, name), field), strconv.Itoa(number)+" is negative",
					"remove it, or use 1 or more")
			}
		}
	}
}

// service checks the spec of a Service. Machines cannot reach one of type ExternalName, which Kubernetes has too.
func (d *document) service(key string, spec Unstructured) {
	var typed corev1.ServiceSpec
	d.fits(key, spec, &typed)
	d.oneOf(join(key, "type"), string(typed.Type), "ClusterIP", "NodePort", "LoadBalancer")
}
