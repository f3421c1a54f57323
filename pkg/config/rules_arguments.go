package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The rules of arguments that are added to those which Argosy gives a program. The last one of a name holds, so that
// one of Argosy's own would be undone.

// argument is one argument of a program: "--name", "--name=value" or "-v=4".
var argument = regexp.MustCompile(`^--?[a-zA-Z][a-zA-Z0-9_.-]*(=|$)`)

// ownArguments holds, by name, the way out for arguments that a program gets from Argosy alone.
type ownArguments map[string]string

const (
	ownCertificates = "remove it: Argosy makes and renews the certificates; controlPlane.proxy.extraSANs adds names " +
		"to that of the API server"
	ownLogins = "remove it: Argosy makes the kubeconfig of this component"
	ownPort   = "remove it: Argosy's probes and Services lead to its port"
	ownStore  = "remove it, and set controlPlane.backingStore"
	ownLease  = "remove it, and set controlPlane.statefulSet.highAvailability"
	ownPods   = "remove it, and set networking.podCIDR"
	ownRange  = "remove it, and set networking.serviceCIDR"
	ownHA     = "remove it: while a pod is replaced there are two, of which one may work"
)

// apiServerArguments returns those of kube-apiserver.
func apiServerArguments() ownArguments {
	return with(ownArguments{
		"service-cluster-ip-range":    ownRange,
		"secure-port":                 "remove it, and set controlPlane.proxy.port",
		"bind-address":                "remove it, and set controlPlane.proxy.bindAddress",
		"endpoint-reconciler-type":    "remove it: Argosy sets the addresses of Service default/kubernetes",
		"egress-selector-config-file": "remove it, and set controlPlane.advanced.konnectivity",
		"enable-bootstrap-token-auth": "remove it: machines join with bootstrap tokens",
	}, ownStore, "etcd-servers", "etcd-cafile", "etcd-certfile", "etcd-keyfile", "etcd-prefix",
		"storage-backend").with(ownCertificates, "client-ca-file", "tls-cert-file", "tls-private-key-file",
		"kubelet-client-certificate", "kubelet-client-key", "proxy-client-cert-file", "proxy-client-key-file",
		"requestheader-client-ca-file", "requestheader-allowed-names", "service-account-signing-key-file")
}

func controllerManagerArguments() ownArguments {
	return with(ownArguments{
		"cluster-cidr":                    ownPods,
		"service-cluster-ip-range":        ownRange,
		"allocate-node-cidrs":             "remove it: nodes get their part of networking.podCIDR from it",
		"use-service-account-credentials": "remove it: each controller has its own rights",
	}, ownCertificates, "client-ca-file", "root-ca-file", "cluster-signing-cert-file", "cluster-signing-key-file",
		"requestheader-client-ca-file", "service-account-private-key-file").ofComponent()
}

func schedulerArguments() ownArguments { return ownArguments{}.ofComponent() }

// konnectivityServerArguments returns those of Konnectivity's server.
func konnectivityServerArguments() ownArguments {
	return with(ownArguments{"server-count": "remove it, and set controlPlane.statefulSet.highAvailability.replicas"},
		ownCertificates, "cluster-cert", "cluster-key", "authentication-audience", "agent-service-account",
		"agent-namespace", "kubeconfig").with(ownPort, "agent-port", "admin-port", "health-port", "server-port",
		"uds-name", "mode")
}

// etcdArguments returns those of a deployed etcd.
func etcdArguments() ownArguments {
	return with(ownArguments{}, "remove it: Argosy gives each member its name, addresses and folder", "name",
		"data-dir", "initial-cluster", "initial-cluster-token", "initial-cluster-state", "initial-advertise-peer-urls",
		"advertise-client-urls", "listen-client-urls", "listen-peer-urls", "listen-metrics-urls", "force-new-cluster").
		with(ownCertificates, "client-cert-auth", "cert-file", "key-file", "trusted-ca-file", "peer-client-cert-auth",
			"peer-cert-file", "peer-key-file", "peer-trusted-ca-file")
}

func kineArguments() ownArguments {
	return with(ownArguments{}, ownStore, "endpoint", "listen-address", "metrics-bind-address")
}

func kubeProxyArguments() ownArguments {
	return ownArguments{
		"cluster-cidr":      ownPods,
		"config":            "remove it, and set deploy.kubeProxy.config",
		"hostname-override": "remove it: every node has its own name",
		"kubeconfig":        ownLogins,
	}
}

