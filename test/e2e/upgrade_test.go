package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// upgradeCluster starts at the older version. It has three machines and a workload that needs two of them.
var upgradeCluster *site.HostedCluster

// newUpgradeCluster provisions upgradeCluster with its workload. It is removed when the test ends.
func newUpgradeCluster(t *testing.T) {
	t.Helper()
	_, err := env.Lab.ControlPlaneImage(t.Context(), lab.OlderVersion)
	assert.NilError(t, err)
	upgradeCluster = newCluster(t, func(d map[string]any) {
		site.Set(d, "controlPlane.distro.k8s.image.tag",
			lab.OlderVersion)
	}, "m1", "m2", "m3")
	setPolicy(t, nil)
	mustSucceed(t, upgradeCluster, "provision")
	mustSucceed(t, upgradeCluster, "join")
	apply(t, upgradeCluster, threeReplicas)
	kubectl(t, upgradeCluster, "rollout", "status", "deployment/web", "--timeout="+patience.String())
}

// setPolicy sets keys of argosy.yaml by their path. Grace periods are zero unless set, since they only take time.
func setPolicy(t *testing.T, settings map[string]any) {
	t.Helper()
	upgradeCluster.Fleet = func(d map[string]any) {
		for key, value := range map[string]any{
			"upgrade.minReady": "2s", "upgrade.controlPlaneGrace": "0s",
			"upgrade.nodeGrace": "0s",
		} {
			site.Set(d, key, value)
		}
		for key, value := range settings {
			site.Set(d, key, value)
		}
	}
	assert.NilError(t, upgradeCluster.ApplyDocuments(t.Context()))
}

