package config_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// judge checks a rule of all documents: one parses, or it has problems that each name their document.
func judge(t *testing.T, vcluster, fleet []byte) {
	c, err := config.Parse("team-a", vcluster, fleet)
	if (c == nil) == (err == nil) {
		t.Fatalf("cluster %v and error %v", c, err)
	}
	if err == nil {
		for _, m := range c.Fleet.Machines {
			_, _ = c.SSHFor(m), c.Overrides(m)
			if _, err := c.PrintedMachine(m); err != nil {
				t.Fatal(err)
			}
		}
		judgePrinted(t, c)
		if c.Hosted() && (!c.ClusterDNS().IsValid() || c.KubernetesVersion() == "" ||
			c.CheckImmutable(c.Identity()) != nil) {
			t.Fatalf("a cluster that cannot be provisioned: %v %q", c.Identity(), c.ControlPlaneImage())
		}
		return
	}
	var problems config.Problems
	if !errors.As(err, &problems) || len(problems) == 0 || errclass.ClassOf(err) != errclass.Configuration {
		t.Fatalf("the error lists no problem: %v", err)
	}
	for _, p := range problems {
		if p.Document == "" || p.Text == "" || p.Line < 0 || p.Column < 0 {
			t.Fatalf("a problem without position or text: %#v", p)
		}
	}
}

// judgePrinted checks that a printed cluster parses to the same cluster, unless it has secrets, which are not printed.
func judgePrinted(t *testing.T, c *config.Cluster) {
	vcluster, err := c.Printed(config.VClusterDocument)
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := c.Printed(config.FleetDocument)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(vcluster, []byte(config.Redacted)) || bytes.Contains(fleet, []byte(config.Redacted)) {
		return
	}
	again, err := config.Parse(c.Name, vcluster, fleet)
	if err != nil {
		t.Fatalf("what was printed is not accepted: %v\n%s---\n%s", err, vcluster, fleet)
	}
	vclusterAgain, err := again.Printed(config.VClusterDocument)
	if err != nil {
		t.Fatal(err)
	}
	fleetAgain, err := again.Printed(config.FleetDocument)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(vcluster, vclusterAgain) || !bytes.Equal(fleet, fleetAgain) {
		t.Fatalf("what was printed means something else:\n%s---\n%s\n%s---\n%s", vcluster, fleet, vclusterAgain,
			fleetAgain)
	}
}

func FuzzVCluster(f *testing.F) {
	block, err := os.ReadFile("testdata/specification-unsupported.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		goodVCluster, hostedVCluster, goodVCluster + string(block), "", "\t", "a: &a [*a]", "<<: {a: b}", "a: !!x y",
		"? [a]\n: b", "a: 1\n---\nb: 2\n",
		"privateNodes: {enabled: true, cni: {flannel: null}, " +
			"kubelet: {cgroupDriver: a, config: {cgroupDriver: [b]}}}\n",
		"privateNodes: {enabled: true, joinNode: {nodeRegistration: {kubeletExtraArgs: [{name: a, value: b}]}}}\n",
		"privateNodes: {enabled: true, joinNode: {preJoinCommands: ['a'], skipPhases: [preflight], containerd: " +
			"{importImages: ['oci://a/b', 'https://a/b#sha256=c'], registry: {mirrors: {_default: {hosts: [{server: " +
			"'http://a'}]}}, auth: {a.b: {auth: YTpi}}}}}}\n",
		hostedVCluster + "networking: {podCIDR: '10.0.0.0/8,fd00::/48', serviceCIDR: ::/0}\n",
		hostedVCluster + "  statefulSet: {persistence: {volumeClaim: {enabled: {}}}, security: {podSecurityContext: " +
			"{a: [b]}}}\n",
		goodVCluster + "controlPlane: {advanced: {cloudControllerManager: {kubeOvn: {enabled: true}}}}\nsync: [1, 2]\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		judge(t, text, []byte(goodFleet))
		judge(t, text, []byte(hostedFleet))
	})
}

func FuzzFleet(f *testing.F) {
	for _, seed := range []string{
		goodFleet, threeMachines, "", "machines: {a: b}", "machines: [null, {name: 1}]",
		goodFleet + "ssh: &s {bastions: [*s]}\n",
		goodFleet + "  join: {binariesPath: /a, containerd: {enabled: false}, nodeRegistration: {kubeletExtraArgs: " +
			"[{name: v, value: b}]}}\nregistries: {plainHTTP: [a.b]}\n",
		goodFleet + "bundles: {caCert: '-----BEGIN CERTIFICATE-----', sha256: {a: b}}\njoin: {minDisk: 1e9999}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) { judge(t, []byte(goodVCluster), text) })
}

func FuzzSelect(f *testing.F) {
	c, err := config.Parse("team-a", []byte(goodVCluster), []byte(threeMachines))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "all", "alpha,bravo", "zone in (a,b),!gpu", "a=b=c", "(", ","} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		machines, err := c.Select(expression)
		if (len(machines) == 0) == (err == nil) {
			t.Fatalf("%d machines and error %v", len(machines), err)
		}
	})
}
