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

// upgradeCluster is a cluster at the older version with three machines, of which a workload needs two.
var upgradeCluster = struct {
	*site.Provisioned
	machines []string
}{machines: []string{"m1", "m2", "m3"}}

// newUpgradeCluster provisions upgradeCluster and has it serve; it is removed when the test ends.
func newUpgradeCluster(t *testing.T) {
	t.Helper()
	_, err := env.Lab.ControlPlaneImage(t.Context(), lab.OlderVersion)
	assert.NilError(t, err)
	upgradeCluster.Provisioned = newCluster(t, func(d map[string]any) {
		site.Set(d, "controlPlane.distro.k8s.image.tag",
			lab.OlderVersion)
	}, upgradeCluster.machines...)
	policy(t, nil)
	provision(t, upgradeCluster.Provisioned)
	joinAll(t, upgradeCluster.Provisioned)
	applyInside(t, upgradeCluster.Provisioned, threeReplicas)
	inside(t, upgradeCluster.Provisioned, "rollout", "status", "deployment/web", "--timeout="+patience.String())
}

// policy sets the fleet's section upgrade, without the graces, which only take time, and what else is given by its
// path.
func policy(t *testing.T, settings map[string]any) {
	t.Helper()
	upgradeCluster.Fleet = func(d map[string]any) {
		for key, value := range map[string]any{"upgrade.minReady": "2s", "upgrade.controlPlaneGrace": "0s",
			"upgrade.nodeGrace": "0s"} {
			site.Set(d, key, value)
		}
		for key, value := range settings {
			site.Set(d, key, value)
		}
	}
	assert.NilError(t, upgradeCluster.ApplyDocuments(t.Context()))
}

// kubelets are the nodes' versions, and whether they take pods: "m1 v1.34.4 ".
func kubelets(t *testing.T) string {
	t.Helper()
	return inside(t, upgradeCluster.Provisioned, "get", "nodes", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.status.nodeInfo.kubeletVersion} {.spec.unschedulable}{"\n"}{end}`)
}

// at is what kubelets says when all nodes take pods and run version, but for those that run the older one.
func at(version string, older ...string) string {
	var lines []string
	for _, machine := range upgradeCluster.machines {
		runs := version
		if slices.Contains(older, machine) {
			runs = lab.OlderVersion
		}
		lines = append(lines, machine+" "+runs+" ")
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// older puts machines back to the older version.
func older(t *testing.T, machines ...string) {
	t.Helper()
	switch kubelets(t) {
	case at(lab.Version, machines...):
		return
	case at(lab.Version):
	default:
		upgraded(t) // a test before this one has failed
	}
	out, err := env.Argosy(t.Context(), "rollback", "--namespace", upgradeCluster.Name, "--machines",
		strings.Join(machines, ","))
	assert.NilError(t, err, out)
	assert.Equal(t, kubelets(t), at(lab.Version, machines...))
}

// upgraded submits an upgrade that is expected to take all machines along.
func upgraded(t *testing.T, parameters ...string) *wfv1.Workflow {
	t.Helper()
	w := succeeded(t, upgradeCluster.Provisioned, "upgrade", parameters...)
	assert.Equal(t, kubelets(t), at(lab.Version))
	return w
}

func TestAClusterIsUpgraded(t *testing.T) {
	newUpgradeCluster(t)
	t.Run("a dry run says in which waves and touches nothing", func(t *testing.T) {
		w := succeeded(t, upgradeCluster.Provisioned, "upgrade", "version="+lab.Version, "dryRun=true")
		message := step(t, w, "plan").Message
		assert.Assert(t, strings.Contains(message, fmt.Sprintf("the control plane goes from %s to %s, then 3 of 3 "+
			"machines go to %s in 3 waves", lab.OlderVersion, lab.Version, lab.Version)), message)
		assert.Equal(t, kubelets(t), at(lab.OlderVersion))
	})
	t.Run("what can't be had is refused", func(t *testing.T) {
		names := map[string]string{}
		for version := range impossible {
			names[version] = submitTo(t, upgradeCluster.Provisioned, "upgrade", "version="+version)
		}
		for version, name := range names {
			message := refused(t, endOf(t, upgradeCluster.Provisioned, name), "plan")
			assert.Assert(t, strings.Contains(message, impossible[version]), message)
		}
	})
	t.Run("while it serves", upgradesWhileItServes)
	t.Run("a second run finds nothing to do", func(t *testing.T) {
		message := step(t, upgraded(t), "plan").Message
		assert.Assert(t, strings.Contains(message, "0 of 3 machines go to "+lab.Version), message)
	})
	t.Run("a canary that does not come up is put back, and nothing else is touched", haltsAfterItsCanary)
}

// impossible are versions that the cluster cannot go to, each with a part of the refusal.
var impossible = map[string]string{"v1.35.0": "v1.34", "v1.32.9": "older"}

func upgradesWhileItServes(t *testing.T) {
	address := inside(t, upgradeCluster.Provisioned, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	var asking []func() (int, int)
	for _, machine := range upgradeCluster.machines {
		asking = append(asking, askFrom(t, machine, "http://"+address+"/"))
	}
	w := upgraded(t, "version="+lab.Version)
	for i, asked := range asking {
		answers, failures := asked()
		t.Logf("the Service was asked %d times from %s, %d without an answer", answers+failures,
			upgradeCluster.machines[i],
			failures)
		assert.Assert(t, answers > 20)
		assert.Equal(t, failures, 0)
	}
	for _, machine := range upgradeCluster.machines {
		t.Log(stepOf(t, w, machine).Message)
	}
}

func haltsAfterItsCanary(t *testing.T) {
	older(t, "m1", "m2", "m3")
	defer policy(t, nil)
	address := inside(t, upgradeCluster.Provisioned, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	asked := askFrom(t, "m3", "http://"+address+"/")
	policy(t, map[string]any{"upgrade.canaries": "m2", "upgrade.failureBudget": 1,
		"bundles.repository": lab.RepositoryURL + "/" + brokenBundles(t)})
	w := run(t, upgradeCluster.Provisioned, "upgrade")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
	message := stepOf(t, w, "m2").Message
	assert.Assert(t, strings.Contains(message, "this kubelet can't start") &&
		strings.Contains(message, "it was put back and is Ready at "+lab.OlderVersion+"; node m2 takes pods again"),
		message)
	for _, machine := range []string{"m1", "m3"} {
		left := stepOf(t, w, machine)
		assert.Equal(t, left.Phase, wfv1.NodeSkipped)
		assert.Assert(t, strings.Contains(left.Message, "halted after canary m2"), left.Message)
	}
	assert.Equal(t, kubelets(t), at(lab.Version, "m1", "m2", "m3"))
	_, failures := asked()
	assert.Equal(t, failures, 0)

}

// brokenBundles publishes the bundle with a kubelet that says its version and does not start, and returns its folder.
func brokenBundles(t *testing.T) string {
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

// replaceInBundle copies a bundle with another content of one file, and returns the copy's digest.
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
		if err == io.EOF {
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

// threeReplicas is a workload of which one pod may be away at a time. Its pods answer for a while after they were told
// to end, as those have to that serve others.
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
