package ssh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	assert.NilError(t, os.WriteFile(name, []byte(content), 0o600))
}

func TestAFailedCommandShowsItsLineAndLastOutput(t *testing.T) {
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	script := `echo out; for i in 1 2 3; do echo "line $i" >&2; done; exit 7`
	result, err := dial(t, config).Run(t.Context(), ssh.Command{Argv: []string{"/bin/sh", "-c", script}})

	var failed *ssh.ExitError
	assert.Assert(t, errors.As(err, &failed))
	assert.Equal(t, failed.ExitCode, 7)
	assert.Equal(t, result.ExitCode, 7)
	assert.Equal(t, failed.Command, "/bin/sh -c '"+script+"'")
	assert.DeepEqual(t, failed.Tail, []string{"line 1", "line 2", "line 3"})
	assert.Equal(t, string(result.Stdout), "out\n")
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
}

func TestInputAndOutputOfACommandAreStreamed(t *testing.T) {
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	input := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var live bytes.Buffer
	result, err := dial(t, config).Run(t.Context(), ssh.Command{
		Argv: []string{"cat"}, Stdin: bytes.NewReader(input),
		Stdout: &live,
	})
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(live.Bytes(), input))
	assert.Assert(t, result.Truncated && bytes.HasSuffix(input, result.Stdout) && len(result.Stdout) >= 16<<10)
}

func TestACommandWithoutInputDoesNotWaitForIt(t *testing.T) {
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	_, err := dial(t, config).Run(t.Context(), ssh.Command{Argv: []string{"true"}, Stdin: neverEnding(t)})
	assert.NilError(t, err)
}

func TestACancelledCommandEnds(t *testing.T) {
	// OpenSSH passes signals on to the commands of users other than root.
	_, config := openSSH(t, sshtest.OpenSSHOptions{Accounts: []sshtest.Account{{Name: "argosy-user", Password: "pw"}}})
	config.User = "argosy-user"
	client := dial(t, config)
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	assert.NilError(t, os.Chmod(dir, 0o777))
	mark := dir + "/ended"
	script := `trap 'echo yes >"$1"; exit 0' TERM; echo ready; while :; do sleep 0.05; done`
	_, err := client.Run(ctx, ssh.Command{Argv: []string{"/bin/sh", "-c", script, "sh", mark}, Stdout: onWrite(cancel)})
	assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled, err)
	assert.ErrorIs(t, err, context.Canceled)
	_, err = os.Stat(mark)
	assert.NilError(t, err)
	works(t, client)
}

func TestACancelledCommandOfRootIsCutOff(t *testing.T) {
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	client := dial(t, config)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := client.Run(ctx, ssh.Command{
		Argv:  []string{"/bin/sh", "-c", "echo ready; exec cat"},
		Stdin: neverEnding(t), Stdout: onWrite(cancel),
	})
	assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled, err)
	works(t, client)
}

// neverEnding is an input that neither gives anything nor ends.
func neverEnding(t *testing.T) io.Reader {
	reader, writer := io.Pipe()
	t.Cleanup(func() { _ = writer.Close() })
	return reader
}

// onWrite calls f at the first output.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) { f(); return len(p), nil }

func TestALostConnectionIsTransient(t *testing.T) {
	server, config := openSSH(t, sshtest.OpenSSHOptions{})
	network := sshtest.NewNetwork(t, fmt.Sprintf("127.0.0.1:%d", server.Port))
	config.Port = network.Port
	client := dial(t, config)
	_, err := client.Run(t.Context(), ssh.Command{
		Argv:   []string{"/bin/sh", "-c", "echo ready; sleep 60"},
		Stdout: onWrite(network.Cut),
	})
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient, err)
	assert.Assert(t, !client.Alive())
	_, err = client.Run(t.Context(), ssh.Command{Argv: []string{"true"}})
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient, err)
}

