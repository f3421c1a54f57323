package ssh_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

// noisy shells, with files that make them print before each command, to both streams, among it text like an answer's.
var noisy = map[string]sshtest.Account{
	"bash with an echo in .bashrc": {Shell: "/bin/bash", Home: map[string]string{
		".bashrc": "echo 'Welcome to m1!'; echo yes 0 yes; echo '{\"id\":\"op1\"}'; echo careful >&2\n",
	}},
	"bash that shows its commands": {Shell: "/bin/bash", Home: map[string]string{".bashrc": "set -xv\n"}},
	"tcsh":                         {Shell: "/usr/bin/tcsh"},
	"tcsh with an echo in .tcshrc": {Shell: "/usr/bin/tcsh", Home: map[string]string{".tcshrc": "echo Welcome!\n"}},
	"tcsh that shows its commands": {Shell: "/usr/bin/tcsh", Home: map[string]string{
		".tcshrc": "set echo verbose\n",
	}},
	"rbash, which allows no paths":    {Shell: "/bin/rbash"},
	"a shell that says hello and bye": {Shell: "talkative"},
	"one that hides how it ended":     {Shell: "careless"},
}

// wrappers are login shells that are scripts.
var wrappers = map[string]string{
	"talkative": "#!/bin/sh\necho hello; echo hello >&2\n/bin/sh \"$@\"\ncode=$?\necho bye; echo bye >&2\nexit $code\n",
	"careless":  "#!/bin/sh\n/bin/sh \"$@\"\necho ended\n",
}

// users makes an account of each noisy shell, and root with one of them.
func users(t *testing.T, root string) (ssh.Config, map[string]sshtest.Account) {
	t.Helper()
	_, err := os.Stat("/usr/bin/tcsh")
	assert.NilError(t, err, "this test needs tcsh (Debian: apt-get install tcsh)")
	// Outside of the test's folder, which others than root cannot enter.
	folder, err := os.MkdirTemp("", "shell")
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, os.RemoveAll(folder)) })
	assert.NilError(t, os.Chmod(folder, 0o755))
	var all []sshtest.Account
	named := map[string]sshtest.Account{}
	for name, account := range noisy {
		if wrapper, found := wrappers[account.Shell]; found {
			account.Shell = filepath.Join(folder, account.Shell)
			assert.NilError(t, os.WriteFile(account.Shell, []byte(wrapper), 0o755))
		}
		if name == root {
			all = append(all, sshtest.Account{Name: "root", Shell: account.Shell, Home: account.Home})
		}
		account.Name, account.Password, account.Sudo = fmt.Sprintf("argosy-%d", len(named)), "sudo pw", "ALL=(ALL) ALL"
		named[name], all = account, append(all, account)
	}
	_, config := openSSH(t, sshtest.OpenSSHOptions{Accounts: all})
	config.SudoPassword = secret.New("sudo pw")
	return config, named
}

// odd words have a meaning for one shell or another, within quotes or without.
var odd = []string{
	"it's", "!x", "a\nb", `back\slash\`, "$HOME", "`id`", "^a^b", "é\xff", "~", "*", "[argosy begins",
	`"`, "%s", "\t", "",
}

func TestOutputOfTheLoginShellIsNotTheCommands(t *testing.T) {
	config, accounts := users(t, "")
	for name, account := range accounts {
		t.Run(name, func(t *testing.T) {
			config := config
			config.User = account.Name
			runsAndUploads(t, config)
		})
	}
	for _, root := range []string{"bash with an echo in .bashrc", "tcsh with an echo in .tcshrc"} {
		t.Run(root+", of root", func(t *testing.T) {
			config, _ := users(t, root)
			runsAndUploads(t, config)
		})
	}
}

// runsAndUploads runs a command as root with all that a shell could change, and brings a file.
func runsAndUploads(t *testing.T, config ssh.Config) {
	client := dial(t, config)
	script := `id -u; cat; printf '%s|' "$@"; echo complaint >&2; exit 3`
	result, err := client.Elevated().Run(t.Context(), ssh.Command{
		Argv:  append([]string{"/bin/sh", "-c", script, "sh"}, odd...),
		Stdin: strings.NewReader("input\n"),
	})
	var failed *ssh.ExitError
	assert.Assert(t, errors.As(err, &failed), "%v", err)
	assert.Equal(t, failed.ExitCode, 3)
	assert.Equal(t, string(result.Stdout), "0\ninput\n"+strings.Join(odd, "|")+"|")
	assert.Equal(t, string(result.Stderr), "complaint\n")
	uploads(t, client)
}

