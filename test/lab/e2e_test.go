//go:build e2e

package lab

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

// upOnce brings the lab of this computer up, once for all tests.
var upOnce = sync.OnceValues(func() (*Lab, error) {
	l, err := Open()
	if err != nil {
		return nil, err
	}
	if err := l.Claim("the tests of the lab"); err != nil {
		return nil, err
	}
	return l, l.Up(context.Background())
})

func upLab(t *testing.T) (*Lab, context.Context) {
	t.Helper()
	l, err := upOnce()
	assert.NilError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return l, ctx
}

// machineNamed returns a machine of the lab.
func machineNamed(t *testing.T, l *Lab, name string) Machine {
	t.Helper()
	m, err := l.Machine(name)
	assert.NilError(t, err)
	return m
}

// login runs a command on a machine through its sshd, as its own user.
func login(t *testing.T, l *Lab, ctx context.Context, name string, command ...string) (string, error) {
	t.Helper()
	argv, err := l.SSHArgv(name)
	assert.NilError(t, err)
	return run(ctx, append(argv, command...)...)
}

func TestEveryMachineLetsItsUserIn(t *testing.T) {
	l, ctx := upLab(t)
	for _, m := range append(l.Members(), withRole(RoleBastion)...) {
		out, err := login(t, l, ctx, m.Name, "id -un; hostname")
		assert.NilError(t, err)
		assert.Equal(t, out, m.Login+"\n"+m.Name+"\n")
	}
}

func TestOnlyTheMachinesOwnUserLogsIn(t *testing.T) {
	l, ctx := upLab(t)
	argv, err := l.SSHArgv("m2")
	assert.NilError(t, err)
	argv[len(argv)-1] = strings.Replace(argv[len(argv)-1], "ops@", "root@", 1)
	_, err = run(ctx, append(argv, "-o", "BatchMode=yes", "true")...)
	assert.ErrorContains(t, err, "Permission denied")
}

func TestSudoDiffersByMachine(t *testing.T) {
	l, ctx := upLab(t)
	out, err := login(t, l, ctx, "m2", "sudo -n id -un")
	assert.NilError(t, err)
	assert.Equal(t, out, "root\n")

	_, err = login(t, l, ctx, "m3", "sudo -n id -un")
	assert.ErrorContains(t, err, "a password is required")

	password, err := os.ReadFile(filepath.Join(l.secretsDir(), "ops-password"))
	assert.NilError(t, err)
	argv, err := l.SSHArgv("m3")
	assert.NilError(t, err)
	out, err = runInput(ctx, strings.NewReader(string(password)+"\n"), append(argv, "sudo -S -p '' id -un")...)
	assert.NilError(t, err)
	assert.Equal(t, out, "root\n")

	_, err = login(t, l, ctx, "bastion", "sudo -n true")
	assert.ErrorContains(t, err, "exit status 1")
}

func TestMachineBehindBastionCannotBeDialled(t *testing.T) {
	l, ctx := upLab(t)
	m4, err := l.Spec("m4")
	assert.NilError(t, err)
	for _, from := range []string{"argosy-host", "argosy-m1", routerNamespace} {
		conn, err := dialFrom(ctx, from, net.JoinHostPort(m4.Address, "22"))
		if from == routerNamespace {
			// The router itself may; that the others may not is its filter's doing.
			assert.NilError(t, err)
			assert.NilError(t, conn.Close())
			continue
		}
		assert.ErrorContains(t, err, "timeout")
	}
	_, err = l.Exec(ctx, "m4", "curl", "--silent", "--fail", "--insecure", "https://10.117.0.20:6443/readyz")
	assert.NilError(t, err)
}

func TestMachineM5HasNeitherSCPNorSFTP(t *testing.T) {
	l, ctx := upLab(t)
	_, err := l.Exec(ctx, "m5", "scp")
	assert.ErrorContains(t, err, "No such file or directory")
	out, err := l.Exec(ctx, "m5", "sh", "-c", "ls /usr/lib/openssh")
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(out, "sftp-server"), out)
	out, err = login(t, l, ctx, "m5", "echo still reached")
	assert.NilError(t, err)
	assert.Equal(t, out, "still reached\n")
}

func TestCertifiedKeyLogsInAndM1HasHostCertificate(t *testing.T) {
	l, ctx := upLab(t)
	ca, err := l.publicKey("ca_host")
	assert.NilError(t, err)
	known := filepath.Join(t.TempDir(), "known_hosts")
	assert.NilError(t, os.WriteFile(known, []byte("@cert-authority * "+ca+"\n"), 0o600))
	_, err = run(ctx, "ssh", "-F", "none", "-i", filepath.Join(l.keysDir(), "id_certified"), "-o", "IdentitiesOnly=yes",
		"-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile="+known, "-o",
		"HostKeyAlgorithms=ssh-ed25519-cert-v01@openssh.com",
		"root@10.117.0.101", "true")
	assert.NilError(t, err)
}