// nodeVersions returns a line for each node, with the kubelet's version and "true" where it is cordoned: "m1 v1.34.4 ".
func nodeVersions(t *testing.T) string {
	t.Helper()
	return kubectl(t, upgradeCluster, "get", "nodes", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.status.nodeInfo.kubeletVersion} {.spec.unschedulable}{"\n"}{end}`)
}

// versionsWith returns the output of nodeVersions where all nodes take pods and run version, except for those that are
// behind.
func versionsWith(version string, behind ...string) string {
	var lines []string
	for _, machine := range upgradeCluster.Machines {
		runs := version
		if slices.Contains(behind, machine) {
			runs = lab.OlderVersion
		}
		lines = append(lines, machine+" "+runs+" ")
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// rollBack takes machines back to the older version.
func rollBack(t *testing.T, machines ...string) {
	t.Helper()
	switch nodeVersions(t) {
	case versionsWith(lab.Version, machines...):
		return
	case versionsWith(lab.Version):
	default:
		upgradeAll(t) // a test before this one has failed
	}
	argosy(t, "rollback", "--namespace", upgradeCluster.Name, "--machines", strings.Join(machines, ","), "--yes")
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version, machines...))
}

// upgradeAll runs an upgrade, after which all machines must run the new version.
func upgradeAll(t *testing.T, parameters ...string) *wfv1.Workflow {
	t.Helper()
	w := mustSucceed(t, upgradeCluster, "upgrade", parameters...)
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version))
	return w
}

func TestUpgradeCluster(t *testing.T) {
	newUpgradeCluster(t)
	t.Run("a dry run lists the waves and changes nothing", func(t *testing.T) {
		w := mustSucceed(t, upgradeCluster, "upgrade", "version="+lab.Version, "dryRun=true")
		message := step(t, w, "plan").Message
		assertContains(t, message, fmt.Sprintf("the control plane goes from %s to %s, then 3 of 3 "+
			"machines go to %s in 3 waves", lab.OlderVersion, lab.Version, lab.Version))
		assert.Equal(t, nodeVersions(t), versionsWith(lab.OlderVersion))
	})
	t.Run("impossible versions are refused", func(t *testing.T) {
		for version, refusal := range impossibleVersions() {
			w := mustFail(t, upgradeCluster, "upgrade", "version="+version)
			assertContains(t, step(t, w, "plan").Message, refusal)
		}
	})
	runOn(t, "m3", "sh", "-c", installGPURuntime)
	runOn(t, "m3", "sh", "-c", editAsGPUToolkit, "nvidia")
	t.Run("requests are answered during the upgrade", testUpgradeUnderLoad)
	t.Run("a runtime that a GPU toolkit added stays", func(t *testing.T) {
		assertContains(t, runtimesOf(t, "m3"), "runtimes.nvidia]", "default_runtime_name = 'nvidia'")
		assertRunsThroughGPURuntime(t, upgradeCluster, "m3")
	})
	t.Run("a second run finds nothing to do", func(t *testing.T) {
		message := step(t, upgradeAll(t), "plan").Message
		assertContains(t, message, "0 of 3 machines go to "+lab.Version)
	})
	t.Run("a failed canary is rolled back and halts the upgrade", testCanaryHaltsUpgrade)
}

// impossibleVersions returns versions that the cluster cannot be upgraded to, each with a part of the refusal.
func impossibleVersions() map[string]string {
	if wholeSuite {
		return map[string]string{"v1.38.0": "1.37", "v1.35.8": "older"}
	}
	return map[string]string{"v1.38.0": "1.37"}
}

func testUpgradeUnderLoad(t *testing.T) {
	address := kubectl(t, upgradeCluster, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	var asking []func() (int, int)
	for _, machine := range upgradeCluster.Machines {
		asking = append(asking, pollFrom(t, machine, "http://"+address+"/"))
	}
	w := upgradeAll(t, "version="+lab.Version)
	for i, asked := range asking {
		answers, failures := asked()
		t.Logf("the Service was asked %d times from %s, %d without an answer", answers+failures,
			upgradeCluster.Machines[i],
			failures)
		assert.Assert(t, answers > 20)
		assert.Equal(t, failures, 0)
	}
	for _, machine := range upgradeCluster.Machines {
		t.Log(step(t, w, machine).Message)
	}
}

func testCanaryHaltsUpgrade(t *testing.T) {
	rollBack(t, "m1", "m2", "m3")
	defer setPolicy(t, nil)
	address := kubectl(t, upgradeCluster, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	asked := pollFrom(t, "m3", "http://"+address+"/")
	setPolicy(t, map[string]any{
		"upgrade.canaries": "m2", "upgrade.failureBudget": 1,
		"bundles.repository": lab.RepositoryURL + "/" + publishBrokenBundle(t),
	})
	w := mustFail(t, upgradeCluster, "upgrade")
	message := step(t, w, "m2").Message
	assertContains(t, message, "this kubelet can't start",
		"rolled back, Ready at "+lab.OlderVersion+"; node m2 is uncordoned")
	for _, machine := range []string{"m1", "m3"} {
		left := step(t, w, machine)
		assert.Equal(t, left.Phase, wfv1.NodeSkipped)
		assertContains(t, left.Message, "halted after canary m2")
	}
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version, "m1", "m2", "m3"))
	_, failures := asked()
	assert.Equal(t, failures, 0)
}

// publishBrokenBundle publishes a bundle with a kubelet that prints its version and does not start. It returns the
// folder.
func publishBrokenBundle(t *testing.T) string {
	t.Helper()
	const folder = "broken"
	dir := t.TempDir()
	const source = `package main

import ("fmt"; "os")

func main() {
	for _, arg := range os.Args[1:] {
		if arg == "--version" { fmt.Println("Kubernetes ` + lab.Version + `"); return }
	}
	fmt.Fprintln(os.Stderr, "this kubelet can't start")
	os.Exit(1)
}
`
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "kubelet"),
		filepath.Join(dir, "main.go"))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	assert.NilError(t, err, string(out))
	kubelet, err := os.ReadFile(filepath.Join(dir, "kubelet"))
	assert.NilError(t, err)

	name := "kubernetes-" + lab.Version + "-" + runtime.GOARCH + ".tar.gz"
	to := filepath.Join(env.Lab.HTTPDir(), folder, lab.Version)
	assert.NilError(t, os.MkdirAll(to, 0o755))
	sum := replaceInBundle(t, filepath.Join(env.Lab.HTTPDir(), lab.Version, name), filepath.Join(to, name),
		"release/kubelet", kubelet)
	assert.NilError(t, os.WriteFile(filepath.Join(to, "SHA256SUMS"), []byte(sum+"  "+name+"\n"), 0o644))
	t.Cleanup(func() { assert.NilError(t, os.RemoveAll(filepath.Join(env.Lab.HTTPDir(), folder))) })
	return folder
}

// replaceInBundle copies a bundle with one file replaced, and returns the copy's digest.
func replaceInBundle(t *testing.T, from, to, file string, content []byte) string {
	t.Helper()
	in, err := os.Open(from)
	assert.NilError(t, err)
	defer in.Close()
	unzipped, err := gzip.NewReader(in)
	assert.NilError(t, err)
	out, err := os.Create(to)
	assert.NilError(t, err)
	defer out.Close()
	sum := sha256.New()
	zipped, err := gzip.NewWriterLevel(io.MultiWriter(out, sum), gzip.BestSpeed)
	assert.NilError(t, err)
	source, target := tar.NewReader(unzipped), tar.NewWriter(zipped)
	replaced := false
	for {
		header, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		assert.NilError(t, err)
		body := io.Reader(source)
		if strings.TrimPrefix(header.Name, "./") == file {
			header.Size, body, replaced = int64(len(content)), bytes.NewReader(content), true
		}
		assert.NilError(t, target.WriteHeader(header))
		_, err = io.Copy(target, body)
		assert.NilError(t, err)
	}
	assert.NilError(t, errors.Join(target.Close(), zipped.Close()))
	assert.Assert(t, replaced, "%s has no %s", from, file)
	return hex.EncodeToString(sum.Sum(nil))
}

// threeReplicas is a workload of which one pod may be unavailable. Its pods answer for a while after they were told to
// end, as pods behind a Service should.
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
