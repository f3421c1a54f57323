// Command site installs Argosy on the running lab with cluster team-a. With the name of a cluster, and of machines of
// the lab, it installs Argosy in a namespace of that name instead, with the documents of a cluster to provision:
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
	if len(os.Args) < 2 {
		return s.Deploy(ctx)
	}
	if err := s.DeployPlugin(ctx); err != nil {
		return err
	}
	return s.HostedCluster(os.Args[1], os.Args[2:]...).Install(ctx)
}
