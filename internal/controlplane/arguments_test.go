package controlplane

import (
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/pkg/config"
)

// apiServerOf returns the API server's container with further arguments, at a version of Kubernetes.
func apiServerOf(t *testing.T, version string, further ...string) (*Provisioner, corev1.Container) {
	t.Helper()
	quoted := ""
	if len(further) > 0 {
		quoted = "'" + strings.Join(further, "', '") + "'"
	}
	p := provisioner(t, controlplanetest.Replace(controlplanetest.SQLite, "image: {tag: v1.34.4}",
		"image: {tag: "+version+"}, apiServer: {extraArgs: ["+quoted+"]}"))
	return p, p.apiServer()
}

// named returns those of the arguments that have one of the names.
func named(args []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return config.HasArgument([]string{arg}, name) })
	})
}

func TestArgumentsOfTheUserReplaceArgosysInEveryProgram(t *testing.T) {
	p := provisioner(t, controlplanetest.With(`controlPlane:
  backingStore: {etcd: {deploy: {enabled: true, statefulSet: {extraArgs: [--quota-backend-bytes=1]}}}}
  advanced: {konnectivity: {server: {extraArgs: [--keepalive-time=9s]}}}`))
	k8s := &p.VCluster.ControlPlane.Distro.K8s
	k8s.APIServer.ExtraArgs = []string{
		"--service-account-issuer=https://a.example.com", "--service-account-issuer=https://b.example.com",
		"--service-account-jwks-uri=https://a.example.com/keys", "--profiling=true",
		"--kubelet-preferred-address-types=Hostname", "--shutdown-delay-duration=9s",
		"--service-account-key-file=/extra/old.pub",
	}
	k8s.ControllerManager.ExtraArgs = []string{"--profiling=true", "--cluster_name=mine"}
	k8s.Scheduler.ExtraArgs = []string{"--profiling=true"}
	etcd, err := p.etcd("digest", keptOfEtcd{})
	assert.NilError(t, err)
	containers := append(p.containers(), etcd.Spec.Template.Spec.Containers...)
	for _, container := range containers {
		repeated := []string{"service-account-issuer", serviceAccountKeys}
		var seen []string
		for _, arg := range container.Args {
			name, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimLeft(arg, "-"), "_", "-"), "=")
			assert.Assert(t, !slices.Contains(seen, name) || slices.Contains(repeated, name), "%s: %s twice",
				container.Name, name)
			seen = append(seen, name)
		}
	}
	api := containers[slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == "kube-apiserver" })]
	assert.DeepEqual(t, named(api.Args, "service-account-issuer", "profiling", "shutdown-delay-duration"), []string{
		"--service-account-issuer=https://a.example.com", "--service-account-issuer=https://b.example.com",
		"--profiling=true", "--shutdown-delay-duration=9s",
	})
	// What the API server signs with must stay one of the keys that it checks tokens with.
	assert.DeepEqual(t, named(api.Args, serviceAccountKeys),
		[]string{"--service-account-key-file=/etc/argosy/certs/sa.pub", "--service-account-key-file=/extra/old.pub"})
	konnectivity := containers[0]
	assert.DeepEqual(t, named(konnectivity.Args, "keepalive-time"), []string{"--keepalive-time=9s"})

	kine := provisioner(t, controlplanetest.With("controlPlane:\n  backingStore: {database: {embedded: {extraArgs: "+
		"[--slow-sql-threshold=1s, --debug]}}}")).kine()
	assert.DeepEqual(t, kine.Args, []string{
		"--listen-address=unix:///run/kine/kine.sock", "--metrics-bind-address=0", "--slow-sql-threshold=1s", "--debug",
	})
}

func TestAFileOfTheUserDecidesAboutRights(t *testing.T) {
	_, api := apiServerOf(t, "v1.34.4", "--authorization-config=/etc/rights/authorization.yaml")
	assert.DeepEqual(t, named(api.Args, "authorization-mode", "authorization-config"),
		[]string{"--authorization-config=/etc/rights/authorization.yaml"})
	_, api = apiServerOf(t, "v1.34.4", "--authorization-mode=Node,RBAC,Webhook")
	assert.DeepEqual(t, named(api.Args, "authorization-mode"), []string{"--authorization-mode=Node,RBAC,Webhook"})
}

