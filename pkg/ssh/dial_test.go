package ssh_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

// withKey is how to reach a server with a user's key and the server's own key pinned.
func withKey(t testing.TB, port int, key, host sshtest.Key) ssh.Config {
	return ssh.Config{
		Name: "m1", Address: "127.0.0.1", Port: port, User: "root",
		Auth:     ssh.Auth{PrivateKey: secret.New(key.PEM(t, ""))},
		HostKeys: ssh.HostKeys{Pinned: []string{host.Line()}},
		// A computer that tests many things at once may be slow.
		ConnectTimeout: 2 * time.Minute, KeepAlive: time.Minute,
	}
}

func openSSH(t testing.TB, options sshtest.OpenSSHOptions) (*sshtest.OpenSSH, ssh.Config) {
	t.Helper()
	key := sshtest.NewKey(t)
	options.Authorized = append(options.Authorized, key)
	server := sshtest.StartOpenSSH(t, options)
	config := withKey(t, server.Port, key, server.HostKey)
	config.User = server.User
	return server, config
}

func simulated(t testing.TB, options sshtest.Options) (*sshtest.Simulated, ssh.Config) {
	t.Helper()
	key := sshtest.NewKey(t)
	options.Authorized = append(options.Authorized, key)
	server := sshtest.Start(t, options)
	return server, withKey(t, server.Port, key, server.HostKey)
}

func dial(t testing.TB, config ssh.Config) *ssh.Client {
	t.Helper()
	client, err := ssh.Dial(t.Context(), config)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, client.Close()) })
	return client
}

// works runs a command, so that a test sees more than a handshake.
func works(t testing.TB, client *ssh.Client) {
	t.Helper()
	result, err := client.Run(context.Background(), ssh.Command{Argv: []string{"echo", "it's", "$HOME"}})
	assert.NilError(t, err)
	assert.Equal(t, string(result.Stdout), "it's $HOME\n")
}

// refuses dials and returns the error, which must be of the class.
func refuses(t testing.TB, config ssh.Config, class errclass.Class) error {
	t.Helper()
	client, err := ssh.Dial(t.Context(), config)
	if err == nil {
		_ = client.Close()
	}
	assert.Assert(t, err != nil)
	assert.Equal(t, errclass.ClassOf(err), class, err.Error())
	return err
}

func TestAPinnedHostAndAKeyLogIn(t *testing.T) {
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	works(t, dial(t, config))
}

func TestAnEncryptedKeyLogsInWithItsPassphrase(t *testing.T) {
	key := sshtest.NewKey(t)
	server := sshtest.StartOpenSSH(t, sshtest.OpenSSHOptions{Authorized: []sshtest.Key{key}})
	config := withKey(t, server.Port, key, server.HostKey)
	config.User = server.User
	config.Auth.PrivateKey = secret.New(key.PEM(t, "open sesame"))

	config.Auth.Passphrase = secret.New("open sesame")
	works(t, dial(t, config))

	config.Auth.Passphrase = secret.New("wrong")
	assert.ErrorContains(t, refuses(t, config, errclass.Configuration), "the passphrase is wrong")
	config.Auth.Passphrase = secret.Value{}
	assert.ErrorContains(t, refuses(t, config, errclass.Configuration), "no passphrase was given")
}

func TestAKeyThatIsNotAuthorizedIsRefused(t *testing.T) {
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	config.Auth.PrivateKey = secret.New(sshtest.NewKey(t).PEM(t, ""))

	var refused *ssh.AuthError
	err := refuses(t, config, errclass.Configuration)
	assert.Assert(t, errors.As(err, &refused))
	assert.DeepEqual(t, refused.Tried, []string{"publickey"})
	assert.ErrorContains(t, err, fmt.Sprintf("login as %q on m1", config.User))
}

func TestAServerThatWasAskedTooOftenRefusesTheLogin(t *testing.T) {
	authority, key := sshtest.NewKey(t), sshtest.NewKey(t)
	_, config := openSSH(t, sshtest.OpenSSHOptions{Config: "MaxAuthTries 1\n"})
	config.Auth.PrivateKey = secret.New(key.PEM(t, ""))
	config.Auth.Certificate = secret.New(sshtest.CertificateLine(authority.Certify(t, key,
		sshtest.Certificate{Kind: xssh.UserCert})))
	err := refuses(t, config, errclass.Configuration)
	assert.Assert(t, errors.As(err, new(*ssh.AuthError)), err.Error())
	assert.ErrorContains(t, err, "Too many authentication failures")
}