func TestResetMachineIsCleanAndKeepsItsIdentity(t *testing.T) {
	l, ctx := upLab(t)
	_, err := l.Exec(ctx, "m3", "sh", "-c", "touch /root/trace /var/lib/containerd/trace /usr/local/bin/kubelet; ip "+
		"link add trace0 type bridge")
	assert.NilError(t, err)
	id, err := l.Exec(ctx, "m3", "cat", "/etc/machine-id")
	assert.NilError(t, err)

	assert.NilError(t, l.Reset(ctx, "m3"))

	out, err := l.Exec(ctx, "m3", "sh", "-c", "ls /root /var/lib/containerd /var/lib/kubelet /var/lib/argosy "+
		"/usr/local/bin; ls /sys/class/net")
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(out, "trace") && !strings.Contains(out, "kubelet\n"), out)
	after, err := l.Exec(ctx, "m3", "cat", "/etc/machine-id")
	assert.NilError(t, err)
	assert.Equal(t, after, id)
	// The host key is pinned, so that this login is refused if it changed.
	_, err = login(t, l, ctx, "m3", "true")
	assert.NilError(t, err)
}

func TestRebootedMachineKeepsItsDisk(t *testing.T) {
	l, ctx := upLab(t)
	_, err := l.Exec(ctx, "m3", "touch", "/root/kept")
	assert.NilError(t, err)
	before, err := l.Exec(ctx, "m3", "cat", "/proc/sys/kernel/random/boot_id")
	assert.NilError(t, err)

	assert.NilError(t, machineNamed(t, l, "m3").Reboot(ctx))

	after, err := l.Exec(ctx, "m3", "cat", "/proc/sys/kernel/random/boot_id", "/root/kept")
	assert.NilError(t, err)
	assert.Assert(t, after != before)
	assert.NilError(t, l.Reset(ctx, "m3"))
}

func TestKilledSSHDIsRestarted(t *testing.T) {
	l, ctx := upLab(t)
	m3, err := l.Spec("m3")
	assert.NilError(t, err)
	conn, err := dialFrom(ctx, m3.namespace(), net.JoinHostPort(m3.Address, "22"))
	assert.NilError(t, err)
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 8))
	assert.NilError(t, err)

	assert.NilError(t, l.KillSSHD(ctx, "m3"))

	assert.NilError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = io.Copy(io.Discard, conn)
	assert.Assert(t, !os.IsTimeout(err), "the connection of before is still open")
	assert.NilError(t, machineNamed(t, l, "m3").WaitForSSH(ctx))
}

func TestDisconnectedMachineAnswersOnceReconnected(t *testing.T) {
	l, ctx := upLab(t)
	assert.NilError(t, machineNamed(t, l, "m3").Connect(ctx, false))
	_, err := dialFrom(ctx, "argosy-host", "10.117.0.103:22")
	connectErr := machineNamed(t, l, "m3").Connect(ctx, true)
	assert.ErrorContains(t, err, "timeout")
	assert.NilError(t, connectErr)
	// The other side asks for a silent neighbour only once a second.
	for range 10 {
		var conn net.Conn
		if conn, err = dialFrom(ctx, "argosy-host", "10.117.0.103:22"); err == nil {
			assert.NilError(t, conn.Close())
			break
		}
	}
	assert.NilError(t, err)
}

func TestUpRepairsAMachineWhoseSupervisorWasKilled(t *testing.T) {
	l, ctx := upLab(t)
	m3, err := l.Spec("m3")
	assert.NilError(t, err)
	supervisor, ok := readProcess(l.disk(m3).pidFile())
	assert.Assert(t, ok)
	assert.NilError(t, supervisor.kill())

	assert.NilError(t, l.Up(ctx))

	out, err := login(t, l, ctx, "m3", "hostname")
	assert.NilError(t, err)
	assert.Equal(t, out, "m3\n")
}

func TestBundlesAreServedWithTheirDigests(t *testing.T) {
	l, ctx := upLab(t)
	_, err := l.Exec(ctx, "m4", "sh", "-euc", `cd /tmp
curl --silent --fail --remote-name "$1/kubernetes-$2-amd64.tar.gz" --remote-name "$1/SHA256SUMS"
sha256sum --check --quiet SHA256SUMS; rm kubernetes-* SHA256SUMS`, "sh", RepositoryURL+"/"+Version, Version)
	assert.NilError(t, err)
}

func TestPodsOfTheHostClusterReachMachines(t *testing.T) {
	l, ctx := upLab(t)
	pid, err := l.Exec(ctx, "host", "pgrep", "-o", "-x", "workflow-contro")
	assert.NilError(t, err)
	out, err := l.Exec(ctx, "host", "nsenter", "--net", "--target", strings.TrimSpace(pid), "bash", "-c",
		"exec 3<>/dev/tcp/10.117.0.101/22; head -c 7 <&3")
	assert.NilError(t, err)
	assert.Check(t, is.Equal(out, "SSH-2.0"))
}

func TestPowerCutKeepsSyncedFilesOnly(t *testing.T) {
	l, ctx := upLab(t)
	assert.NilError(t, l.ResetAs(ctx, ResetOptions{OwnDisk: true}, "m1"))
	t.Cleanup(func() { assert.NilError(t, l.Reset(context.Background(), "m1")) })
	for _, round := range []string{"first", "second", "third"} {
		const script = `echo "$0" > /root/synced && sync /root/synced && echo "$0" > "/root/lost-$0"`
		_, err := l.Exec(ctx, "m1", "sh", "-c", script, round)
		assert.NilError(t, err)
		assert.NilError(t, machineNamed(t, l, "m1").CutPower(ctx))
		out, err := login(t, l, ctx, "m1", "cat /root/synced; cat /root/lost-*; true")
		assert.NilError(t, err)
		assert.Equal(t, out, round+"\n")
	}
}