// uploads brings a file to the machine.
func uploads(t *testing.T, client *ssh.Client) {
	t.Helper()
	data, digest := content(300 << 10)
	upload := uploadOf(data, digest, filepath.Join(t.TempDir(), "file"))
	_, err := client.Upload(t.Context(), upload)
	assert.NilError(t, err)
	assertFile(t, upload.Path, data, 0o755)
}

func TestErrorsSentToTheOutputAreKeptApart(t *testing.T) {
	shell := filepath.Join(t.TempDir(), "shell")
	assert.NilError(t, os.WriteFile(shell, []byte("#!/bin/sh\n/bin/sh \"$@\" 2>&1 | cat\n"), 0o755))
	_, config := simulated(t, sshtest.Options{Shell: shell})
	client := dial(t, config)
	result, err := client.Run(t.Context(), ssh.Command{
		Argv:  []string{"/bin/sh", "-c", "cat; exit 3"},
		Stdin: strings.NewReader("input\n"),
	})
	var failed *ssh.ExitError
	assert.Assert(t, errors.As(err, &failed), "%v", err)
	assert.Equal(t, failed.ExitCode, 3)
	assert.Equal(t, string(result.Stdout), "input\n")
	uploads(t, client)
}

func TestALoginShellThatRunsNothingIsQuoted(t *testing.T) {
	for name, c := range map[string]struct {
		shell, config, words string
	}{
		"nologin": {shell: "/usr/sbin/nologin", words: "This account is currently not available."},
		"false":   {shell: "/bin/false", words: "it ended with 1 and printed nothing"},
		"the forced command of a cloud image": {
			config: "Match User argosy-user\n  ForceCommand echo 'Please login as the user \"ubuntu\" rather than " +
				"the user \"root\".';echo; exit 142\n",
			words: `it ended with 142 and printed "Please login as the user \"ubuntu\" rather than`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, config := openSSH(t, sshtest.OpenSSHOptions{Config: c.config, Accounts: []sshtest.Account{
				{Name: "argosy-user", Password: "pw", Shell: c.shell, Sudo: "ALL=(ALL) NOPASSWD: ALL"},
			}})
			config.User = "argosy-user"
			client := dial(t, config)
			for _, runner := range []ssh.Runner{client, client.Elevated()} {
				_, err := runner.Run(t.Context(), ssh.Command{Argv: []string{"true"}})
				assert.ErrorContains(t, err, c.words)
				assert.ErrorContains(t, err, "set ssh.user")
				assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			}
		})
	}
}

func TestALoginShellThatIsKilledIsTransient(t *testing.T) {
	shell := filepath.Join(t.TempDir(), "shell")
	assert.NilError(t, os.WriteFile(shell, []byte("#!/bin/sh\nkill -TERM $$\n"), 0o755))
	_, config := simulated(t, sshtest.Options{Shell: shell})
	_, err := dial(t, config).Run(t.Context(), ssh.Command{Argv: []string{"true"}})
	assert.ErrorContains(t, err, "was ended by signal TERM")
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient)
}

func TestACommandThatASignalEndsIsReportedSo(t *testing.T) {
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	_, err := dial(t, config).Run(t.Context(), ssh.Command{Argv: []string{"/bin/sh", "-c", "kill -TERM $$"}})
	var failed *ssh.ExitError
	assert.Assert(t, errors.As(err, &failed), "%v", err)
	assert.Equal(t, failed.Signal, "TERM")
	assert.Equal(t, failed.ExitCode, 128+15)
}

func TestOutputThatLooksLikeAMarkIsPassedOn(t *testing.T) {
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	texts := []string{"[", "[argosy ends", "[argosy ends A 3]", "[argosy begins X]", "", "\n\n", "[argosy ends ["}
	for _, text := range texts {
		var live bytes.Buffer
		printf := []string{"printf", "%s", text}
		result, err := dial(t, config).Run(t.Context(), ssh.Command{Argv: printf, Stdout: &live})
		assert.NilError(t, err)
		assert.Equal(t, string(result.Stdout), text)
		assert.Equal(t, live.String(), text)
	}
}