func TestAConnectionThatEndsDuringTheLoginIsNoRefusal(t *testing.T) {
	key := sshtest.NewKey(t)
	var server *sshtest.Simulated
	ready := make(chan struct{})
	server = sshtest.Start(t, sshtest.Options{
		Authorized: []sshtest.Key{key},
		OnLogin:    func() { <-ready; server.Cut() },
	})
	close(ready)
	err := refuses(t, withKey(t, server.Port, key, server.HostKey), errclass.Transient)
	assert.Assert(t, !errors.As(err, new(*ssh.AuthError)), err.Error())

	slow := make(chan struct{})
	stuck := sshtest.Start(t, sshtest.Options{Authorized: []sshtest.Key{key}, OnLogin: func() { <-slow }})
	defer close(slow)
	config := withKey(t, stuck.Port, key, stuck.HostKey)
	config.ConnectTimeout = 200 * time.Millisecond
	err = refuses(t, config, errclass.Transient)
	assert.Assert(t, !errors.As(err, new(*ssh.AuthError)), err.Error())
	assert.ErrorContains(t, err, "no answer within 200ms")
}

func TestABadKeyIsRefusedBeforeDialling(t *testing.T) {
	nowhere := ssh.Config{Address: "127.0.0.1", Port: 1, Auth: ssh.Auth{PrivateKey: secret.New("not a key")}}
	assert.ErrorContains(t, refuses(t, nowhere, errclass.Configuration), "reading the SSH private key")
	nowhere.Auth = ssh.Auth{}
	assert.ErrorContains(t, refuses(t, nowhere, errclass.Configuration), "neither was given")
	nowhere.Auth = ssh.Auth{Certificate: secret.New("x")}
	assert.ErrorContains(t, refuses(t, nowhere, errclass.Configuration), "its private key")
}

func TestACertificateLogsIn(t *testing.T) {
	authority, key := sshtest.NewKey(t), sshtest.NewKey(t)
	server, config := openSSH(t, sshtest.OpenSSHOptions{UserCA: &authority})
	config.Auth.PrivateKey = secret.New(key.PEM(t, ""))
	refuses(t, config, errclass.Configuration)

	certify := func(c sshtest.Certificate) secret.Value {
		return secret.New(sshtest.CertificateLine(authority.Certify(t, key, c)))
	}
	config.Auth.Certificate = certify(sshtest.Certificate{Kind: xssh.UserCert, Principals: []string{server.User}})
	works(t, dial(t, config))

	config.Auth.Certificate = certify(sshtest.Certificate{Kind: xssh.UserCert, Principals: []string{"somebody-else"}})
	refuses(t, config, errclass.Configuration)
	config.Auth.Certificate = certify(sshtest.Certificate{Kind: xssh.UserCert, Until: time.Now().Add(-time.Minute)})
	assert.ErrorContains(t, refuses(t, config, errclass.Configuration), "it expired at")
	config.Auth.Certificate = certify(sshtest.Certificate{Kind: xssh.HostCert})
	assert.ErrorContains(t, refuses(t, config, errclass.Configuration), "not a user certificate")
}

func TestAPasswordLogsIn(t *testing.T) {
	for name, interactive := range map[string]bool{"password": false, "keyboard-interactive": true} {
		t.Run(name, func(t *testing.T) {
			server := sshtest.Start(t, sshtest.Options{Password: "hunter2", Interactive: interactive})
			config := withKey(t, server.Port, sshtest.NewKey(t), server.HostKey)
			config.Auth = ssh.Auth{Password: secret.New("hunter2")}
			works(t, dial(t, config))

			config.Auth = ssh.Auth{Password: secret.New("hunter3")}
			err := refuses(t, config, errclass.Configuration)
			assert.ErrorContains(t, err, "it refused "+name)
			assert.Assert(t, !strings.Contains(err.Error(), "hunter"), err.Error())
			assert.Equal(t, server.Attempts(), 1)
		})
	}
}

func TestAChangedHostKeyIsRefusedWithBothFingerprints(t *testing.T) {
	server, config := openSSH(t, sshtest.OpenSSHOptions{})
	other := sshtest.NewKey(t)
	known := fmt.Sprintf("[127.0.0.1]:%d %s\n", server.Port, other.Line())
	for source, policy := range map[string]ssh.HostKeys{
		"hostKeys":           {Pinned: []string{other.Line()}},
		"known_hosts":        {KnownHosts: []byte(known)},
		"trust on first use": {Recorded: []byte(known)},
	} {
		t.Run(source, func(t *testing.T) {
			policy.TrustOnFirstUse = true // must not help
			policy.Record = func(context.Context, string) error { t.Error("a changed key was recorded"); return nil }
			config.HostKeys = policy

			var refused *ssh.HostKeyError
			err := refuses(t, config, errclass.Configuration)
			assert.Assert(t, errors.As(err, &refused), err.Error())
			assert.Equal(t, refused.Source, source)
			assert.ErrorContains(t, err, server.HostKey.Fingerprint())
			assert.ErrorContains(t, err, other.Fingerprint())
			assert.ErrorContains(t, err, "has changed")
		})
	}
}

