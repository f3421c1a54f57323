package e2e_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

// servicePIDs returns the process numbers of the services that a reconciliation may restart.
func servicePIDs(t *testing.T, machine string) (kubelet, containerd string) {
	t.Helper()
	return runOn(t, machine, "pgrep", "-x", "kubelet"), runOn(t, machine, "pgrep", "-x", "containerd")
}

func TestReconcileShowsAndRepairsDrift(t *testing.T) {
	resetMachines(t, "m1", "m5")
	joinByHand(t, "m1", "m5")
	runPodOn(t, "m1")
	started := runOn(t, "m1", "sh", "-c", "pgrep -x pause")

	// Drift of the machine, and a change of the documents.
	runOn(t, "m1", "sh", "-c", `echo '# mine' >> /etc/systemd/system/kubelet.service
		sysctl -q -w net.ipv4.ip_forward=0; rm /etc/modules-load.d/argosy.conf
		sed -i s/^maxPods.*/maxPods:\ 7/ /var/lib/kubelet/config.yaml
		echo 'maxPods: 7' >> /var/lib/kubelet/config.yaml`)
	configure(t, site.Overrides{
		VCluster: vcluster(map[string]any{registration + "kubeletExtraArgs": []any{map[string]any{
			"name":  "v",
			"value": "3",
		}}}),
		Machine: editMachine("m1", func(entry map[string]any) {
			entry["labels"] = map[string]any{
				"lab":  "argosy",
				"tier": "front",
			}
		}),
	})
	kubelet, containerd := servicePIDs(t, "m1")

	out := argosy(t, "plan", "--namespace", site.TeamA, "--machines", "m1,m5")
	for _, part := range []string{
		"m1: /etc/systemd/system/kubelet.service (restarts kubelet)", "-# mine\n",
		"m1: sysctl net.ipv4.ip_forward (without a restart)", "-0\n+1\n",
		"m1: /etc/modules-load.d/argosy.conf (without a restart)",
		"m1: /var/lib/kubelet/config.yaml (restarts kubelet)", "-maxPods: 7\n",
		"m1: /var/lib/kubelet/kubeadm-flags.env (restarts kubelet)", "--v=3",
		"m1: node m1 (without a restart)\n+label tier=front\n",
		"m5: /var/lib/kubelet/kubeadm-flags.env (restarts kubelet)",
	} {
		assert.Assert(t, strings.Contains(out, part), "the plan lacks %q:\n%s", part, out)
	}
	again, _ := servicePIDs(t, "m1")
	assert.Equal(t, again, kubelet, "a plan changes nothing")

	// A join leaves Ready nodes alone and reports that they differ.
	w := mustSucceed(t, teamA(), "join", "machines=m1,m5")
	assertContains(t, step(t, w, "plan").Message, "2 differing from the documents")
	again, _ = servicePIDs(t, "m1")
	assert.Equal(t, again, kubelet, "a join restarted what it should leave alone")

	w = mustSucceed(t, teamA(), "reconcile", "machines=m1,m5", "dryRun=true")
	assertContains(t, step(t, w, "plan").Message, "2 of 2 machines differ")

	w = mustSucceed(t, teamA(), "reconcile", "machines=m1,m5")
	assertContains(t, step(t, w, "summary").Message, "2 of 2 machines reconciled")
	newKubelet, newContainerd := servicePIDs(t, "m1")
	assert.Assert(t, newKubelet != kubelet)
	assert.Equal(t, newContainerd, containerd, "containerd was restarted for nothing")
	assert.Equal(t, runOn(t, "m1", "sh", "-c", "pgrep -x pause"), started, "pods were not left alone")
	assertContains(t, runOn(t, "m1", "sh", "-c", `tr '\0' ' ' < /proc/$(pgrep -x kubelet)/cmdline`), "--v=3")
	assert.Equal(t, readNode(t, "m1").Labels["tier"], "front")
	assert.Equal(t, strings.TrimSpace(runOn(t, "m1", "sysctl", "-n", "net.ipv4.ip_forward")), "1")

	w = mustSucceed(t, teamA(), "reconcile", "machines=m1,m5")
	assertContains(t, step(t, w, "plan").Message, "0 of 2 machines differ")
	last, _ := servicePIDs(t, "m1")
	assert.Equal(t, last, newKubelet, "a second run restarted something")

	configure(t, site.Overrides{})
	argosy(t, "reconcile", "--namespace", site.TeamA, "--machines", "m1,m5")
	_, labelled := readNode(t, "m1").Labels["tier"]
	assert.Assert(t, !labelled, "a label that the documents do not ask for any more stays")
}
