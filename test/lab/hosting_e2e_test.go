//go:build e2e

package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/poll"
)

// hosted is a namespace of the host cluster that is deleted when the test ends.
type hosted struct {
	t         *testing.T
	l         *Lab
	ctx       context.Context
	namespace string
}

func newHosted(t *testing.T, name string) *hosted {
	t.Helper()
	l, ctx := upLab(t)
	h := &hosted{t: t, l: l, ctx: ctx, namespace: "lab-" + name}
	remove := func() {
		_, err := l.Kubectl(context.Background(), "host", "delete", "namespace", h.namespace, "--ignore-not-found",
			"--timeout=120s")
		assert.Check(t, err)
	}
	remove()
	_, err := l.Kubectl(ctx, "host", "create", "namespace", h.namespace)
	assert.NilError(t, err)
	t.Cleanup(remove)
	return h
}

func (h *hosted) kubectl(args ...string) string {
	h.t.Helper()
	out, err := h.l.Kubectl(h.ctx, "host", append([]string{"--namespace", h.namespace}, args...)...)
	assert.NilError(h.t, err)
	return out
}

func (h *hosted) apply(manifest string) {
	h.t.Helper()
	_, err := runInput(h.ctx, strings.NewReader(manifest), filepath.Join(h.l.BinDir(), "kubectl"), "--kubeconfig",
		h.l.KubeconfigPath("host"),
		"--namespace", h.namespace, "apply", "--filename", "-")
	assert.NilError(h.t, err)
}

// eventually waits until kubectl prints want.
func (h *hosted) eventually(want string, args ...string) {
	h.t.Helper()
	poll.WaitOn(h.t, func(poll.LogT) poll.Result {
		out, err := h.l.Kubectl(h.ctx, "host", append([]string{"--namespace", h.namespace}, args...)...)
		if err != nil || out != want {
			return poll.Continue("kubectl %s: %q, %v", strings.Join(args, " "), out, err)
		}
		return poll.Success()
	}, poll.WithTimeout(2*time.Minute), poll.WithDelay(100*time.Millisecond))
}

