package e2e_test

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

// reconciles submits a reconciliation that is expected to work.
func reconciles(t *testing.T, parameters ...string) *wfv1.Workflow {
	t.Helper()
	args := []string{"submit", "--from", "workflowtemplate/reconcile", "-p", "cluster=" + site.Cluster, "-o", "name"}
	for _, parameter := range parameters {
		args = append(args, "-p", parameter)
	}
	out, err := env.Argo(t.Context(), args...)
	assert.NilError(t, err)
	w := finished(t, strings.TrimSpace(out))
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	return w
}

// processes are the process numbers of the services that a reconciliation may restart.
func processes(t *testing.T, machine string) (kubelet, containerd string) {
	t.Helper()
	return on(t, machine, "pgrep", "-x", "kubelet"), on(t, machine, "pgrep", "-x", "containerd")
}

func TestWhatDiffersIsShownByFileAndPutRightOnce(t *testing.T) {
	clean(t, "m1", "m5")
	joins(t, "m1,m5")
	podRuns(t, "m1")
	started := on(t, "m1", "sh", "-c", "pgrep -x pause")

	// What somebody changes on a machine, and what the documents say otherwise since.
	on(t, "m1", "sh", "-c", `echo '# mine' >> /etc/systemd/system/kubelet.service; sysctl -q -w net.ipv4.ip_forward=0; rm /etc/modules-load.d/argosy.conf; sed -i s/^maxPods.*/maxPods:\ 7/ /var/lib/kubelet/config.yaml; echo 'maxPods: 7' >> /var/lib/kubelet/config.yaml`)
	configure(t, site.Fleet{
		VCluster: vcluster(map[string]any{registration + "kubeletExtraArgs": []any{map[string]any{"name": "v",
			"value": "3"}}}),
		Machine: edit("m1", func(entry map[string]any) {
			entry["labels"] = map[string]any{"lab": "argosy",
				"tier": "front"}
		}),
	})
	kubelet, containerd := processes(t, "m1")

	out, err := env.Argosy(t.Context(), "plan", "--namespace", site.Namespace, "--machines", "m1,m5")
	assert.NilError(t, err)
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
	again, _ := processes(t, "m1")
	assert.Equal(t, again, kubelet, "a plan changes nothing")

	// A join leaves Ready nodes alone, and says so.
	w := finished(t, submit(t, "machines=m1,m5"))
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Assert(t, strings.Contains(step(t, w, "plan").Message, "2 are nodes that differ from the documents"),
		describe(w))
	again, _ = processes(t, "m1")
	assert.Equal(t, again, kubelet, "a join restarted what it should leave alone")

	w = reconciles(t, "machines=m1,m5", "dryRun=true")
	assert.Assert(t, strings.Contains(step(t, w, "plan").Message, "2 of 2 machines differ"), describe(w))

	w = reconciles(t, "machines=m1,m5")
	assert.Assert(t, strings.Contains(step(t, w, "summary").Message, "2 of 2 machines reconciled"), describe(w))
	newKubelet, newContainerd := processes(t, "m1")
	assert.Assert(t, newKubelet != kubelet)
	assert.Equal(t, newContainerd, containerd, "containerd was restarted for nothing")
	assert.Equal(t, on(t, "m1", "sh", "-c", "pgrep -x pause"), started, "pods were not left alone")
	assert.Assert(t, strings.Contains(on(t, "m1", "sh", "-c", `tr '\0' ' ' < /proc/$(pgrep -x kubelet)/cmdline`),
		"--v=3"))
	assert.Equal(t, readNode(t, "m1").Labels["tier"], "front")
	assert.Equal(t, strings.TrimSpace(on(t, "m1", "sysctl", "-n", "net.ipv4.ip_forward")), "1")

	w = reconciles(t, "machines=m1,m5")
	assert.Assert(t, strings.Contains(step(t, w, "plan").Message, "0 of 2 machines differ"), describe(w))
	last, _ := processes(t, "m1")
	assert.Equal(t, last, newKubelet, "a second run restarted something")

	configure(t, site.Fleet{})
	reconciles(t, "machines=m1,m5")
	_, labelled := readNode(t, "m1").Labels["tier"]
	assert.Assert(t, !labelled, "a label that the documents do not ask for any more stays")
}
