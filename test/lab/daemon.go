package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// daemon is a background process of the lab beside the machines' supervisors,
// called by the name that its process file and its log have.
type daemon string

const (
	repositoryDaemon daemon = "repository"
	registryDaemon   daemon = "registry"
	balancerDaemon   daemon = "balancer"
	postgresDaemon   daemon = "postgres"
	resolverDaemon   daemon = "resolver"
)

func daemons() []daemon {
	return []daemon{repositoryDaemon, registryDaemon, balancerDaemon, postgresDaemon, resolverDaemon}
}

func (l *Lab) pidFile(d daemon) string { return filepath.Join(l.state, string(d)+".pid") }
func (l *Lab) logFile(d daemon) string { return filepath.Join(l.state, string(d)+".log") }

func (l *Lab) daemonRuns(d daemon) bool {
	_, ok := readProcess(l.pidFile(d))
	return ok
}

// ensureDaemon starts the process unless it runs, and waits until address takes
// connections; an address of "" is not waited for.
func (l *Lab) ensureDaemon(ctx context.Context, d daemon, address string) error {
	if l.daemonRuns(d) {
		return nil
	}
	if _, err := l.detach(ctx, l.pidFile(d), l.logFile(d), "serve", string(d)); err != nil {
		return fmt.Errorf("starting the lab's %s: %w", d, err)
	}
	if address == "" {
		return nil
	}
	if err := l.waitForDaemon(ctx, d, address); err != nil {
		log, _ := os.ReadFile(l.logFile(d))
		return fmt.Errorf("starting the lab's %s: %w\n%s", d, err, lastLines(string(log), 10))
	}
	return nil
}

func (l *Lab) waitForDaemon(ctx context.Context, d daemon, address string) error {
	var dialer net.Dialer
	return l.await(ctx, address, func(ctx context.Context) error {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}, func() error {
		if !l.daemonRuns(d) {
			return errors.New("it ended at once")
		}
		return nil
	})
}

// stopDaemons stops all of them that run.
func (l *Lab) stopDaemons() error {
	var problems []error
	for _, d := range daemons() {
		problems = append(problems, l.stopDaemon(d))
	}
	return errors.Join(problems...)
}

func (l *Lab) stopDaemon(d daemon) error {
	p, ok := readProcess(l.pidFile(d))
	if !ok {
		return nil
	}
	if err := p.stop(10 * time.Second); err != nil {
		return fmt.Errorf("stopping the lab's %s: %w", d, err)
	}
	return nil
}

// Serve is the body of the background process of that name; it runs until
// SIGTERM.
func Serve(stateDir, name string) error {
	l := openState(stateDir, os.Stderr)
	bodies := map[daemon]func(context.Context) error{
		repositoryDaemon: l.serveRepository,
		registryDaemon:   l.serveRegistry,
		balancerDaemon:   l.serveBalancer,
		postgresDaemon:   l.servePostgres,
		resolverDaemon:   l.serveResolver,
	}
	body, ok := bodies[daemon(name)]
	if !ok {
		return fmt.Errorf("starting background process %q: the lab has %v", name, daemons())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	self, err := thisProcess()
	if err != nil {
		return err
	}
	if err := self.write(l.pidFile(daemon(name))); err != nil {
		return err
	}
	return body(ctx)
}