func TestAConnectionThatFallsSilentIsGivenUp(t *testing.T) {
	server, config := openSSH(t, sshtest.OpenSSHOptions{})
	network := sshtest.NewNetwork(t, fmt.Sprintf("127.0.0.1:%d", server.Port))
	config.Port, config.KeepAlive = network.Port, 50*time.Millisecond
	silence := onWrite(func() { network.Silence(true) })
	_, err := dial(t, config).Run(t.Context(), ssh.Command{
		Argv:   []string{"/bin/sh", "-c", "echo ready; sleep 60"},
		Stdout: silence,
	})
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient, err)
}

func TestAQuietCommandOutlivesTheKeepalive(t *testing.T) {
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	config.KeepAlive = 200 * time.Millisecond
	_, err := dial(t, config).Run(t.Context(), ssh.Command{Argv: []string{"sleep", "2"}})
	assert.NilError(t, err)
}

func TestAServerThatAnswersNoProbeIsGivenUp(t *testing.T) {
	_, config := simulated(t, sshtest.Options{Mute: true})
	config.KeepAlive = 20 * time.Millisecond
	_, err := dial(t, config).Run(t.Context(), ssh.Command{Argv: []string{"sleep", "60"}})
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient, err)
}

func TestMoreCommandsThanSessionsWaitForEachOther(t *testing.T) {
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	client := dial(t, config)
	results := make(chan error, 30)
	for range cap(results) {
		go func() {
			_, err := client.Run(t.Context(), ssh.Command{Argv: []string{"sleep", "0.05"}})
			results <- err
		}()
	}
	for range cap(results) {
		assert.NilError(t, <-results)
	}
}

func TestASessionOpensWhileTheServerCountsAClosedOne(t *testing.T) {
	_, config := simulated(t, sshtest.Options{MaxSessions: 3})
	client := dial(t, config)
	for range 20 {
		_, err := client.Run(t.Context(), ssh.Command{Argv: []string{"true"}})
		assert.NilError(t, err)
	}
}

func TestARefusedSessionIsReportedWithTheSettingToChange(t *testing.T) {
	_, config := openSSH(t, sshtest.OpenSSHOptions{Config: "MaxSessions 1\n"})
	client := dial(t, config)
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	ended := make(chan error)
	go func() {
		_, err := client.Run(ctx, ssh.Command{
			Argv:  []string{"/bin/sh", "-c", "echo; exec cat"},
			Stdin: neverEnding(t), Stdout: onWrite(func() { close(ready) }),
		})
		ended <- err
	}()
	<-ready
	_, err := client.Run(t.Context(), ssh.Command{Argv: []string{"true"}})
	assert.ErrorContains(t, err, "sshd refused one beside 1 other; if it goes on, raise MaxSessions")
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient)
	cancel()
	assert.Equal(t, errclass.ClassOf(<-ended), errclass.Cancelled)
}

// accounts of a machine that differ in what sudo makes of them.
func accounts(t *testing.T) ssh.Config {
	server, config := openSSH(t, sshtest.OpenSSHOptions{Accounts: []sshtest.Account{
		{Name: "argosy-free", Password: "login-pw", Sudo: "ALL=(ALL) NOPASSWD: ALL"},
		{Name: "argosy-asked", Password: "sudo-pw 'x' $y", Sudo: "ALL=(ALL) ALL"},
		{Name: "argosy-none", Password: "none-pw"},
	}})
	config.HostKeys = ssh.HostKeys{Pinned: []string{server.HostKey.Line()}}
	return config
}

