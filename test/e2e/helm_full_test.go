//go:build full

package e2e_test

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gotest.tools/v3/assert"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/release"
	"argosy.dev/argosy/test/site"
)

// helmOn returns Helm's configuration for a namespace of the lab's host cluster.
func helmOn(t *testing.T, namespace string) *action.Configuration {
	t.Helper()
	flags := genericclioptions.NewConfigFlags(false)
	kubeconfig := env.Lab.KubeconfigPath("host")
	flags.KubeConfig, flags.Namespace = &kubeconfig, &namespace
	helm := &action.Configuration{}
	assert.NilError(t, helm.Init(flags, namespace, "secret", t.Logf))
	return helm
}

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	loaded, err := loader.Load(filepath.Join(env.Source, "charts", "argosy"))
	assert.NilError(t, err)
	return loaded
}

// freshNamespace removes a namespace of the host cluster, now and when the test ends.
func freshNamespace(t *testing.T, namespace string) {
	t.Helper()
	remove := func(ctx context.Context) {
		_, err := env.HostKubectl(ctx, "delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s")
		assert.NilError(t, err)
	}
	remove(t.Context())
	t.Cleanup(func() { remove(context.Background()) })
}

// clusterValues returns the documents of team-a, whose control plane the lab has, as a cluster in the chart's values.
func clusterValues(t *testing.T) map[string]any {
	t.Helper()
	object, err := env.ConfigMap(site.Overrides{})
	assert.NilError(t, err)
	encoded, err := yaml.Marshal(object)
	assert.NilError(t, err)
	var config corev1.ConfigMap
	assert.NilError(t, yaml.Unmarshal(encoded, &config))
	var vcluster, fleet map[string]any
	assert.NilError(t, yaml.Unmarshal([]byte(config.Data["vcluster.yaml"]), &vcluster))
	assert.NilError(t, yaml.Unmarshal([]byte(config.Data["argosy.yaml"]), &fleet))
	delete(fleet, "apiVersion")
	delete(fleet, "kind")
	return map[string]any{"vcluster": vcluster, "fleet": fleet}
}

// applySecrets gives a namespace the Secrets of team-a.
func applySecrets(t *testing.T, namespace string) {
	t.Helper()
	objects, err := env.Documents(site.Overrides{})
	assert.NilError(t, err)
	var secrets []any
	for _, object := range objects {
		if made, ok := object.(map[string]any); ok && made["kind"] == "Secret" {
			secrets = append(secrets, made)
		}
	}
	assert.Assert(t, len(secrets) > 0)
	assert.NilError(t, env.ApplyIn(t.Context(), namespace, secrets))
}

func TestAMachineJoinsThroughAnUpgradedHelmRelease(t *testing.T) {
	const namespace = "team-h"
	resetMachines(t, "m1")
	freshNamespace(t, namespace)
	t.Cleanup(func() { assert.NilError(t, env.Lab.Reset(context.Background(), "m1")) })

	install := action.NewInstall(helmOn(t, namespace))
	install.ReleaseName, install.Namespace, install.CreateNamespace = "argosy", namespace, true
	previous := loadChart(t)
	previous.Metadata.Version = "0.0.9"
	_, err := install.Run(previous, nil)
	assert.NilError(t, err)

	applySecrets(t, namespace)
	upgrade := action.NewUpgrade(helmOn(t, namespace))
	upgrade.Namespace, upgrade.ResetThenReuseValues = namespace, true
	values := map[string]any{
		"clusters": map[string]any{namespace: clusterValues(t)}, "networkPolicy": map[string]any{"create": true},
	}
	for range 2 { // the second one finds everything as it is wanted
		_, err = upgrade.Run("argosy", loadChart(t), values)
		assert.NilError(t, err)
	}

	cluster := env.HostedCluster(namespace)
	cluster.Kubeconfig = teamA().Kubeconfig
	w := mustSucceed(t, cluster, "join", "machines=m1")
	assertContains(t, step(t, w, "m1").Message, "node m1 is Ready")
	assertJoined(t, "m1")

	_, err = action.NewUninstall(helmOn(t, namespace)).Run("argosy")
	assert.NilError(t, err)
	hostKubectl(t, cluster, "get", "configmap", namespace)
	assert.Equal(t, hostKubectl(t, cluster, "get", "workflowtemplates,roles", "-o", "name"), "")
	kubectl(t, cluster, "get", "node", "m1")
}

