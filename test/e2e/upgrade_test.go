package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// upgradeMachines are those of the cluster that is upgraded.
var upgradeMachines = []string{"m1", "m2", "m3"}

// harbour is a cluster at the older version with three machines, which serves. policy is the fleet's section upgrade, without
// the graces, which only take time.
func harbour(t *testing.T, policy map[string]any) *site.Provisioned {
	t.Helper()
	_, err := the.Lab.ControlPlaneImage(t.Context(), lab.OlderVersion)
	assert.NilError(t, err)
	cluster := village(t, atVersion(lab.OlderVersion), upgradeMachines...)
	cluster.Fleet = withPolicy(policy)
	assert.NilError(t, cluster.ApplyDocuments(t.Context()))
	provision(t, cluster)
	joinAll(t, cluster)
	applyInside(t, cluster, threeReplicas)
	inside(t, cluster, "rollout", "status", "deployment/web", "--timeout=180s")
	return cluster
}

func atVersion(version string) func(map[string]any) {
	return func(d map[string]any) { site.Set(d, "controlPlane.distro.k8s.image.tag", version) }
}

func withPolicy(policy map[string]any) func(map[string]any) {
	return func(d map[string]any) {
		site.Set(d, "upgrade.minReady", "2s")
		site.Set(d, "upgrade.controlPlaneGrace", "0s")
		site.Set(d, "upgrade.nodeGrace", "0s")
		for key, value := range policy {
			site.Set(d, "upgrade."+key, value)
		}
	}
}

// versions are the kubelets' and whether their nodes take pods: "m1 v1.34.4 ".
func versions(t *testing.T, cluster *site.Provisioned) string {
	t.Helper()
	return inside(t, cluster, "get", "nodes", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.status.nodeInfo.kubeletVersion} {.spec.unschedulable}{"\n"}{end}`)
}

func allAt(version string) string {
	var lines []string
	for _, machine := range upgradeMachines {
		lines = append(lines, machine+" "+version+" ")
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

func TestAClusterIsUpgradedWhileItServes(t *testing.T) {
	cluster := harbour(t, nil)
	address := inside(t, cluster, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")

	t.Run("a dry run says in which waves and touches nothing", func(t *testing.T) {
		w := succeeded(t, cluster, "upgrade", "version="+lab.Version, "dryRun=true")
		plan := step(t, w, "plan")
		assert.Assert(t, strings.Contains(plan.Message, "the control plane goes from "+lab.OlderVersion+" to "+lab.Version+", then 3 of 3 machines"), plan.Message)
		assert.Equal(t, versions(t, cluster), allAt(lab.OlderVersion))
	})
	t.Run("what can't be had is refused", func(t *testing.T) {
		for version, says := range map[string]string{"v1.35.0": "v1.34", "v1.32.9": "older"} {
			message := refused(t, run(t, cluster, "upgrade", "version="+version), "plan")
			assert.Assert(t, strings.Contains(message, says), message)
		}
	})
	var asking []func() (int, int)
	for _, machine := range upgradeMachines {
		asking = append(asking, askFrom(t, machine, "http://"+address+"/"))
	}
	w := succeeded(t, cluster, "upgrade", "version="+lab.Version)
	for i, asked := range asking {
		answers, failures := asked()
		t.Logf("the Service was asked %d times from %s, %d without an answer", answers+failures, upgradeMachines[i], failures)
		assert.Assert(t, answers > 20)
		assert.Equal(t, failures, 0)
	}
	assert.Equal(t, versions(t, cluster), allAt(lab.Version))
	for _, machine := range upgradeMachines {
		t.Log(stepOf(t, w, machine).Message)
	}
	t.Run("a second run finds nothing to do", func(t *testing.T) {
		w := succeeded(t, cluster, "upgrade")
		assert.Assert(t, strings.Contains(step(t, w, "plan").Message, fmt.Sprintf("0 of 3 machines go to %s", lab.Version)), describe(w))
	})
}

// threeReplicas is a workload of which one pod may be away at a time. Its pods answer for a while after they were told to end, as
// those have to that serve others.
var threeReplicas = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 10
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers:
        - name: web
          image: ` + lab.RegistryAddress + `/library/busybox:1.36.1
          command: [sh, -c, "hostname > /tmp/index.html; exec httpd -f -p 80 -h /tmp"]
          lifecycle: {preStop: {exec: {command: [sleep, "4"]}}}
          readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
`
