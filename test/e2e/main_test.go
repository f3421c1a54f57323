// Package e2e_test tests Argosy on the lab: real argo submit, real agent pods, real sshd, kubeadm and kubelet. Run it
// with `make e2e`, as root. The tests share one lab and run one after another; kit_test.go has the functions that they
// use.
package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// env is the lab with Argosy installed. All tests work on it; TestMain makes it before they run.
var env *site.Site

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run()) // a list needs no lab
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	if err := setUp(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "setting up the lab:", err)
		os.Exit(1)
	}
	stop() // from now on a signal ends the tests at once
	finish := func() {}
	if flag.Lookup("test.run").Value.String() == "" {
		finish = buildMeanwhile()
	}
	code := m.Run()
	finish()
	os.Exit(finishProof(code))
}

// buildMeanwhile compiles everything that later tests need, above all the older version of Kubernetes: the tests wait
// more than they work. It runs in a session of its own with the lowest priority. The returned function ends it.
func buildMeanwhile() (finish func()) {
	build := exec.Command(filepath.Join(env.Source, "bin", "lab"), "build")
	build.Dir, build.Stderr = env.Source, os.Stderr
	build.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := build.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "compiling beside the tests:", err)
		return func() {}
	}
	// Without session groups in the kernel, both share the processors.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", build.Process.Pid), []byte("19"), 0)
	return func() {
		_ = syscall.Kill(-build.Process.Pid, syscall.SIGKILL)
		_ = build.Wait()
	}
}

func setUp(ctx context.Context) error {
	l, err := lab.Open()
	if err != nil {
		return err
	}
	if err := l.Claim("the end-to-end tests"); err != nil {
		return err
	}
	if env, err = site.New(l); err != nil {
		return err
	}
	return bringUp(ctx)
}
