package lab

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	postgresAddress = uplinkAddress + ":5432"
	// postgresAccount is the Debian package's: the server refuses to run as root.
	postgresAccount = "postgres"
	// postgresRole is who may log in over the network, and the name of its database.
	postgresRole = "kine"
)

// Postgres starts a PostgreSQL server on this computer, or finds it running,
// and returns how to connect to it from the host cluster's pods and from
// machines: "postgres://kine:…@10.117.0.1:5432/kine?sslmode=disable". The role
// may make further databases. The server also speaks TLS, with the certificate
// at PostgresCertificate. Down stops it and removes its data.
func (l *Lab) Postgres(ctx context.Context) (dsn string, err error) {
	if !networkStands(ctx) {
		return "", errors.New("starting PostgreSQL: the lab is not up: run `lab up` first")
	}
	unlock, err := l.lock(string(postgresDaemon))
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := l.ensurePostgresPackage(ctx); err != nil {
		return "", err
	}
	secret := filepath.Join(l.secretsDir(), "postgres-password")
	if err := ensureSecret(secret); err != nil {
		return "", err
	}
	password, err := os.ReadFile(secret)
	if err != nil {
		return "", fmt.Errorf("reading PostgreSQL's password: %w", err)
	}
	if err := l.ensurePostgresData(ctx); err != nil {
		return "", err
	}
	if err := l.ensureDaemon(ctx, postgresDaemon, postgresAddress); err != nil {
		return "", err
	}
	if err := l.waitForPostgres(ctx); err != nil {
		return "", err
	}
	if err := l.ensurePostgresRole(ctx, string(password)); err != nil {
		return "", err
	}
	target := url.URL{
		Scheme: "postgres", User: url.UserPassword(postgresRole, string(password)), Host: postgresAddress,
		Path: postgresRole, RawQuery: "sslmode=disable",
	}
	return target.String(), nil
}

// PostgresCertificate is the certificate of the PostgreSQL server, self-signed for its address.
func (l *Lab) PostgresCertificate() string { return filepath.Join(l.postgresDir(), "server.crt") }

func (l *Lab) postgresDir() string  { return filepath.Join(l.state, "postgres") }
func (l *Lab) postgresData() string { return filepath.Join(l.postgresDir(), "data") }
func (l *Lab) postgresKey() string  { return filepath.Join(l.postgresDir(), "server.key") }

// postgresProgram finds a program of Debian's newest PostgreSQL.
func postgresProgram(name string) (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("finding %s: Debian's package postgresql is not installed", name)
	}
	slices.Sort(found)
	return found[len(found)-1], nil
}

// ensurePostgresPackage installs PostgreSQL. The package would make and start a
// server of its own, which it is told not to for as long as it installs.
func (l *Lab) ensurePostgresPackage(ctx context.Context) error {
	if _, err := postgresProgram("postgres"); err == nil {
		return nil
	}
	const settings = "/etc/postgresql-common/createcluster.d/argosy-lab.conf"
	if err := os.MkdirAll(filepath.Dir(settings), 0o755); err != nil {
		return fmt.Errorf("making the folder of %q: %w", settings, err)
	}
	if err := os.WriteFile(settings, []byte("create_main_cluster = false\n"), 0o644); err != nil {
		return fmt.Errorf("writing %q: %w", settings, err)
	}
	defer os.Remove(settings)
	return l.ensurePackages(ctx, "postgresql")
}

// asPostgres is a command of PostgreSQL's that runs as its own user.
func asPostgres(ctx context.Context, argv ...string) (*exec.Cmd, error) {
	id, err := postgresIdentity()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: id}
	return cmd, nil
}