func TestKubeletsStayBoundToTheirOwnNode(t *testing.T) {
	for further, want := range map[string]string{
		"--v=2": "NodeRestriction",
		"--enable-admission-plugins=AlwaysPullImages":               "NodeRestriction,AlwaysPullImages",
		"--enable-admission-plugins=EventRateLimit,NodeRestriction": "EventRateLimit,NodeRestriction",
		"--disable-admission-plugins=NodeRestriction":               "",
	} {
		_, api := apiServerOf(t, "v1.34.4", further)
		assert.Equal(t, config.ArgumentValue(api.Args, "enable-admission-plugins"), want, further)
		assert.Assert(t, len(named(api.Args, "enable-admission-plugins")) <= 1)
	}
}

func TestAnonymousRequestsAreAllowedOnHealthPathsOnly(t *testing.T) {
	const conditions = `{"anonymous":{"conditions":[{"path":"/livez"},{"path":"/readyz"},{"path":"/healthz"}],` +
		`"enabled":true},"apiVersion":"apiserver.config.k8s.io/`
	for _, tt := range []struct {
		name, version string
		further       []string
		file, args    string
	}{
		{"by default", "v1.34.4", nil, "v1", ""},
		{"of the newest", "v1.37.2", nil, "v1", ""},
		{"before the file was stable", "v1.33.13", nil, "v1beta1", ""},
		{"before the file had paths", "v1.31.14", nil, "", ""},
		{"without anonymous requests", "v1.34.4", []string{"--anonymous-auth=false"}, "v1", ""},
		{"as asked for", "v1.34.4", []string{"--anonymous-auth=true"}, "", "--anonymous-auth=true"},
		{"with underscores", "v1.34.4", []string{"--anonymous_auth=false"}, "v1", ""},
		{
			"a file of the user", "v1.34.4",
			[]string{"--authentication-config=/a.yaml"},
			"",
			"--authentication-config=/a.yaml",
		},
		{
			"OpenID by flags", "v1.34.4",
			[]string{"--oidc-issuer-url=https://a.example.com"},
			"",
			"--oidc-issuer-url=https://a.example.com",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, api := apiServerOf(t, tt.version, tt.further...)
			args := named(api.Args, "authentication-config", "anonymous-auth", "oidc-issuer-url")
			files := p.configFiles().Data
			if tt.file == "" {
				assert.Equal(t, strings.Join(args, " "), tt.args)
				assert.Equal(t, len(files), 1, "%v", files)
				return
			}
			name := "authentication-" + tt.file + ".yaml"
			assert.DeepEqual(t, args, []string{"--authentication-config=/etc/argosy/config/" + name})
			assert.Assert(t, strings.HasPrefix(files[name], conditions+tt.file+`"`), files[name])
			for _, check := range []*corev1.Probe{api.ReadinessProbe, api.LivenessProbe, api.StartupProbe} {
				path, _, _ := strings.Cut(check.HTTPGet.Path, "?")
				assert.Assert(t, cmp.Contains(files[name], `"path":"`+path+`"`), "a probe that gets no answer")
			}
		})
	}
}

func TestTokensNameAnAddressThatTheirReadersReach(t *testing.T) {
	_, api := apiServerOf(t, "v1.34.4", "--v=2")
	assert.Equal(t, config.ArgumentValue(api.Args, "service-account-jwks-uri"),
		"https://192.0.2.10:443/openid/v1/jwks")
}

func TestWebhooksWithAURLAreCalledFromTheMachines(t *testing.T) {
	p, _ := apiServerOf(t, "v1.34.4", "--v=2")
	assert.Assert(t, cmp.Contains(p.configFiles().Data[egressFile], `"name":"controlplane"`))
	for _, argument := range []string{
		"--audit-webhook-config-file=/a", "--authorization-config=/a", "--oidc-issuer-url=https://a.example.com",
	} {
		p, _ = apiServerOf(t, "v1.34.4", argument)
		assert.Assert(t, !strings.Contains(p.configFiles().Data[egressFile], "controlplane"), "%s", argument)
		assert.Assert(t, cmp.Contains(p.configFiles().Data[egressFile], `"name":"cluster"`))
	}
}