// ofComponent adds those that controller manager and scheduler have in common.
func (o ownArguments) ofComponent() ownArguments {
	return o.with(ownLogins, "kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig").
		with(ownPort, "secure-port", "bind-address").
		with(ownLease, "leader-elect-lease-duration", "leader-elect-renew-deadline", "leader-elect-retry-period")
}

// with returns the arguments and further ones that share a way out.
func (o ownArguments) with(instead string, names ...string) ownArguments {
	return with(o, instead, names...)
}

func with(o ownArguments, instead string, names ...string) ownArguments {
	more := maps.Clone(o)
	for _, name := range names {
		more[name] = instead
	}
	return more
}

// arguments checks a list of further arguments.
func (d *document) arguments(key string, list []string, own ownArguments) {
	for i, arg := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		name, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		name = strings.ReplaceAll(name, "_", "-")
		switch instead, isOwn := own[name]; {
		case strings.TrimSpace(arg) == "":
			d.add(at, "is empty", "remove it")
		case !argument.MatchString(arg):
			d.add(at, shown(arg)+" is no argument", `write "--name=value", one an item`)
		case isOwn:
			d.add(at, "--"+name+" is an argument that Argosy sets itself", instead)
		default:
			d.argumentValue(at, name, value)
		}
	}
}

// neededControllers returns the controllers that a cluster with private nodes cannot do without.
func neededControllers() []string { return []string{"*", "bootstrapsigner", "tokencleaner"} }

// argumentValue checks the arguments of which only some values work.
func (d *document) argumentValue(key, name, value string) {
	words := strings.Split(value, ",")
	switch name {
	case "anonymous-auth":
		if value == "false" {
			d.add(key, "--anonymous-auth=false has no pod of the control plane ready: its probes ask without a login",
				"remove it; requests without a login see /livez, /readyz and /version alone")
		}
	case "authorization-mode":
		if !slices.Contains(words, "Node") || !slices.Contains(words, "RBAC") {
			d.add(key, "--authorization-mode without Node and RBAC takes kubelets and controllers their rights",
				`write e.g. "--authorization-mode=Node,RBAC,Webhook"`)
		}
	case "leader-elect":
		if value == "false" {
			d.add(key, "--leader-elect=false has two pods work at the same time", ownHA)
		}
	case "controllers":
		for _, needed := range neededControllers() {
			if !slices.Contains(words, needed) {
				d.add(key, fmt.Sprintf("--controllers without %q leaves machines that cannot join", needed),
					`write "--controllers=*,bootstrapsigner,tokencleaner" and those to leave out with "-" in front`)
				return
			}
		}
		if slices.Contains(words, "-nodeipam") || slices.Contains(words, "-node-ipam-controller") {
			d.add(key, "--controllers without nodeipam leaves nodes without a part of networking.podCIDR", "remove it")
		}
	}
}

// checkArguments checks the arguments of every program that Argosy starts for a cluster. A command of the user's own
// gets the user's arguments alone.
func (d *document) checkArguments(v VCluster) {
	const k8s = "controlPlane.distro.k8s."
	for _, component := range []struct {
		key      string
		settings Component
		own      ownArguments
	}{
		{k8s + "apiServer.extraArgs", v.ControlPlane.Distro.K8s.APIServer, apiServerArguments()},
		{
			k8s + "controllerManager.extraArgs", v.ControlPlane.Distro.K8s.ControllerManager,
			controllerManagerArguments(),
		},
		{k8s + "scheduler.extraArgs", v.ControlPlane.Distro.K8s.Scheduler, schedulerArguments()},
	} {
		if len(component.settings.Command) == 0 {
			d.arguments(component.key, component.settings.ExtraArgs, component.own)
		}
	}
	store, konnectivity := v.ControlPlane.BackingStore, v.ControlPlane.Advanced.Konnectivity
	const stores, konnectivityKey = "controlPlane.backingStore.", "controlPlane.advanced.konnectivity."
	d.arguments(stores+"database.embedded.extraArgs", store.Database.Embedded.ExtraArgs, kineArguments())
	d.arguments(stores+"database.external.extraArgs", store.Database.External.ExtraArgs, kineArguments())
	d.arguments(stores+"etcd.deploy.statefulSet.extraArgs", store.Etcd.Deploy.StatefulSet.ExtraArgs, etcdArguments())
	d.arguments(konnectivityKey+"server.extraArgs", konnectivity.Server.ExtraArgs, konnectivityServerArguments())
	d.arguments(konnectivityKey+"agent.extraArgs", konnectivity.Agent.ExtraArgs, ownArguments{})
	d.arguments("deploy.kubeProxy.extraArgs", v.Deploy.KubeProxy.ExtraArgs, kubeProxyArguments())
}