func TestRootIsReachedThroughRealSudo(t *testing.T) {
	base := accounts(t)
	as := func(user, password string) ssh.Config {
		config := base
		config.User, config.SudoPassword = user, secret.New(password)
		return config
	}
	good := map[string]ssh.Config{
		"root's own login":      as("root", ""),
		"without a password":    as("argosy-free", ""),
		"with one nobody needs": as("argosy-free", "unused"),
		"with a password":       as("argosy-asked", "sudo-pw 'x' $y"),
	}
	for name, config := range good {
		t.Run(name, func(t *testing.T) {
			root := dial(t, config).Elevated()
			script := `id -u; cat; printf '%s|' "$@"; echo complaint >&2; tr '\0' '\n' </proc/$PPID/cmdline >&2`
			result, err := root.Run(t.Context(), ssh.Command{
				Argv: []string{
					"/bin/sh", "-c", script, "sh", "it's",
					"$(id)",
				},
				Stdin: strings.NewReader("input\n"),
			})
			assert.NilError(t, err)
			assert.Equal(t, string(result.Stdout), "0\ninput\nit's|$(id)|")
			assert.Assert(t, strings.HasPrefix(string(result.Stderr), "complaint\n"), "%q", result.Stderr)
			if !config.SudoPassword.Empty() {
				assert.Assert(t, !strings.Contains(string(result.Stderr), config.SudoPassword.Reveal()),
					"the password is in argv")
			}

			_, err = root.Run(t.Context(), ssh.Command{Argv: []string{"/bin/sh", "-c", "echo oops >&2; exit 3"}})
			var failed *ssh.ExitError
			assert.Assert(t, errors.As(err, &failed), "%v", err)
			assert.Equal(t, failed.ExitCode, 3)
			assert.DeepEqual(t, failed.Tail, []string{"oops"})
			assert.Assert(t, !strings.Contains(failed.Command, "argosy begins"), failed.Command)
		})
	}

	bad := map[string]struct {
		config ssh.Config
		says   string
	}{
		"wrong password":     {as("argosy-asked", "wrong"), `wrong sudo password for user "argosy-asked" on m1`},
		"no password":        {as("argosy-asked", ""), "add the key sudo-password to the Secret"},
		"not in the sudoers": {as("argosy-none", "none-pw"), "argosy-none is not in the sudoers file"},
	}
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			client := dial(t, c.config)
			mark := t.TempDir() + "/touched"
			_, err := client.Elevated().Run(t.Context(), ssh.Command{
				Argv:  []string{"touch", mark},
				Stdin: strings.NewReader("input"),
			})
			assert.ErrorContains(t, err, c.says)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			_, err = os.Stat(mark)
			assert.Assert(t, os.IsNotExist(err), "the command ran")
			works(t, client)
		})
	}
}

func TestAWrongSudoPasswordIsNotTriedAgainAtOnce(t *testing.T) {
	server, config := simulated(t, sshtest.Options{Path: fakeSudo(t,
		`printf %s "$prompt" >&2; read -r got; printf %s "$prompt" >&2; read -r got; exit 1`)})
	config.User, config.SudoPassword = "ops", secret.New("wrong")
	client := dial(t, config)
	for range 3 {
		_, err := client.Elevated().Run(t.Context(), ssh.Command{Argv: []string{"true"}})
		assert.ErrorContains(t, err, "wrong sudo password")
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
	assert.Equal(t, len(server.Execs()), 1)
}

// fakeSudo makes a folder that holds a sudo with the given behaviour and links to the few programs that tests use; it
// stands for sudos that no test machine can have.
func fakeSudo(t *testing.T, behaviour string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"sh", "cat", "true", "echo"} {
		assert.NilError(t, os.Symlink("/bin/"+name, dir+"/"+name))
	}
	if behaviour != "" {
		script := "#!/bin/sh\n# fakeSudo: stands in for sudo in a test\nprompt=$4\n" + behaviour + "\n"
		assert.NilError(t, os.WriteFile(dir+"/sudo", []byte(script), 0o755))
	}
	return dir
}

func TestAMachineWithoutSudoIsNamed(t *testing.T) {
	_, config := simulated(t, sshtest.Options{Path: fakeSudo(t, "")})
	config.User = "ops"
	_, err := dial(t, config).Elevated().Run(t.Context(), ssh.Command{Argv: []string{"true"}})
	assert.ErrorContains(t, err, `user "ops" needs sudo, which is not installed`)
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

func TestOutputOfSudoIsNotTheCommandsError(t *testing.T) {
	talk := `echo "sudo: unable to resolve host m1" >&2; echo "We trust you have received the usual lecture." >&2; shift 5; exec "$@"`
	_, config := simulated(t, sshtest.Options{Path: fakeSudo(t, talk)})
	config.User = "ops"
	result, err := dial(t, config).Elevated().Run(t.Context(), ssh.Command{Argv: []string{"sh", "-c", "echo mine >&2"}})
	assert.NilError(t, err)
	assert.Equal(t, string(result.Stderr), "mine\n")
}
