package controlplane

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/join"
)

// withKubelet returns documents with a kubelet's settings.
func withKubelet(settings string) string {
	return controlplanetest.Replace(controlplanetest.SQLite, "privateNodes: {enabled: true}",
		"privateNodes: {enabled: true, kubelet: {config: {"+settings+"}}}")
}

// standing adds the control plane's StatefulSet, whose API server has args.
func standing(t *testing.T, p *Provisioner, args ...string) {
	t.Helper()
	set := &appsv1.StatefulSet{ObjectMeta: controlplanetest.Meta(p.Cluster, p.Names().ControlPlane(),
		hosted.ControlPlane)}
	set.Spec.Template.Spec.Containers = []corev1.Container{{Name: hosted.APIServer, Args: args}}
	controlplanetest.Add(t, p.Cluster, set)
}

// serving returns a node whose certificate holds until a time from the clusters' noon on.
func serving(name string, left time.Duration) *corev1.Node {
	node := controlplanetest.Node(name, "192.0.2.1")
	node.Annotations = map[string]string{
		join.ServingAnnotation: controlplanetest.Noon().Add(left).Format(time.RFC3339),
	}
	return node
}

// withConfig returns a node that is Ready, whose kubelet runs with settings.
func withConfig(node *corev1.Node, settings string) *corev1.Node {
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	node.Annotations[controlplanetest.Configz] = settings
	return node
}

func TestKubeletsAreVerifiedOnceAllOfThemHaveCertificates(t *testing.T) {
	const requests = `{"kubeletconfig": {"serverTLSBootstrap": true}}`
	verifies := kubeletAuthority + "/etc/argosy/certs/ca.crt"
	for name, one := range map[string]struct {
		vcluster string         // "" for controlplanetest.SQLite
		args     []string       // of the API server that stands; nil for none
		nodes    []*corev1.Node // nil for an API server that does not answer
		restores bool
		want     bool
		reason   string
	}{
		"they sign them themselves": {vcluster: withKubelet("serverTLSBootstrap: false")},
		"their own file":            {vcluster: withKubelet("tlsCertFile: /a.crt, tlsPrivateKeyFile: /a.key")},
		"asked for":                 {vcluster: withKubelet("serverTLSBootstrap: true"), want: true},
		"a new cluster":             {want: true},
		"a restored cluster":        {restores: true, reason: "archive"},
		"no nodes":                  {args: []string{"-v=2"}, nodes: []*corev1.Node{}, want: true},
		"silence":                   {args: []string{"-v=2"}, reason: "does not answer"},
		"verified before":           {args: []string{verifies}, want: true},
		"verified, and not on":      {vcluster: withKubelet("serverTLSBootstrap: false"), args: []string{verifies}},
		"one without": {
			nodes:  []*corev1.Node{serving("a", time.Hour), controlplanetest.Node("b", "192.0.2.2")},
			reason: "node b has no serving certificate",
		},
		"one whose ended": {
			nodes:  []*corev1.Node{serving("a", time.Hour), serving("b", -time.Hour)},
			reason: "node b has no serving certificate",
		},
		"one rolled back": {
			nodes: []*corev1.Node{
				withConfig(serving("a", time.Hour), requests),
				withConfig(serving("b", time.Hour), `{"kubeletconfig": {}}`),
			},
			reason: "kubelet of node b signs",
		},
		"one with a file": {
			nodes: []*corev1.Node{withConfig(serving("a", time.Hour),
				`{"kubeletconfig": {"serverTLSBootstrap": true, "tlsCertFile": "/a.crt"}}`)},
			reason: "kubelet of node a signs",
		},
		"one that is silent": {
			nodes:  []*corev1.Node{withConfig(serving("a", time.Hour), "")},
			reason: "kubelet of node a does not tell",
		},
		"all, one without power": {
			nodes: []*corev1.Node{withConfig(serving("a", time.Hour), requests), serving("b", time.Hour)}, want: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := provisioner(t, cmp.Or(one.vcluster, controlplanetest.SQLite))
			p.restores = one.restores
			if one.nodes != nil {
				controlplanetest.ServeNodes(t, p.Cluster, one.nodes...)
				one.args = append(one.args, "-v=2")
			}
			if one.args != nil {
				standing(t, p, one.args...)
			}
			assert.NilError(t, p.decideKubelets(t.Context()))
			assert.Equal(t, p.verifyKubelets, one.want)
			assert.Assert(t, strings.Contains(p.unverified, one.reason), p.unverified)
			assert.Equal(t, p.unverified != "", one.reason != "")
			assert.Equal(t, strings.Contains(strings.Join(p.apiServer().Args, " "), kubeletAuthority), one.want)
		})
	}
}

func TestAProvisionTellsWhyKubeletsAreNotVerified(t *testing.T) {
	text := Outcome{Server: "https://192.0.2.10:443", Unverified: "node b has none"}.String()
	assert.Assert(t, strings.Contains(text, "since node b has none: submit reconcile"), text)
}

func TestMetricsServerVerifiesKubeletsWhereTheAPIServerDoes(t *testing.T) {
	p := provisioner(t, controlplanetest.SQLite)
	verified, err := p.kubeletsVerified(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, !verified)
	standing(t, p, kubeletAuthority+"/etc/argosy/certs/ca.crt")
	verified, err = p.kubeletsVerified(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, verified)
}