// serve runs a pod "web" whose web server answers "here". It ends when it is told to, or the machine's reboot would
// wait for it.
func (h *hosted) serve(image, pullPolicy string) {
	h.t.Helper()
	h.apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: web
      image: %s
      imagePullPolicy: %s
      command: [/bin/sh, -c, "mkdir -p /tmp/www && echo here >/tmp/www/index.html && trap exit TERM; httpd -f -p 8080 -h /tmp/www & wait"]
`, image, pullPolicy))
	h.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=120s")
}

const webService = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

// address waits for the address of a Service.
func (h *hosted) address(service string) string {
	h.t.Helper()
	out := ""
	poll.WaitOn(h.t, func(poll.LogT) poll.Result {
		out = h.kubectl("get", "service", service, "--output", "jsonpath={.status.loadBalancer.ingress[0].ip}")
		if out == "" {
			return poll.Continue("Service %s has no address yet", service)
		}
		return poll.Success()
	}, poll.WithTimeout(time.Minute), poll.WithDelay(50*time.Millisecond))
	return out
}

// answers asks the web server at an address from this computer, from every
// member, from the host machine and from a pod of the host cluster.
func (h *hosted) answers(address string) {
	h.t.Helper()
	poll.WaitOn(h.t, func(poll.LogT) poll.Result {
		answer, err := http.Get("http://" + address)
		if err != nil {
			return poll.Continue("asking %s: %v", address, err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || string(text) != "here\n" {
			return poll.Continue("asking %s: %q, %v", address, text, err)
		}
		return poll.Success()
	}, poll.WithTimeout(time.Minute), poll.WithDelay(100*time.Millisecond))
	for _, m := range append(h.l.Members(), withRole(RoleHost)...) {
		out, err := h.l.Exec(h.ctx, m.Name, "curl", "--silent", "--show-error", "--fail", "--max-time", "10",
			"http://"+address)
		assert.NilError(h.t, err, m.Name)
		assert.Equal(h.t, out, "here\n", m.Name)
	}
	// The pod itself is the hard case: its packets come back to it.
	out := h.kubectl("exec", "web", "--", "/bin/sh", "-c",
		`printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 10 "$0" 80 | tail -n 1`, address)
	assert.Equal(h.t, out, "here\n")
}

func (h *hosted) hostAddresses() string {
	h.t.Helper()
	host, err := h.l.Spec("host")
	assert.NilError(h.t, err)
	has, err := interfaceOf(host).list(h.ctx)
	assert.NilError(h.t, err)
	return fmt.Sprint(has)
}

func TestLoadBalancerServiceIsReachableAndReleasesItsAddress(t *testing.T) {
	h := newHosted(t, "balancer")
	h.serve(storageImagesOf().Helper, "Never")
	h.apply(strings.Replace(webService, "name: web", "name: classy", 1) + "  loadBalancerClass: example.org/nobody\n")
	h.apply(webService)
	address := h.address("web")
	h.answers(address)

	// No controller serves its class: it was first and still has no address.
	assert.Equal(t, h.kubectl("get", "service", "classy", "--output", "jsonpath={.status.loadBalancer.ingress}"), "")

	h.kubectl("patch", "service", "web", "--patch", `{"spec":{"type":"ClusterIP"}}`)
	h.eventually("", "get", "service", "web", "--output", "jsonpath={.status.loadBalancer.ingress}")
	poll.WaitOn(t, func(poll.LogT) poll.Result {
		if has := h.hostAddresses(); strings.Contains(has, address) {
			return poll.Continue("the host machine has %s", has)
		}
		return poll.Success()
	}, poll.WithTimeout(time.Minute))
}

func TestLoadBalancerServiceKeepsItsAddressAfterReboot(t *testing.T) {
	h := newHosted(t, "reboot")
	h.serve(storageImagesOf().Helper, "Never")
	h.apply(webService)
	address := h.address("web")

	assert.NilError(t, machineNamed(h.t, h.l, "host").Reboot(h.ctx))

	host, err := h.l.Spec("host")
	assert.NilError(t, err)
	assert.NilError(t, h.l.waitForNode(h.ctx, host))
	assert.Equal(t, h.address("web"), address)
	h.answers(address)
	h.eventually("16", "get", "node", "host", "--output", "jsonpath={.status.allocatable.cpu}")
}

func TestPodImageIsPulledFromTheLabRegistry(t *testing.T) {
	h := newHosted(t, "registry")
	ref, err := inRegistry(storageImagesOf().Helper)
	assert.NilError(t, err)
	h.serve(ref.String(), "Always")
	id := h.kubectl("get", "pod", "web", "--output", "jsonpath={.status.containerStatuses[0].imageID}")
	assert.Assert(t, strings.HasPrefix(id, RegistryAddress+"/library/busybox@sha256:"), id)
	// The back network reaches it, too.
	_, err = h.l.Exec(h.ctx, "m4", "curl", "--silent", "--fail",
		"http://"+RegistryAddress+"/v2/library/busybox/manifests/"+ref.TagStr())
	assert.NilError(t, err)
}

func TestRegistryKeepsImagesAfterRestart(t *testing.T) {
	l, ctx := upLab(t)
	assert.NilError(t, l.stopDaemon(registryDaemon))
	assert.NilError(t, l.Up(ctx))
	_, err := l.Exec(ctx, "m1", "curl", "--silent", "--fail", "http://"+RegistryAddress+"/v2/library/busybox/tags/list")
	assert.NilError(t, err)
}

func TestVolumeClaimKeepsDataOfDeletedPod(t *testing.T) {
	h := newHosted(t, "storage")
	h.apply(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Mi}}
`)
	pod := func(name, command string) {
		h.apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: %s
      imagePullPolicy: Never
      command: [/bin/sh, -ec, %q]
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
`, name, storageImagesOf().Helper, command))
		h.kubectl("wait", "pod/"+name, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
	}
	pod("writes", "echo kept >/data/file")
	assert.Equal(t, h.kubectl("get", "pvc", "data", "--output", "jsonpath={.spec.storageClassName} {.status.phase}"),
		"local-path Bound")
	h.kubectl("delete", "pod", "writes")
	pod("reads", "cat /data/file")
	assert.Equal(t, h.kubectl("logs", "reads"), "kept\n")
	folder, err := h.l.Exec(h.ctx, "host", "stat", "--file-system", "--format=%T", storageFolder)
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(folder, "overlay"), folder)
}

func TestPodsReachPostgres(t *testing.T) {
	h := newHosted(t, "postgres")
	dsn, err := h.l.Postgres(h.ctx)
	assert.NilError(t, err)
	again, err := h.l.Postgres(h.ctx)
	assert.NilError(t, err)
	assert.Equal(t, again, dsn)
	psql, err := postgresProgram("psql")
	assert.NilError(t, err)
	out, err := run(h.ctx, psql, dsn, "--tuples-only", "--no-align", "--command=select current_user")
	assert.NilError(t, err)
	assert.Equal(t, out, "kine\n")
	h.serve(storageImagesOf().Helper, "Never")
	// It answers "S" to the eight bytes that ask whether it speaks TLS.
	out = h.kubectl("exec", "web", "--", "/bin/sh", "-c",
		`printf '\000\000\000\010\004\322\026\057' | nc -w 5 10.117.0.1 5432 | head -c 1`)
	assert.Equal(t, out, "S")
}

func TestFirewallBlocksKubeletsFromTheHostOnly(t *testing.T) {
	l, ctx := upLab(t)
	// Clean, so that nothing has the port.
	assert.NilError(t, l.Reset(ctx, "m3"))
	_, err := l.Exec(ctx, "m3", "systemd-run", "--unit=lab-kubelet", "--collect", "socat",
		"TCP-LISTEN:10250,fork,reuseaddr", "EXEC:true")
	assert.NilError(t, err)
	t.Cleanup(func() {
		_, err := l.Exec(context.Background(), "m3", "systemctl", "stop", "lab-kubelet")
		assert.Check(t, err)
	})
	reach := func(from string) error {
		var conn net.Conn
		// socat listens a moment after its unit has started.
		for range 20 {
			if conn, err = dialFrom(ctx, from, "10.117.0.103:10250"); err == nil {
				return conn.Close()
			}
			if strings.Contains(err.Error(), "timeout") {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		return err
	}
	assert.NilError(t, reach("argosy-host"))

	assert.NilError(t, l.FirewallKubelets(ctx, true))
	assert.NilError(t, l.FirewallKubelets(ctx, true))
	blocked, other := reach("argosy-host"), reach("argosy-m2")
	conn, ssh := dialFrom(ctx, "argosy-host", "10.117.0.103:22")
	assert.NilError(t, l.FirewallKubelets(ctx, false))
	assert.NilError(t, l.FirewallKubelets(ctx, false))

	assert.ErrorContains(t, blocked, "timeout")
	assert.NilError(t, other)
	assert.NilError(t, ssh)
	assert.NilError(t, conn.Close())
	assert.NilError(t, reach("argosy-host"))
}

func TestOverlayNetworkCrossesRouter(t *testing.T) {
	l, ctx := upLab(t)
	ends := map[string]string{"m1": "10.117.0.101", "m4": "10.117.1.104"}
	for name, own := range ends {
		peer := ends[map[string]string{"m1": "m4", "m4": "m1"}[name]]
		_, err := l.Exec(ctx, name, "sh", "-euc", `ip link add overlay0 type vxlan id 7 dstport 8472 local "$1" remote "$2" dev eth0
ip address add "10.99.0.${1##*.}/24" dev overlay0; ip link set overlay0 up`, "sh", own, peer)
		assert.NilError(t, err)
		t.Cleanup(func() {
			_, err := l.Exec(context.Background(), name, "ip", "link", "delete", "overlay0")
			assert.Check(t, err)
		})
	}
	for name, peer := range map[string]string{"m1": "10.99.0.104", "m4": "10.99.0.101"} {
		_, err := l.Exec(ctx, name, "ping", "-c", "1", "-W", "5", peer)
		assert.NilError(t, err)
	}
}

func TestMachineResetBareStaysBareAfterReboot(t *testing.T) {
	l, ctx := upLab(t)
	network := func() string {
		out, err := l.Exec(ctx, "m3", "sh", "-c", "ls /etc/cni/net.d 2>/dev/null; ip route show | grep 10.244. || true")
		assert.NilError(t, err)
		return out
	}
	assert.NilError(t, l.ResetAs(ctx, ResetOptions{WithoutPodNetwork: true}, "m3"))
	assert.Equal(t, network(), "")
	assert.NilError(t, machineNamed(t, l, "m3").Reboot(ctx))
	assert.NilError(t, l.Up(ctx))
	assert.Equal(t, network(), "")

	assert.NilError(t, l.Reset(ctx, "m3"))
	assert.Assert(t, strings.Contains(network(), "10.244.1.0/24"), network())
}
