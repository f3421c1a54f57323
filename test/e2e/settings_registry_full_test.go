//go:build full

package e2e_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// TestContainerdUsesConfiguredRegistries pulls an image through every kind of registry setting: each name leads to the
// same image, by its own setting only.
func TestContainerdUsesConfiguredRegistries(t *testing.T) {
	const mirrors, auth = joinNode + "containerd.registry.mirrors.<registry>.",
		joinNode + "containerd.registry.auth.<registry>."
	shows(t, joinNode+"containerd.registry.configPath", mirrors+"server", mirrors+"caCert", mirrors+"skipVerify",
		mirrors+"capabilities", mirrors+"overridePath",
		mirrors+"hosts[].server", mirrors+"hosts[].caCert", mirrors+"hosts[].skipVerify",
		mirrors+"hosts[].capabilities", mirrors+"hosts[].overridePath",
		auth+"username", auth+"password", auth+"identityToken", auth+"auth")
	const machine, caFile, dir = "m1", "/etc/ssl/of-the-registry.crt", "/etc/containerd/registries"
	resetMachines(t, machine)
	configure(t, site.Overrides{})
	mustSucceed(t, teamA(), "join", "machines="+machine)
	ours := newAuthority(t)
	runOn(t, machine, "sh", "-c", `printf %s "$0" > `+caFile, ours.pem)

	secure, plain := startRegistry(t, registryOptions{certificate: ours.certificate}),
		startRegistry(t, registryOptions{})
	never, below := startRegistry(t, registryOptions{}), startRegistry(t, registryOptions{prefix: "/elsewhere"})
	user, token, both := startRegistry(t, registryOptions{login: basicLogin}),
		startRegistry(t, registryOptions{login: tokenLogin}),
		startRegistry(t, registryOptions{login: basicLogin})
	https, http := func(d *testRegistry) string { return "https://" + d.address },
		func(d *testRegistry) string { return "http://" + d.address }
	type host = map[string]any
	registries := map[string]any{
		"ca.test": host{"server": https(secure), "caCert": []string{caFile}},
		"ca-host.test": host{
			"server": "https://" + hostAddress + ":1",
			"hosts":  []host{{"server": https(secure), "caCert": []string{caFile}}},
		},
		"unverified.test":   host{"server": https(secure), "skipVerify": true},
		"unverified-2.test": host{"hosts": []host{{"server": https(secure), "skipVerify": true}}},
		plain.address:       host{"skipVerify": true}, // speaks plain HTTP, and nothing says so but this
		"first-is-down.test": host{"hosts": []host{
			{"server": "http://" + hostAddress + ":1"},
			{"server": http(plain)},
		}},
		"all-are-down.test": host{"server": http(plain), "hosts": []host{{"server": "http://" + hostAddress + ":1"}}},
		"only-push.test": host{"server": http(plain), "hosts": []host{{
			"server":       http(never),
			"capabilities": []string{"push"},
		}}},
		"only-pull.test": host{"server": http(plain), "capabilities": []string{"pull", "resolve"}},
		"path.test":      host{"server": http(below) + "/elsewhere/v2", "overridePath": true},
		"path-host.test": host{
			"server": "http://" + hostAddress + ":1",
			"hosts":  []host{{"server": http(below) + "/elsewhere/v2", "overridePath": true}},
		},
		user.address:        host{"server": http(user)},
		token.address:       host{"server": http(token)},
		both.address:        host{"server": http(both)},
		lab.RegistryAddress: host{"server": "http://" + lab.RegistryAddress},
	}
	settings := map[string]any{
		joinNode + "containerd.registry.configPath": dir,
		joinNode + "containerd.registry.mirrors":    registries,
		joinNode + "containerd.registry.auth": map[string]any{
			user.address:  host{"username": "lab", "password": password},
			token.address: host{"identityToken": password},
			both.address:  host{"auth": base64.StdEncoding.EncodeToString([]byte("lab:" + password))},
		},
	}
	configure(t, site.Overrides{VCluster: vcluster(settings)})
	plan := argosy(t, "plan", "--namespace", site.TeamA, "--machines", machine)
	assertContains(t, plan, dir+"/ca.test/hosts.toml (without a restart)")
	assert.Assert(t, !strings.Contains(plan, password), "the plan shows the password")
	_, before := servicePIDs(t, machine)
	mustSucceed(t, teamA(), "reconcile", "machines="+machine)
	_, after := servicePIDs(t, machine)
	assert.Assert(t, before != after, "another folder and logins need a restart of containerd")

	var images []string
	for registry := range registries {
		if registry != lab.RegistryAddress {
			images = append(images, registry+"/web:v1")
		}
	}
	mustPull(t, machine, images)
	assert.Equal(t, never.asked.Load(), int64(0), "a host that may only be pushed to was asked")
	for _, d := range []*testRegistry{secure, plain, below, user, token, both} {
		assert.Assert(t, d.asked.Load() > 0)
	}
	t.Run("an unknown authority is not trusted", func(t *testing.T) {
		assert.Assert(t, !pullsAtOnce(t, machine, secure.address+"/web:v1"),
			"a certificate of an unknown authority was taken")
	})
	t.Run("logins are for root alone", func(t *testing.T) {
		holders := strings.Fields(runOn(t, machine, "sh", "-c",
			`grep -rlF "$0" /etc /var/lib/argosy /run /var/log 2>/dev/null; true`, password))
		assert.Equal(t, len(holders), 1, "%v", holders)
		assert.Equal(t, strings.TrimSpace(runOn(t, machine, "stat", "-c", "%a %U", holders[0])), "600 root")
	})
	t.Run("another host of a registry needs no restart", func(t *testing.T) {
		registries["new.test"] = host{"server": http(plain)}
		delete(registries, "path.test")
		configure(t, site.Overrides{VCluster: vcluster(settings)})
		mustSucceed(t, teamA(), "reconcile", "machines="+machine)
		_, now := servicePIDs(t, machine)
		assert.Equal(t, now, after)
		mustPull(t, machine, []string{"new.test/web:v1"})
		runOn(t, machine, "test", "!", "-e", dir+"/path.test")
	})
}