// readmeCommands returns the lines of the first block of commands below a heading of README.
func readmeCommands(t *testing.T, heading string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(env.Source, "README.md"))
	assert.NilError(t, err)
	_, section, found := strings.Cut(string(text), "\n"+heading+"\n")
	assert.Assert(t, found, "README has no %q", heading)
	_, block, _ := strings.Cut(section, "\n```sh\n")
	block, _, found = strings.Cut(block, "\n```\n")
	assert.Assert(t, found, "%q has no commands", heading)
	return strings.Split(block, "\n")
}

// The registry of the README is one of the test's own here, which Helm reaches through a proxy; everything else is as a
// user has it, and the commands are those that the README prints.
func TestTheReadmeInstallsInThreeCommands(t *testing.T) {
	freshNamespace(t, "team-b")
	t.Cleanup(func() {
		_, err := env.HostKubectl(context.Background(), "delete", "--ignore-not-found",
			"clusterrole,clusterrolebinding", "argosy-workflow-controller-taskset-status-team-b")
		assert.NilError(t, err)
	})
	commands := readmeCommands(t, "## Install in three commands")
	assert.Equal(t, len(commands), 3, strings.Join(commands, "\n"))
	proxy, authority := chartRegistry(t, "ghcr.io")
	helm := t.TempDir()
	build := exec.Command("go", "build", "-o", helm, "helm.sh/helm/v3/cmd/helm")
	build.Dir = env.Source
	out, err := build.CombinedOutput()
	assert.NilError(t, err, string(out))
	for _, command := range commands {
		run := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", command)
		run.Dir = t.TempDir()
		run.Env = append(os.Environ(), "KUBECONFIG="+env.Lab.KubeconfigPath("host"), "HOME="+helm,
			"HTTPS_PROXY="+proxy, "https_proxy="+proxy, "NO_PROXY=", "no_proxy=", "SSL_CERT_FILE="+authority,
			"PATH="+strings.Join([]string{
				helm, env.Lab.BinDir(), filepath.Join(env.Source, "bin"), os.Getenv("PATH"),
			}, ":"))
		out, err := run.CombinedOutput()
		t.Logf("$ %s\n%s", command, out)
		assert.NilError(t, err, command)
	}
}

// chartRegistry serves the chart of this checkout as the registry of a host, and returns the address of a proxy that
// leads there, and the file with the authority that has signed the registry's certificate.
func chartRegistry(t *testing.T, host string) (proxy, authority string) {
	t.Helper()
	quiet := log.New(io.Discard, "", 0)
	handler := registry.New(registry.Logger(quiet))
	plain := httptest.NewServer(handler)
	t.Cleanup(plain.Close)
	pushChart(t, strings.TrimPrefix(plain.URL, "http://")+"/argosy-dev")

	signed, key := selfSigned(t, host)
	certificate, err := tls.X509KeyPair(signed, key)
	assert.NilError(t, err)
	authority = filepath.Join(t.TempDir(), "authority.pem")
	assert.NilError(t, os.WriteFile(authority, signed, 0o600))
	secure := httptest.NewUnstartedServer(handler)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	secure.Config.ErrorLog = quiet
	secure.StartTLS()
	t.Cleanup(secure.Close)
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := r.Host
		if strings.HasPrefix(target, host+":") {
			target = secure.Listener.Addr().String()
		}
		tunnel(w, target)
	}))
	t.Cleanup(between.Close)
	return between.URL, authority
}

// pushChart pushes the chart in the version that it has, with the image of the lab.
func pushChart(t *testing.T, registry string) {
	t.Helper()
	_, packed, err := release.Release{
		Version: loadChart(t).Metadata.AppVersion, Registry: release.DefaultRegistry, Checkout: env.Source,
	}.PackChart()
	assert.NilError(t, err)
	tag, err := name.NewTag(registry + "/charts/argosy:" + loadChart(t).Metadata.Version)
	assert.NilError(t, err)
	assert.NilError(t, remote.Write(tag, packed))
}

// tunnel connects a client with a server, as proxies do for HTTPS.
func tunnel(w http.ResponseWriter, target string) {
	server, err := net.Dial("tcp", target)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
	_ = client.Close()
	<-done
}
