package join

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/layout"
)

// advice are kubeadm's words beside failures of the kubelet, and trace those behind every failure.
const (
	advice = "\nUnfortunately, an error has occurred:\n\tcontext deadline exceeded\n\n" +
		"This error is likely caused by:\n" +
		"\t- The kubelet is not running\n\t- The kubelet is unhealthy due to a misconfiguration of the node\n\n" +
		"If you are on a systemd-powered system, you can try to troubleshoot the error with the following commands:\n" +
		"\t- 'systemctl status kubelet'\n\t- 'journalctl -xeu kubelet'\n"
	trace = "To see the stack trace of this error execute with --v=5 or higher\n"
)

// The outputs have the form of kubeadm's from 1.31 to 1.36.
func TestTheCauseOfAKubeadmThatFailsIsItsFirstLine(t *testing.T) {
	const joining = `joining "https://192.0.2.1:6443": kubeadm join`
	for name, test := range map[string]struct {
		output, want, hint string
		class              errclass.Class
		problems           int
	}{
		"one check": {
			"[preflight] Running pre-flight checks\n\t[WARNING Hostname]: hostname \"m1\" could not be reached\n" +
				"error execution phase preflight: [preflight] Some fatal errors occurred:\n" +
				"\t[ERROR Swap]: running with swap on is not supported. Please disable swap\n" +
				"[preflight] If you know what you are doing, you can make a check non-fatal with " +
				"`--ignore-preflight-errors=...`\n" +
				trace,
			joining + ", phase preflight: [ERROR Swap]: running with swap on is not supported. Please disable swap",
			"ignorePreflightErrors", errclass.Permanent, 0,
		},
		"two checks, one of two lines": {
			"error: error execution phase preflight: [preflight] Some fatal errors occurred:\n" +
				"\t[ERROR Port-10250]: Port 10250 is in use\n" +
				"\t[ERROR CRI]: container runtime is not running: output:\n" +
				"time=\"2026-01-02T15:04:05Z\" level=fatal msg=\"connection refused\"\n" +
				"[preflight] If you know what you are doing, you can make a check non-fatal\n" + trace,
			joining + ", phase preflight: [ERROR Port-10250]: Port 10250 is in use; [ERROR CRI]: container runtime " +
				"is not " +
				`running: output: time="2026-01-02T15:04:05Z" level=fatal msg="connection refused"`,
			"ignorePreflightErrors", errclass.Permanent, 2,
		},
		"the API server is away": {
			"[preflight] Running pre-flight checks\nerror execution phase preflight: couldn't validate the " +
				"identity of the API Server: Get \"https://192.0.2.1:6443/api/v1/namespaces/kube-public\": " +
				"dial tcp 192.0.2.1:6443: connect: connection refused\n" + trace,
			joining + ", phase preflight: couldn't validate the identity of the API Server: Get ",
			"why https://192.0.2.1:6443 does not answer", errclass.Transient, 0,
		},
		"the API server does not answer in time": {
			"error execution phase kubelet-start: cannot get Node \"m1\": Get " +
				"\"https://192.0.2.1:6443/api/v1/nodes/m1\": " +
				"context deadline exceeded\n" + trace,
			joining + `, phase kubelet-start: cannot get Node "m1": `, "does not answer", errclass.Transient, 0,
		},
		"the kubelet has made no node yet": {
			"error: unable to fetch the kubeadm-config ConfigMap: failed to get node registration: failed to get " +
				"corresponding node: nodes \"m1\" not found\n" + trace,
			joining + ": unable to fetch the kubeadm-config ConfigMap: failed to get node registration: ",
			"has not registered its node", errclass.Transient, 0,
		},
		"the name is taken": {
			"error execution phase kubelet-start: a Node with name \"m1\" and status \"Ready\" already exists in the " +
				"cluster. You must delete the existing Node or change the name of this new joining Node\n" + trace,
			joining + `, phase kubelet-start: a Node with name "m1" and status "Ready" already exists`,
			"another nodeName", errclass.Permanent, 0,
		},
		"the token is refused": {
			"error execution phase preflight: couldn't validate the identity of the API Server: Unauthorized\n" + trace,
			joining + ", phase preflight: couldn't validate the identity of the API Server: Unauthorized",
			"token was refused", errclass.Permanent, 0,
		},
		"the kubelet is not healthy": {
			"[kubelet-check] The kubelet is not healthy after 4m0.000464s\n" + advice +
				"error execution phase kubelet-start: The HTTP call equal to " +
				"'curl -sSL http://127.0.0.1:10248/healthz' returned error: Get \"http://127.0.0.1:10248/healthz\": " +
				"dial tcp 127.0.0.1:10248: connect: connection refused\n" + trace,
			joining + ", phase kubelet-start: The HTTP call equal to 'curl -sSL http://127.0.0.1:10248/healthz'",
			"journalctl --unit kubelet", errclass.Permanent, 0,
		},
		"the kubelet gets no credentials": {
			"[kubelet-start] Waiting for the kubelet to perform the TLS Bootstrap\n" + advice +
				"error execution phase kubelet-wait-bootstrap: context deadline exceeded\n" + trace,
			joining + ", phase kubelet-wait-bootstrap: context deadline exceeded",
			"journalctl --unit kubelet", errclass.Permanent, 0,
		},
		"no phase": {
			"error: nodeRegistration.name: Invalid value: \"M1\"\n" + trace,
			joining + `: nodeRegistration.name: Invalid value: "M1"`, "last lines", errclass.Permanent, 0,
		},
		"a connection was refused before": {
			"[preflight] retrying: connection refused\nerror execution phase kubelet-start: couldn't save " +
				"bootstrap-kubelet.conf to disk: no space left on device\n" + trace,
			joining + ", phase kubelet-start: couldn't save bootstrap-kubelet.conf to disk: no space left on device",
			"journalctl", errclass.Permanent, 0,
		},
		"a crash": {
			"[preflight] Running pre-flight checks\npanic: runtime error: invalid memory address or nil pointer " +
				"dereference\n[signal SIGSEGV]\n\ngoroutine 1 [running]:\nmain.main()\n\t/go/src/main.go:25 +0x1d\n",
			joining + ": panic: runtime error: invalid memory address or nil pointer dereference", "last lines",
			errclass.Permanent, 0,
		},
		"killed": {
			"[preflight] Running pre-flight checks\n[kubelet-start] Starting the kubelet\n",
			joining + ": exit status 1", "last lines", errclass.Permanent, 0,
		},
		"a configuration of several lines": {
			"error: strict decoding error:\n  unknown field \"nodeRegistration.frob\"\n" + trace,
			joining + `: unknown field "nodeRegistration.frob"`, "last lines", errclass.Permanent, 0,
		},
		"no output": {"", joining + ": exit status 1", "last lines", errclass.Permanent, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.join.Server = "https://192.0.2.1:6443"
			m.programs.answers["kubeadm"] = func([]string) (string, error) {
				m.write(layout.BootstrapConf, testToken)
				return test.output, errors.New("exit status 1")
			}
			_, err := applyKubeadm(context.Background(), m.context)
			assert.Assert(t, strings.HasPrefix(err.Error(), test.want), err.Error())
			assert.Assert(t, !strings.Contains(err.Error(), "stack trace"))
			assert.Equal(t, errclass.ClassOf(err), test.class)
			var failure *node.Failure
			assert.Assert(t, errors.As(err, &failure))
			assert.Assert(t, cmp.Contains(failure.Hint, test.hint))
			assert.Equal(t, len(failure.Problems), test.problems)

			assert.Assert(t, !m.host.Exists(layout.BootstrapConf), "the token stays in %s", layout.BootstrapConf)
			assert.Assert(t, m.programs.called("systemctl stop kubelet.service"))
			assert.Equal(t, len(m.below("/var/lib/argosy/ops/op")), 0)
		})
	}
}

