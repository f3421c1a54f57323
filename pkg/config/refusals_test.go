package config

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// Every refusal, with a document that meets it and one that is close by and passes.
func TestEveryRefusalIsMetAndSaysTheWayOut(t *testing.T) {
	type pair struct{ refused, accepted string }
	cases := map[string]pair{
		"sync":                         {"{fromHost: {nodes: {enabled: true}}}", "{fromHost: {csiNodes: {enabled: auto}, nodes: {enabled: false, selector: {labels: {a: b}}}}}"},
		"integrations":                 {"{istio: {enabled: true}}", "{istio: {enabled: false, sync: {toHost: {gateways: {enabled: true}}}}}"},
		"networking.replicateServices": {"{fromHost: [{from: a/b, to: c/d}]}", "{toHost: [], fromHost: []}"},
		"networking.resolveDNS":        {"[{hostname: a, target: {hostname: b}}]", "[]"},
		"networking.advanced.fallbackHostCluster":           {"true", "false"},
		"networking.advanced.proxyKubelets":                 {"{byHostname: true}", "{byHostname: false, byIP: false}"},
		"controlPlane.distro.k3s":                           {"{enabled: true}", "{enabled: false, image: {tag: v1.32.1-k3s1}}"},
		"controlPlane.distro.k0s":                           {"{enabled: true}", "{enabled: false}"},
		"controlPlane.distro.k8s.enabled":                   {"false", "true"},
		"controlPlane.distro.k8s.apiServer.enabled":         {"false", "true"},
		"controlPlane.distro.k8s.controllerManager.enabled": {"false", "true"},
		"controlPlane.distro.k8s.scheduler.enabled":         {"false", "true"},
		"controlPlane.advanced.virtualScheduler.enabled":    {"false", "true"},
		"controlPlane.coredns.embedded":                     {"true", "false"},
		"controlPlane.hostPathMapper":                       {"{enabled: true}", "{enabled: false, central: true}"},
		"controlPlane.advanced.hostPathMapper":              {"{enabled: true}", "{enabled: false}"},
		"sleepMode":                                         {"{autoSleep: {afterInactivity: 1h}}", "{enabled: false, autoSleep: {afterInactivity: 1h}}"},
		"sleep":                                             {"{auto: {afterInactivity: 1h}}", "{}"},
		"experimental.isolatedControlPlane":                 {"{headless: true}", "{headless: false}"},
		"experimental.genericSync":                          {"{export: [{kind: A}]}", "{role: {extraRules: []}}"},
		"controlPlane.standalone":                           {"{enabled: true}", "{enabled: false}"},
		"privateNodes.autoNodes":                            {"[{provider: aws}]", "[]"},
		"privateNodes.vpn":                                  {"{nodeToNode: {enabled: true}}", "{enabled: false, nodeToNode: {enabled: false}}"},
		"privateNodes.daemon":                               {"{enabled: true}", "{enabled: false, controlPlaneLoadBalancer: {port: 11343}}"},
		"privateNodes.defaultProfile":                       {"gold", `""`},
		"deploy.volumeSnapshotController":                   {"{enabled: false}", "null"},

		"privateNodes.joinNode.preInstallCommands":      {"[swapoff -a]", "[]"},
		"privateNodes.joinNode.preJoinCommands":         {"[swapoff -a]", "[]"},
		"privateNodes.joinNode.postJoinCommands":        {"[swapoff -a]", "[]"},
		"privateNodes.joinNode.containerd.enabled":      {"false", "true"},
		"privateNodes.joinNode.containerd.registry":     {"{auth: {docker.io: {username: a}}}", "{auth: {}, mirrors: {}, configPath: ''}"},
		"privateNodes.joinNode.containerd.importImages": {"[/images]", "[]"},
		"privateNodes.kubelet.config":                   {"{failSwapOn: false}", "{cgroupDriver: systemd}"},
	}
	for _, r := range slices.Concat(unsupported(), notYet(), notExisting()) {
		t.Run(r.path, func(t *testing.T) {
			documents, tried := cases[r.path]
			assert.Assert(t, tried, "no case for %s", r.path)
			assert.Assert(t, r.reason != "" && r.instead != "")

			problems := parsed(documents.refused, r.path)
			assert.Equal(t, len(problems), 1, problems.Error())
			assert.Assert(t, strings.HasPrefix(problems[0].Key, r.path), problems[0].Key)
			assert.Equal(t, problems[0].Text, r.reason)
			assert.Equal(t, problems[0].Suggestion, r.instead)
			assert.Assert(t, problems[0].Line > 0)

			problems = parsed(documents.accepted, r.path)
			assert.Equal(t, len(problems), 0, problems.Error())
			delete(cases, r.path)
		})
	}
	assert.Equal(t, len(cases), 0, "cases without a refusal: %v", cases)
}

// parsed returns what is wrong with a vcluster.yaml that sets one path to a value.
func parsed(value, path string) Problems {
	names := strings.Split(path, ".")
	text := "privateNodes:\n  enabled: true\n"
	if names[0] != "privateNodes" {
		text += names[0] + ":\n"
		if len(names) == 1 {
			text = strings.TrimSuffix(text, "\n") + " " + value + "\n"
		}
	}
	for depth, name := range names[1:] {
		text += strings.Repeat("  ", depth+1) + name + ":"
		if depth == len(names)-2 {
			text += " " + value
		}
		text += "\n"
	}
	fleet := "apiVersion: argosy.dev/v1alpha1\nkind: Fleet\ncluster: {kubeconfigSecret: a}\nmachines: [{name: a, address: b}]\n"
	_, err := Parse("team-a", []byte(text), []byte(fleet))
	var problems Problems
	errors.As(err, &problems)
	return problems
}

func TestDistanceCountsSwapsOnce(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"abc", "acb", 1}, {"labels", "lables", 1}, {"address", "adress", 1}, {"kitten", "sitting", 3}} {
		assert.Equal(t, distance(test.a, test.b), test.want)
		assert.Equal(t, distance(test.b, test.a), test.want)
	}
}

func TestThePathOfAnOddKeyHasAParent(t *testing.T) {
	for path, want := range map[string]string{
		"a.b": "a", "a": "", "a[2]": "a", "a[2].b": "a[2]",
		join("a.b", `x.y["z`): "a.b", join("", "x y"): "",
	} {
		assert.Equal(t, parent(path), want, path)
	}
}
