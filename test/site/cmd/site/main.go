// Command site installs Argosy on the running lab, as the demo needs it. With the name of a cluster, and of machines of
// the lab, it also makes a namespace of that name with the documents of a cluster to provision:
//
//	go run ./test/site/cmd/site team-b m1 m2 m3
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
	if err := s.Deploy(ctx); err != nil || len(os.Args) < 2 {
		return err
	}
	return s.HostedCluster(os.Args[1], os.Args[2:]...).Install(ctx)
}
