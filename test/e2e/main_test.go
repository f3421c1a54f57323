// Package e2e_test shows on the lab what README claims: real argo submit, real agent pod, real sshd, real kubeadm and
// kubelet. Run it with `make e2e`, as root. The tests share one lab and run one after another.
package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// the is the site that all tests work on; TestMain makes it before any of them runs.
var the *site.Site

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
	os.Exit(settle(m.Run()))
}

func setUp(ctx context.Context) error {
	l, err := lab.Open()
	if err != nil {
		return err
	}
	if err := l.Claim(); err != nil {
		return err
	}
	if err := l.Up(ctx); err != nil {
		return err
	}
	if the, err = site.New(l); err != nil {
		return err
	}
	return the.Deploy(ctx)
}