// mustPull runs pods on the machine, each with an image that it has to pull.
func mustPull(t *testing.T, machine string, images []string) {
	t.Helper()
	var names []string
	for i, image := range images {
		name := fmt.Sprintf("pulls-%d", i)
		names = append(names, name)
		runPod(t, machine, name, image)
	}
	for i, name := range names {
		out, err := teamA().Kubectl(t.Context(), "wait", "--for=condition=Ready", "pod/"+name,
			"--timeout="+patience.String())
		if err != nil {
			events, _ := teamA().Kubectl(t.Context(), "get", "events", "--field-selector", "involvedObject.name="+name,
				"-o", "custom-columns=M:.message")
			t.Errorf("pulling %s: %v\n%s\n%s", images[i], err, out, events)
		}
	}
	kubectl(t, teamA(), append([]string{"delete", "pod", "--force", "--grace-period=0"},
		names...)...)
}

func runPod(t *testing.T, machine, name, image string) {
	t.Helper()
	kubectl(t, teamA(), "delete", "pod", name, "--ignore-not-found", "--force", "--grace-period=0")
	overrides := `{"spec": {"nodeName": "` + machine +
		`", "terminationGracePeriodSeconds": 1, "containers": [{"name": "web", "image": "` + image +
		`", "imagePullPolicy": "Always", "args": ["serve"]}]}}`
	kubectl(t, teamA(), "run", name, "--image="+image, "--restart=Never", "--overrides="+overrides)
	t.Cleanup(func() {
		_, _ = teamA().Kubectl(context.Background(), "delete", "pod", name, "--ignore-not-found", "--force",
			"--grace-period=0")
	})
}

// pullsAtOnce reports whether the machine pulls an image at its first attempt.
func pullsAtOnce(t *testing.T, machine, image string) bool {
	t.Helper()
	const name = "pulls-at-once"
	runPod(t, machine, name, image)
	var reason string
	eventually(t, "the first attempt ends", func() bool {
		out, err := teamA().Kubectl(t.Context(), "get", "pod", name, "-o",
			"jsonpath={.status.phase} {.status.containerStatuses[0].state.waiting.reason}")
		reason = out
		return err == nil && (strings.HasPrefix(out, "Running") || strings.Contains(out, "ErrImagePull") ||
			strings.Contains(out, "ImagePullBackOff"))
	}, func() string { return reason })
	return strings.HasPrefix(reason, "Running")
}