func TestProbesDoNotWaitForWebhooksInTheCluster(t *testing.T) {
	_, api := apiServerOf(t, "v1.34.4", "--v=2")
	for probe, prefix := range map[*corev1.Probe]string{
		api.StartupProbe: "/livez?", api.LivenessProbe: "/livez?", api.ReadinessProbe: "/readyz?",
	} {
		assert.Assert(t, strings.HasPrefix(probe.HTTPGet.Path, prefix), probe.HTTPGet.Path)
		assert.Assert(t, cmp.Contains(probe.HTTPGet.Path, "exclude=poststarthook/rbac/bootstrap-roles"))
	}
}

func TestPlainHTTPIsBoundToLoopback(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	server := p.konnectivityServer()
	assert.DeepEqual(t, named(server.Args, "health-bind-address", "admin-bind-address", "keepalive-time"),
		[]string{"--admin-bind-address=127.0.0.1", "--health-bind-address=127.0.0.1", "--keepalive-time=30s"})
	for _, container := range p.containers() {
		probes := []*corev1.Probe{container.ReadinessProbe, container.LivenessProbe, container.StartupProbe}
		for _, check := range probes {
			if check != nil && check.HTTPGet != nil {
				assert.Equal(t, check.HTTPGet.Scheme, corev1.URISchemeHTTPS, container.Name)
			}
		}
	}
}

func TestACrashingPodDoesNotHoldUpADrain(t *testing.T) {
	for section, want := range map[string]policyv1.UnhealthyPodEvictionPolicyType{
		"": policyv1.AlwaysAllow, "{unhealthyPodEvictionPolicy: IfHealthyBudget}": policyv1.IfHealthyBudget,
	} {
		vcluster := controlplanetest.SQLite
		if section != "" {
			vcluster = controlplanetest.With("controlPlane:\n  advanced: {podDisruptionBudget: " + section + "}")
		}
		p := provisioner(t, vcluster)
		assert.Equal(t, *p.budget("team-a-control-plane", "control-plane").Spec.UnhealthyPodEvictionPolicy, want)
	}
}

func TestPlainHTTPIsServedOnLoopbackAlone(t *testing.T) {
	for _, section := range []string{"controlPlane:", controlplanetest.EtcdSection} {
		p := provisioner(t, controlplanetest.With(section))
		containers := p.containers()
		if p.Store().Kind == config.StoreEtcd {
			etcd, err := p.etcd("digest", keptOfEtcd{})
			assert.NilError(t, err)
			containers = append(containers, etcd.Spec.Template.Spec.Containers...)
		}
		served := 0
		for _, container := range containers {
			for _, arg := range container.Args {
				name, value, _ := strings.Cut(arg, "=")
				switch {
				case strings.HasPrefix(value, "http://"),
					name == "--admin-bind-address", name == "--health-bind-address":
					served++
					assert.Assert(t, strings.HasPrefix(strings.TrimPrefix(value, "http://"), "127.0.0.1"), arg)
				case name == "--metrics-bind-address":
					assert.Equal(t, value, "0", "of %s", container.Name)
				}
			}
			for _, probe := range []*corev1.Probe{
				container.StartupProbe, container.ReadinessProbe, container.LivenessProbe,
			} {
				assert.Assert(t, probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Scheme == corev1.URISchemeHTTPS,
					"kubelet asks %s on plain HTTP, which needs a port on the pod's address", container.Name)
			}
		}
		assert.Assert(t, served >= 2, served)
	}
}

func TestProbesOfEtcdAreOfItsImage(t *testing.T) {
	for image, program := range map[string]string{
		"": "/kubernetes/etcdctl", "image: {tag: 3.6.16-0}": "etcdctl",
	} {
		p := provisioner(t, controlplanetest.With("controlPlane:\n  backingStore: {etcd: {deploy: {enabled: true, "+
			"statefulSet: {"+image+"}}}}"))
		set, err := p.etcd("digest", keptOfEtcd{})
		assert.NilError(t, err)
		etcd := set.Spec.Template.Spec.Containers[0]
		for _, probe := range []*corev1.Probe{etcd.StartupProbe, etcd.ReadinessProbe, etcd.LivenessProbe} {
			assert.Equal(t, probe.Exec.Command[0], program)
			for _, file := range certFiles(corev1.Container{Command: probe.Exec.Command}) {
				assert.Assert(t, slices.Contains(certFiles(etcd), file), "%s is not in the container", file)
			}
		}
	}
}
