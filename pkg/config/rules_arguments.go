package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The rules of arguments that the user gives a program. They replace those which Argosy gives it by the same name, see
// MergeArguments, so that the few without which a cluster can't work are refused.

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
		name := argumentName(arg)
		_, value, _ := strings.Cut(arg, "=")
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

// checkLogins checks arguments of kube-apiserver about logins that exclude each other, with which it ends at once.
func (d *document) checkLogins(key string, args []string, kubernetes string) {
	index := func(name string) int {
		return slices.IndexFunc(args, func(arg string) bool { return argumentName(arg) == name })
	}
	at := func(i int) string { return fmt.Sprintf("%s[%d]", key, i) }
	const authorization = "authorization-config"
	if i := index("authorization-mode"); i >= 0 && index(authorization) >= 0 {
		d.add(at(i), "--authorization-mode cannot stand beside --authorization-config", "remove one of them")
	}
	oidc := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(argumentName(arg), "oidc-") })
	file := index("authentication-config")
	if oidc >= 0 && file >= 0 {
		d.add(at(oidc), "--"+argumentName(args[oidc])+" cannot stand beside --authentication-config",
			"write its value into section jwt of that file")
	}
	i := index("anonymous-auth")
	if i < 0 || ArgumentValue(args, "anonymous-auth") != "false" || file >= 0 {
		return
	}
	const probes = "--anonymous-auth=false %s has no pod of the control plane ready: its probes ask without a login, " +
		"and only a file of --authentication-config can allow them alone"
	switch {
	case oidc >= 0:
		d.add(at(i), fmt.Sprintf(probes, "beside --"+argumentName(args[oidc])),
			"write a file with sections jwt and anonymous, and name it in --authentication-config")
	case !AnonymousPaths(kubernetes):
		d.add(at(i), fmt.Sprintf(probes, "before Kubernetes 1.32"), "remove it, or upgrade the cluster")
	}
}

// AnonymousPaths reports whether the API server of a version of Kubernetes can bound requests without a login to some
// paths: from 1.32 on, where the feature gate AnonymousAuthConfigurableEndpoints is on by default. A text that is no
// version counts as the newest.
func AnonymousPaths(kubernetes string) bool {
	minor := minorOf(kubernetes)
	return minor == 0 || minor >= 32
}

// checkArguments checks the arguments of every program that Argosy starts for a cluster. A command of the user's own
// gets the user's arguments alone.
func (d *document) checkArguments(v VCluster, kubernetes string) {
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
	if api := v.ControlPlane.Distro.K8s.APIServer; len(api.Command) == 0 {
		d.checkLogins(k8s+"apiServer.extraArgs", api.ExtraArgs, kubernetes)
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
