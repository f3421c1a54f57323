// Command site installs Argosy on the running lab, as the demo needs it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	l, err := lab.Open()
	if err != nil {
		return err
	}
	s, err := site.New(l)
	if err != nil {
		return err
	}
	return s.Deploy(ctx)
}
