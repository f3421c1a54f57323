package controlplane

import (
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

const bootstraps = "privateNodes: {enabled: true, kubelet: {config: {serverTLSBootstrap: true}}}"

// bootstrapping has the cluster's kubelets ask for serving certificates.
var bootstrapping = controlplanetest.Replace(controlplanetest.SQLite, "privateNodes: {enabled: true}", bootstraps)

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

func TestKubeletsAreVerifiedOnceAllOfThemHaveCertificates(t *testing.T) {
	verifies := kubeletAuthority + "/etc/argosy/certs/ca.crt"
	for name, one := range map[string]struct {
		vcluster string
		args     []string // of the API server that stands; nil for none
		restores bool
		nodes    []*corev1.Node // nil for an API server that does not answer
		want     bool
	}{
		"they sign them themselves": {vcluster: controlplanetest.SQLite},
		"their own file": {vcluster: controlplanetest.Replace(bootstrapping, "serverTLSBootstrap: true",
			"serverTLSBootstrap: true, tlsCertFile: /a.crt, tlsPrivateKeyFile: /a.key")},
		"a new cluster":        {vcluster: bootstrapping, want: true},
		"a restored cluster":   {vcluster: bootstrapping, restores: true},
		"no nodes":             {vcluster: bootstrapping, args: []string{"-v=2"}, nodes: []*corev1.Node{}, want: true},
		"silence":              {vcluster: bootstrapping, args: []string{"-v=2"}},
		"verified before":      {vcluster: bootstrapping, args: []string{verifies}, want: true},
		"verified, and not on": {vcluster: controlplanetest.SQLite, args: []string{verifies}},
		"one without": {
			vcluster: bootstrapping, args: []string{"-v=2"},
			nodes: []*corev1.Node{serving("a", time.Hour), controlplanetest.Node("b", "192.0.2.2")},
		},
		"one whose ended": {
			vcluster: bootstrapping, args: []string{"-v=2"},
			nodes: []*corev1.Node{serving("a", time.Hour), serving("b", -time.Hour)},
		},
		"all": {
			vcluster: bootstrapping, args: []string{"-v=2"},
			nodes: []*corev1.Node{serving("a", time.Hour), serving("b", time.Hour)}, want: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := provisioner(t, one.vcluster)
			p.restores = one.restores
			if one.args != nil {
				standing(t, p, one.args...)
			}
			if one.nodes != nil {
				controlplanetest.ServeNodes(t, p.Cluster, one.nodes...)
			}
			var err error
			p.verifyKubelets, err = p.decideKubelets(t.Context())
			assert.NilError(t, err)
			assert.Equal(t, p.verifyKubelets, one.want)
			assert.Equal(t, strings.Contains(strings.Join(p.apiServer().Args, " "), kubeletAuthority), one.want)
		})
	}
}

func TestMetricsServerVerifiesKubeletsWhereTheAPIServerDoes(t *testing.T) {
	p := provisioner(t, bootstrapping)
	verified, err := p.kubeletsVerified(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, !verified)
	standing(t, p, kubeletAuthority+"/etc/argosy/certs/ca.crt")
	verified, err = p.kubeletsVerified(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, verified)
}
