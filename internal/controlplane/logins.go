package controlplane

import (
	"encoding/json"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/pkg/config"
)

const (
	// serviceAccountKeys is the API server's argument with a key that tokens of service accounts are checked with. Its
	// own key stays beside the user's: it signs with that one.
	serviceAccountKeys = "service-account-key-file"
	anonymousAuth      = "anonymous-auth"
	authentication     = "authentication-config"
	nodeRestriction    = "NodeRestriction"
)

// withLogins adds the API server's arguments about logins and rights to own, and returns further, the user's, without
// those that it has translated. Anonymous requests are bounded to the paths of probes by a file:
//
//	argument of the user           from Kubernetes  anonymous requests
//	none                           1.32             on the paths of probes
//	none                           –                on all paths, as RBAC allows
//	--anonymous-auth=true          –                on all paths, as RBAC allows
//	--anonymous-auth=false         1.32             on the paths of probes; earlier, package config refuses it
//	--authentication-config=FILE   –                as FILE allows
//	--oidc-…                       –                on all paths, as RBAC allows: it excludes a file
func (p *Provisioner) withLogins(own *[]string, further []string) []string {
	if !config.HasArgument(further, "authorization-config") {
		*own = append(*own, "--authorization-mode=Node,RBAC")
	}
	if file := p.authenticationFile(); file != "" {
		*own = append(*own, "--"+authentication+"="+path.Join(configDir, file))
		further = without(further, anonymousAuth)
	}
	const enabled, disabled = "enable-admission-plugins", "disable-admission-plugins"
	plugins := valuesOf(further, enabled)
	if !slices.Contains(plugins, nodeRestriction) && !slices.Contains(valuesOf(further, disabled), nodeRestriction) {
		plugins = append([]string{nodeRestriction}, plugins...)
	}
	if further = without(further, enabled); len(plugins) > 0 {
		*own = append(*own, "--"+enabled+"="+strings.Join(plugins, ","))
	}
	return further
}

// authenticationFile returns the name of the API server's file about logins in ConfigMap <cluster>-control-plane; ""
// where it has none of Argosy's.
func (p *Provisioner) authenticationFile() string {
	settings := p.VCluster.ControlPlane.Distro.K8s.APIServer
	asked := config.HasArgument(settings.ExtraArgs, anonymousAuth) &&
		config.ArgumentValue(settings.ExtraArgs, anonymousAuth) != "false"
	if len(settings.Command) > 0 || asked || !config.AnonymousPaths(p.KubernetesVersion()) ||
		config.HasArgument(settings.ExtraArgs, authentication) ||
		slices.ContainsFunc(settings.ExtraArgs, func(arg string) bool {
			return strings.HasPrefix(strings.TrimLeft(arg, "-"), "oidc")
		}) {
		return ""
	}
	return "authentication-" + p.authenticationVersion() + ".yaml"
}

// authenticationVersion returns the version of AuthenticationConfiguration that the API server reads: v1 from
// Kubernetes 1.34 on, with which it and its field anonymous are stable.
func (p *Provisioner) authenticationVersion() string {
	if parsed, err := version.ParseSemantic(p.KubernetesVersion()); err == nil && parsed.Minor() < 34 {
		return "v1beta1"
	}
	return "v1"
}

// authenticationConfig returns the content of authenticationFile.
func (p *Provisioner) authenticationConfig() string {
	var conditions []any
	for _, probed := range []string{"/livez", "/readyz", "/healthz"} {
		conditions = append(conditions, map[string]any{"path": probed})
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": "apiserver.config.k8s.io/" + p.authenticationVersion(), "kind": "AuthenticationConfiguration",
		"anonymous": map[string]any{"enabled": true, "conditions": conditions},
	})
	if err != nil {
		panic(err) // it is made of texts
	}
	return string(text)
}

// without returns the arguments of other names.
func without(args []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		return config.HasArgument([]string{arg}, name)
	})
}

// valuesOf returns the values of an argument that is a list, which may stand several times.
func valuesOf(args []string, name string) []string {
	var values []string
	for _, arg := range args {
		if config.HasArgument([]string{arg}, name) {
			values = append(values, strings.Split(config.ArgumentValue([]string{arg}, name), ",")...)
		}
	}
	return slices.DeleteFunc(values, func(value string) bool { return value == "" })
}
