package sshtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshd is where distributions install it; it insists on being started by its full path.
const sshd = "/usr/sbin/sshd"

// OpenSSHOptions of a real sshd.
type OpenSSHOptions struct {
	// HostKey is made when it is the zero Key; HostCertificate is shown as well when not nil.
	HostKey         Key
	HostCertificate *ssh.Certificate
	// Authorized may log in as the test's own user, and as each of Accounts.
	Authorized []Key
	// UserCA signs user certificates.
	UserCA *Key
	// Accounts exist only for this server: it gets its own /etc in a private mount namespace, for which the test must
	// be root.
	Accounts []Account
	// Config is added to sshd_config.
	Config string
}

// Account is a user of a real sshd. One called root replaces root's shell and home.
type Account struct {
	Name     string
	Password string
	// Shell is the login shell; default /bin/sh.
	Shell string
	// Home holds the files of its home folder by their names, e.g. ".bashrc".
	Home map[string]string
	// Sudo is the account's line in sudoers after its name, e.g. "ALL=(ALL) NOPASSWD: ALL"; empty: it may not use sudo.
	Sudo string
}

// OpenSSH is a real sshd on 127.0.0.1.
type OpenSSH struct {
	Address string
	Port    int
	HostKey Key
	// User is the test's own user, who may log in.
	User string

	dir string
}

// StartOpenSSH starts a real sshd, which ends with the test. It fails the test where there is none: a test that is
// skipped proves nothing.
func StartOpenSSH(t testing.TB, options OpenSSHOptions) *OpenSSH {
	t.Helper()
	if _, err := os.Stat(sshd); err != nil {
		t.Fatalf("this test needs OpenSSH's server (Debian: apt-get install openssh-server): %v", err)
	}
	if options.HostKey.Signer == nil {
		options.HostKey = NewKey(t)
	}
	s := &OpenSSH{Address: "127.0.0.1", Port: freePort(t), HostKey: options.HostKey, User: self(t), dir: t.TempDir()}
	s.write(t, "host_key", 0o600, options.HostKey.PEM(t, ""))
	s.write(t, "authorized_keys", 0o644, authorized(options.Authorized))
	s.write(t, "sshd_config", 0o644, s.config(t, options))
	s.run(t, options.Accounts)
	return s
}

func self(t testing.TB) string {
	t.Helper()
	name, err := exec.Command("id", "-un").Output()
	if err != nil {
		t.Fatalf("asking who we are: %v", err)
	}
	return strings.TrimSpace(string(name))
}

func authorized(keys []Key) string {
	var lines strings.Builder
	for _, key := range keys {
		fmt.Fprintln(&lines, key.Line())
	}
	return lines.String()
}

func (s *OpenSSH) write(t testing.TB, name string, mode os.FileMode, content string) string {
	t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatalf("writing %q: %v", file, err)
	}
	return file
}

func (s *OpenSSH) config(t testing.TB, options OpenSSHOptions) string {
	var c strings.Builder
	fmt.Fprintf(&c, "ListenAddress %s\nPort %d\nHostKey %s/host_key\nPidFile none\n", s.Address, s.Port, s.dir)
	fmt.Fprintf(&c, "AuthorizedKeysFile %s/authorized_keys\nStrictModes no\nPermitRootLogin yes\n", s.dir)
	fmt.Fprintf(&c, "PasswordAuthentication yes\nKbdInteractiveAuthentication no\nMaxStartups 100\nSubsystem sftp "+
		"internal-sftp\nLogLevel VERBOSE\n")
	if len(options.Accounts) > 0 {
		fmt.Fprintln(&c, "UsePAM yes")
	}
	if options.HostCertificate != nil {
		fmt.Fprintln(&c, "HostCertificate", s.write(t, "host_key-cert.pub", 0o644, line(options.HostCertificate)+"\n"))
	}
	if options.UserCA != nil {
		fmt.Fprintln(&c, "TrustedUserCAKeys", s.write(t, "user_ca.pub", 0o644, options.UserCA.Line()+"\n"))
	}
	c.WriteString(options.Config)
	return c.String()
}