func postgresIdentity() (*syscall.Credential, error) {
	account, err := user.Lookup(postgresAccount)
	if err != nil {
		return nil, fmt.Errorf("looking for user %q: %w", postgresAccount, err)
	}
	uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("reading the numbers of user %q: %w", postgresAccount, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// ensurePostgresData makes the server's data folder and its certificate.
func (l *Lab) ensurePostgresData(ctx context.Context) error {
	if exists(l.postgresData()) {
		return nil
	}
	id, err := postgresIdentity()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.postgresDir(), 0o755); err != nil {
		return fmt.Errorf("making folder %q: %w", l.postgresDir(), err)
	}
	_, err = run(ctx, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-days", "3650",
		"-subj", "/CN="+uplinkAddress, "-addext", "subjectAltName=IP:"+uplinkAddress, "-keyout", l.postgresKey(),
		"-out", l.PostgresCertificate())
	if err != nil {
		return fmt.Errorf("making PostgreSQL's certificate: %w", err)
	}
	for _, path := range []string{l.postgresDir(), l.postgresKey()} {
		if err := os.Chown(path, int(id.Uid), int(id.Gid)); err != nil {
			return fmt.Errorf("giving %q to user %q: %w", path, postgresAccount, err)
		}
	}
	return l.initPostgres(ctx)
}

// initPostgres makes the data folder beside its place and then moves it there.
func (l *Lab) initPostgres(ctx context.Context) error {
	initdb, err := postgresProgram("initdb")
	if err != nil {
		return err
	}
	partial := l.postgresData() + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("removing %q: %w", partial, err)
	}
	cmd, err := asPostgres(ctx, initdb, "--pgdata="+partial, "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
		"--auth-local=peer",
		"--auth-host=scram-sha-256")
	if err != nil {
		return err
	}
	if _, err := runCmd(cmd, nil); err != nil {
		return fmt.Errorf("making PostgreSQL's data: %w", err)
	}
	access := "local all " + postgresAccount + " peer\nhost all " + postgresRole + " " + front().Prefix.String() +
		" scram-sha-256\nhost all " +
		postgresRole + " " + back().Prefix.String() + " scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(partial, "pg_hba.conf"), []byte(access), 0o600); err != nil {
		return fmt.Errorf("saying who may use PostgreSQL: %w", err)
	}
	if err := os.Rename(partial, l.postgresData()); err != nil {
		return fmt.Errorf("naming PostgreSQL's data: %w", err)
	}
	return nil
}

// waitForPostgres waits out the recovery after which the server lets anybody in.
func (l *Lab) waitForPostgres(ctx context.Context) error {
	program, err := postgresProgram("pg_isready")
	if err != nil {
		return err
	}
	return l.await(ctx, "PostgreSQL", func(ctx context.Context) error {
		_, err := run(ctx, program, "--quiet", "--host="+l.postgresDir())
		return err
	}, nil)
}

// ensurePostgresRole makes the role and its database, as administrator over the
// server's socket.
func (l *Lab) ensurePostgresRole(ctx context.Context, password string) error {
	const statements = `
SELECT format('CREATE ROLE %I LOGIN CREATEDB', :'role')
	WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'role', :'role')
	WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'role') \gexec
`
	psql, err := postgresProgram("psql")
	if err != nil {
		return err
	}
	cmd, err := asPostgres(ctx, psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--set=role="+postgresRole,
		"--host="+l.postgresDir(), "--dbname=postgres", "--file=-")
	if err != nil {
		return err
	}
	// The password goes over standard input, where no process list shows it.
	if _, err := runCmd(cmd, strings.NewReader("\\set password '"+password+"'\n"+statements)); err != nil {
		return fmt.Errorf("making PostgreSQL's role %q: %w", postgresRole, redact(err, password))
	}
	return nil
}

// servePostgres is the process around the server: it ends with it, and ends it.
func (l *Lab) servePostgres(ctx context.Context) error {
	program, err := postgresProgram("postgres")
	if err != nil {
		return err
	}
	argv := append([]string{program, "-D", l.postgresData()}, l.postgresSettings()...)
	cmd, err := asPostgres(ctx, argv...)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // ends sessions, then itself
	// The signal at death is bound to the thread that started the server.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("running PostgreSQL: %w", err)
	}
	return nil
}

// postgresSettings bound the resources that the server takes.
func (l *Lab) postgresSettings() []string {
	host, port, _ := strings.Cut(postgresAddress, ":")
	var argv []string
	for _, setting := range []string{
		"listen_addresses=" + host, "port=" + port, "unix_socket_directories=" + l.postgresDir(),
		"ssl=on", "ssl_cert_file=" + l.PostgresCertificate(), "ssl_key_file=" + l.postgresKey(),
		"shared_buffers=64MB", "max_connections=200", "max_wal_size=256MB",
		// A lab's data need not survive the loss of power.
		"fsync=off", "full_page_writes=off",
	} {
		argv = append(argv, "-c", setting)
	}
	return argv
}