func TestAHostKeyOfAnotherTypeIsRefusedWithFingerprints(t *testing.T) {
	server, config := openSSH(t, sshtest.OpenSSHOptions{})
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	pinned := sshtest.KeyOf(t, private)
	config.HostKeys = ssh.HostKeys{Pinned: []string{pinned.Line()}}

	refused := refuses(t, config, errclass.Configuration)
	assert.ErrorContains(t, refused, server.HostKey.Fingerprint())
	assert.ErrorContains(t, refused, pinned.Fingerprint())
}

func TestAServerWithSeveralKeysOffersThePinnedOne(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	second := sshtest.KeyOf(t, private)
	dir := t.TempDir()
	writeFile(t, dir+"/second", second.PEM(t, ""))
	server, config := openSSH(t, sshtest.OpenSSHOptions{Config: "HostKey " + dir + "/second\n"})

	for _, host := range []sshtest.Key{server.HostKey, second} {
		config.HostKeys = ssh.HostKeys{Pinned: []string{host.Line()}}
		works(t, dial(t, config))
		config.HostKeys = ssh.HostKeys{KnownHosts: fmt.Appendf(nil, "[127.0.0.1]:%d %s\n", server.Port, host.Line())}
		works(t, dial(t, config))
	}
}

func TestAnUnknownHostKeyIsRefusedWithTheNextStep(t *testing.T) {
	server, config := openSSH(t, sshtest.OpenSSHOptions{})
	config.HostKeys = ssh.HostKeys{}
	err := refuses(t, config, errclass.Configuration)
	assert.ErrorContains(t, err, "ssh-ed25519 "+server.HostKey.Fingerprint())
	assert.ErrorContains(t, err, "hostKeys")
}

func TestTrustOnFirstUseRecordsAndThenRequiresTheKey(t *testing.T) {
	server, config := openSSH(t, sshtest.OpenSSHOptions{})
	var recorded []string
	config.HostKeys = ssh.HostKeys{TrustOnFirstUse: true, Record: func(_ context.Context, line string) error {
		recorded = append(recorded, line)
		return nil
	}}
	works(t, dial(t, config))
	assert.DeepEqual(t, recorded, []string{fmt.Sprintf("[127.0.0.1]:%d %s", server.Port, server.HostKey.Line())})

	config.HostKeys.Recorded = []byte(recorded[0])
	works(t, dial(t, config))
	assert.Equal(t, len(recorded), 1)

	config.HostKeys.Recorded = nil
	config.HostKeys.Record = func(context.Context, string) error {
		return errclass.With(errclass.Transient,
			errors.New("no room"))
	}
	assert.ErrorContains(t, refuses(t, config, errclass.Transient), "no room")
	config.HostKeys.Record = nil
	refuses(t, config, errclass.Configuration)
}

func TestAHostCertificateNeedsTheRightAuthorityNameAndTime(t *testing.T) {
	authority, host := sshtest.NewKey(t), sshtest.NewKey(t)
	here := []string{"127.0.0.1"}
	cases := map[string]struct {
		certificate sshtest.Certificate
		refusal     string
	}{
		"good":         {sshtest.Certificate{Kind: xssh.HostCert, Principals: here}, ""},
		"another host": {sshtest.Certificate{Kind: xssh.HostCert, Principals: []string{"m2"}}, "valid principals"},
		"every host":   {sshtest.Certificate{Kind: xssh.HostCert}, "names no host"},
		"expired": {sshtest.Certificate{
			Kind: xssh.HostCert, Principals: here,
			Until: time.Now().Add(-time.Second),
		}, "expired"},
		"not yet": {sshtest.Certificate{
			Kind: xssh.HostCert, Principals: here,
			From: time.Now().Add(time.Minute),
		}, "valid only from"},
		"not for a host": {sshtest.Certificate{Kind: xssh.UserCert, Principals: here}, "type 1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			certificate := authority.Certify(t, host, c.certificate)
			server, config := simulated(t, sshtest.Options{HostKey: host, HostCertificate: certificate})
			known := fmt.Sprintf("@cert-authority [127.0.0.1]:%d %s\n", server.Port, authority.Line())
			for _, policy := range []ssh.HostKeys{{CAs: []string{authority.Line()}}, {KnownHosts: []byte(known)}} {
				config.HostKeys = policy
				if c.refusal == "" {
					works(t, dial(t, config))
				} else {
					assert.ErrorContains(t, refuses(t, config, errclass.Configuration), c.refusal)
				}
			}
			config.HostKeys = ssh.HostKeys{CAs: []string{sshtest.NewKey(t).Line()}}
			assert.ErrorContains(t, refuses(t, config, errclass.Configuration), "is unknown")
			config.HostKeys = ssh.HostKeys{
				CAs:        []string{authority.Line()},
				KnownHosts: []byte("@revoked * " + host.Line()),
			}
			assert.ErrorContains(t, refuses(t, config, errclass.Configuration), "revokes")
		})
	}
}