// The kubelet got its certificate before kubeadm failed: the next attempt finishes the join, without a token.
func TestNoTokenStaysBesideAKubeletsOwnCredentials(t *testing.T) {
	m := newMachine(t)
	m.programs.answers["kubeadm"] = func([]string) (string, error) {
		m.write(layout.BootstrapConf, testToken)
		m.joined(m.ca, m.join.Server, "m1", time.Now().Add(time.Hour))
		return "", errors.New("exit status 1")
	}
	_, err := applyKubeadm(context.Background(), m.context)
	assert.ErrorContains(t, err, "exit status 1")
	assert.Assert(t, !m.host.Exists(layout.BootstrapConf))
	assert.Assert(t, !m.programs.called("systemctl stop kubelet.service"))
}

// kubeadm would wait for four minutes.
func TestAKubeletThatCannotStartEndsKubeadm(t *testing.T) {
	const head = "Started kubelet.service\nI0102 15:04:05.000001    1234 server.go:212] \"Kubelet version\" " +
		"version=\"v1.34.4\"\n"
	for name, test := range map[string]struct {
		journal, want string
		class         errclass.Class
	}{
		"swap": {
			head + "E0102 15:04:05.678901    1234 run.go:72] \"command failed\" err=\"failed to run Kubelet: running " +
				"with " +
				"swap on is not supported, please disable swap or set \\\"failSwapOn\\\" to " +
				"false\"\nkubelet.service: Main " +
				"process exited, code=exited, status=1/FAILURE\n",
			"failed to run Kubelet: running with swap on is not supported, please disable swap or set " +
				`"failSwapOn" to false`,
			errclass.Permanent,
		},
		"a flag": {
			head + "E0102 15:04:05.678901 1234 run.go:72] \"command failed\" err=\"failed to parse kubelet flag: " +
				"unknown " +
				"flag: --frob\"\n", "failed to parse kubelet flag: unknown flag: --frob", errclass.Permanent,
		},
		"a fatal line": {
			head + "F0102 15:04:05.678901 1234 server.go:1] could not set up cgroups\nkubelet.service: Failed\n",
			"could not set up cgroups", errclass.Permanent,
		},
		"the API server is away": {
			"E0102 15:04:05.678901 1234 run.go:72] \"command failed\" err=\"failed to run Kubelet: cannot create " +
				"certificate " +
				"signing request: Post \\\"https://192.0.2.1:6443/apis\\\": dial tcp 192.0.2.1:6443: connect: " +
				"connection refused\"\n",
			"failed to run Kubelet: cannot create certificate signing request: ", errclass.Transient,
		},
		"the kubelet has started again": {
			"E0102 15:04:05.678901 1234 run.go:72] \"command failed\" err=\"failed to run Kubelet: no swap\"\n" +
				strings.Repeat("\tsyncFrequency: 1m0s\n", 100) +
				"E0102 15:04:06.678901 1235 bootstrap.go:9] \"Unhandled Error\" err=\"unable to read a certificate\"\n",
			"failed to run Kubelet: no swap", errclass.Permanent,
		},
		"no error": {head, "its journal has no error", errclass.Permanent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			restarts := 0
			m.programs.answers["systemctl"] = func(argv []string) (string, error) {
				if argv[1] != "show" {
					return "", nil
				}
				restarts += maxRestarts
				return "NRestarts=" + strconv.Itoa(restarts) + "\n", nil
			}
			m.programs.answers["journalctl"] = func([]string) (string, error) { return test.journal, nil }
			m.programs.lasting = map[string]func(context.Context) (string, error){
				"kubeadm": func(ctx context.Context) (string, error) {
					m.write(layout.BootstrapConf, testToken)
					<-ctx.Done()
					return "[kubelet-check] Waiting for a healthy kubelet\n", ctx.Err()
				},
			}
			_, err := applyKubeadm(context.Background(), m.context)
			assert.ErrorContains(t, err, "the kubelet cannot start, systemd restarted it 5 times: "+test.want)
			assert.Equal(t, errclass.ClassOf(err), test.class)
			var failure *node.Failure
			assert.Assert(t, errors.As(err, &failure))
			assert.Equal(t, failure.Command, "journalctl --unit kubelet.service")
			assert.Assert(t, !m.host.Exists(layout.BootstrapConf))
		})
	}
}

// Before kubeadm starts the kubelet, it may restart for lack of its configuration.
func TestRestartsBeforeKubeadmStartsTheKubeletDoNotCount(t *testing.T) {
	m := newMachine(t)
	asked := false
	m.programs.answers["systemctl"] = func(argv []string) (string, error) {
		asked = asked || argv[1] == "show"
		return "", nil
	}
	m.kubeadmJoins()
	apply(t, m, applyKubeadm)
	assert.Assert(t, !asked)
}