// privateEtc gives the server an /etc, logs and sudo records of its own, which vanish with it, makes the accounts
// there, and becomes sshd. Arguments: folder, then name, password, sudoers line, shell and home of each account, then
// "--" and sshd's argv.
const privateEtc = `set -e
dir=$1; shift
mkdir -p "$dir/etc" && cp -a /etc/. "$dir/etc/"
mount --bind "$dir/etc" /etc
mount -t tmpfs tmpfs /var/log
if [ -d /var/lib/sudo ]; then mount -t tmpfs tmpfs /var/lib/sudo; fi
while [ "$1" != -- ]; do
  if [ "$1" = root ]; then
    sed -i "s|^root:.*|root:x:0:0:root:$5:$4|" /etc/passwd
  else
    useradd --no-log-init --home-dir "$5" --no-create-home --shell "$4" -- "$1"
    chown -R "$1" "$5"
    printf '%s:%s\n' "$1" "$2" | chpasswd
  fi
  if [ -n "$3" ]; then printf '%s %s\n' "$1" "$3" >"/etc/sudoers.d/$1"; chmod 0440 "/etc/sudoers.d/$1"; fi
  shift 5
done
shift
exec "$@"`

func (s *OpenSSH) run(t testing.TB, accounts []Account) {
	t.Helper()
	if os.Geteuid() == 0 {
		// sshd's privilege separation needs it; systemd makes it where systemd starts sshd.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatalf("making sshd's folder: %v", err)
		}
	}
	argv := []string{sshd, "-D", "-e", "-f", filepath.Join(s.dir, "sshd_config")}
	if len(accounts) > 0 {
		argv = s.withAccounts(t, accounts, argv)
	}
	server := exec.Command(argv[0], argv[1:]...)
	log, err := os.Create(s.log())
	if err != nil {
		t.Fatalf("making sshd's log: %v", err)
	}
	defer func() { _ = log.Close() }()
	server.Stdout, server.Stderr = log, log
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := server.Start(); err != nil {
		t.Fatalf("starting sshd: %v", err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
		if t.Failed() {
			t.Logf("sshd said:\n%s", s.said())
		}
	})
	s.wait(t)
}

func (s *OpenSSH) log() string { return filepath.Join(s.dir, "log") }

func (s *OpenSSH) said() []byte {
	text, _ := os.ReadFile(s.log())
	return text
}

func (s *OpenSSH) withAccounts(t testing.TB, accounts []Account, argv []string) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test must run as root: it gives sshd accounts in a private mount namespace")
	}
	// The accounts must be able to reach their home below the test's folder.
	for dir := s.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatalf("opening %q: %v", dir, err)
		}
	}
	inside := []string{"unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", privateEtc, "sh", s.dir}
	for _, account := range accounts {
		if account.Shell == "" {
			account.Shell = "/bin/sh"
		}
		inside = append(inside, account.Name, account.Password, account.Sudo, account.Shell, s.home(t, account))
	}
	return append(append(inside, "--"), argv...)
}

// home makes an account's home folder.
func (s *OpenSSH) home(t testing.TB, account Account) string {
	t.Helper()
	folder := filepath.Join("home", account.Name)
	if err := os.MkdirAll(filepath.Join(s.dir, folder), 0o755); err != nil {
		t.Fatalf("making a home folder: %v", err)
	}
	for name, content := range account.Home {
		s.write(t, filepath.Join(folder, name), 0o644, content)
	}
	return filepath.Join(s.dir, folder)
}

// wait returns once sshd answers.
func (s *OpenSSH) wait(t testing.TB) {
	t.Helper()
	address := net.JoinHostPort(s.Address, strconv.Itoa(s.Port))
	for range 500 {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("sshd does not answer at %s; it said:\n%s", address, s.said())
}

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("looking for a free port: %v", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}