func TestARealServersHostCertificateCounts(t *testing.T) {
	authority, host := sshtest.NewKey(t), sshtest.NewKey(t)
	certificate := authority.Certify(t, host, sshtest.Certificate{
		Kind:       xssh.HostCert,
		Principals: []string{"127.0.0.1"},
	})
	_, config := openSSH(t, sshtest.OpenSSHOptions{HostKey: host, HostCertificate: certificate})
	config.HostKeys = ssh.HostKeys{CAs: []string{authority.Line()}}
	works(t, dial(t, config))
	config.HostKeys = ssh.HostKeys{Pinned: []string{host.Line()}}
	works(t, dial(t, config))
}

func TestARevokedKeyIsRefusedEvenWhenPinned(t *testing.T) {
	server, config := openSSH(t, sshtest.OpenSSHOptions{})
	config.HostKeys.KnownHosts = []byte("# comment\n\n@revoked * " + server.HostKey.Line() + "\n")
	assert.ErrorContains(t, refuses(t, config, errclass.Configuration), "revokes it")
}

func TestEachBastionOfAChainHasItsOwnKeys(t *testing.T) {
	_, first := openSSH(t, sshtest.OpenSSHOptions{})
	_, second := openSSH(t, sshtest.OpenSSHOptions{})
	_, machine := openSSH(t, sshtest.OpenSSHOptions{})
	first.Name, second.Name = "b1", "b2"

	machine.Bastions = []ssh.Config{first, second}
	works(t, dial(t, machine))

	stranger := second
	stranger.HostKeys = first.HostKeys
	machine.Bastions = []ssh.Config{first, stranger}
	err := refuses(t, machine, errclass.Configuration)
	assert.ErrorContains(t, err, "host key of b2")
	assert.ErrorContains(t, err, "reaching m1")
}

func TestABastionThatForbidsForwardingIsNamed(t *testing.T) {
	_, bastion := openSSH(t, sshtest.OpenSSHOptions{Config: "AllowTcpForwarding no\n"})
	_, machine := openSSH(t, sshtest.OpenSSHOptions{})
	machine.Bastions = []ssh.Config{bastion}
	assert.ErrorContains(t, refuses(t, machine, errclass.Configuration), "AllowTcpForwarding")
}

func TestNetworkErrorsAreTransient(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	closed.Close()
	_, bastion := openSSH(t, sshtest.OpenSSHOptions{})

	config := withKey(t, closed.Addr().(*net.TCPAddr).Port, sshtest.NewKey(t), sshtest.NewKey(t))
	assert.ErrorContains(t, refuses(t, config, errclass.Transient), "connection refused")
	config.Bastions = []ssh.Config{bastion}
	refuses(t, config, errclass.Transient)

	config = withKey(t, silent.Addr().(*net.TCPAddr).Port, sshtest.NewKey(t), sshtest.NewKey(t))
	config.ConnectTimeout = 50 * time.Millisecond
	assert.ErrorContains(t, refuses(t, config, errclass.Transient), "no answer within 50ms")

	config.ConnectTimeout = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = ssh.Dial(ctx, config)
	assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled, err)
}

func TestMachinesAreDialledSideBySide(t *testing.T) {
	// Each network is silent until both machines were dialled: one after the other, the first would never answer.
	pool := ssh.NewPool()
	defer pool.Close()
	var networks []*sshtest.Network
	var group sync.WaitGroup
	for range 2 {
		server, config := simulated(t, sshtest.Options{})
		network := sshtest.NewNetwork(t, fmt.Sprintf("127.0.0.1:%d", server.Port))
		network.Silence(true)
		networks = append(networks, network)
		config.Port = network.Port
		group.Go(func() {
			_, err := pool.Get(t.Context(), config)
			assert.Check(t, err)
		})
	}
	for _, network := range networks {
		network.Dialled(t)
	}
	for _, network := range networks {
		network.Silence(false)
	}
	group.Wait()
}
