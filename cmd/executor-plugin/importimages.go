package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/pkg/conduct"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/fleet"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/ssh"
)

// importRequest is what an import by hand was asked for.
type importRequest struct {
	machines    string
	items       []string
	concurrency int
	dryRun      bool
}

func imagesImportCommand() *cobra.Command {
	var where place
	var request importRequest
	command := &cobra.Command{
		Use:   "import [IMAGE...]",
		Short: "Import images into the cluster's machines; what they have already is not sent",
		Long: `Imports images into the container runtimes of machines that are nodes of the cluster. An IMAGE is

  /srv/images, /srv/images/app.tar.gz            a folder or an archive on the machines
  https://files.example.com/app.tar#sha256=…     an archive that is downloaded here and streamed to the machines
  oci://registry.example.com/app:v1              an image that is pulled here and streamed to the machines

Without any, those are imported that privateNodes.joinNode.containerd.importImages of vcluster.yaml names. An archive that
is damaged is named at the end; the others are imported. Ctrl-C stops each machine at its next safe point.

  executor-plugin images import --namespace team-a --machines m1,m2 oci://registry.example.com/app:v1`,
		RunE: func(command *cobra.Command, args []string) error {
			request.items = images.Split(strings.Join(args, " "))
			conductor, done, err := where.importer(command.Context())
			if err != nil {
				return err
			}
			defer done()
			return request.carryOut(command.Context(), conductor, command.OutOrStdout())
		},
	}
	where.flags(command)
	machineFlag(command, &request.machines)
	command.Flags().IntVar(&request.concurrency, "concurrency", 0, "machines worked on at once (default: limits.concurrency of argosy.yaml)")
	command.Flags().BoolVar(&request.dryRun, "dry-run", false, "stop after the plan")
	return command
}

// importer opens the cluster's machines; done closes the connections.
func (p *place) importer(ctx context.Context) (conductor *images.Conductor, done func(), err error) {
	source, keys, err := p.open()
	if err != nil {
		return nil, nil, err
	}
	pool := ssh.NewPool()
	conductor, err = fleet.OpenImages(ctx, source, keys, fleet.Tools{Agent: &agents{}, Pool: pool}, p.cluster)
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return conductor, func() { pool.Close() }, nil
}

// carryOut shows the plan and imports what machines lack.
func (r importRequest) carryOut(ctx context.Context, conductor *images.Conductor, out io.Writer) error {
	machines, err := conductor.Cluster.Select(r.machines)
	if err != nil {
		return err
	}
	entries, err := conductor.Plan(ctx, machines, r.items, func(string) {})
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, images.Table(entries)); err != nil {
		return fmt.Errorf("showing the plan: %w", err)
	}
	if r.dryRun {
		if refused := images.With(images.ActionRefuse, entries); len(refused) > 0 {
			return fmt.Errorf("nothing can be imported into %d of %d machines as they are", len(refused), len(entries))
		}
		return nil
	}
	return r.importAll(ctx, conductor, entries, out)
}

// importAll imports what the plan has work for and returns an error that names the machines that failed.
func (r importRequest) importAll(ctx context.Context, conductor *images.Conductor, entries []images.Entry, out io.Writer) error {
	limit := r.concurrency
	if limit <= 0 {
		limit = conductor.Cluster.Fleet.Limits.Concurrency
	}
	var mu sync.Mutex
	var failed []string
	for _, entry := range images.With(images.ActionRefuse, entries) {
		failed = append(failed, entry.Machine)
	}
	terminal, window := newTerminal(out), conduct.NewWindow(limit)
	importOne := func(machine config.Machine) {
		outcome, err := conductor.Import(ctx, machine, r.items, window, func(text string) { terminal.progress(machine.Name, text) })
		if err == nil {
			terminal.line(machine.Name, outcome.String())
			return
		}
		terminal.line(machine.Name, err.Error())
		mu.Lock()
		defer mu.Unlock()
		failed = append(failed, machine.Name)
	}
	var group errgroup.Group
	for _, entry := range images.With(images.ActionImport, entries) {
		machine, _ := conductor.Cluster.Machine(entry.Machine)
		group.Go(func() error {
			importOne(machine)
			return nil
		})
	}
	_ = group.Wait()
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d machines failed: %s", len(failed), len(entries), strings.Join(failed, ", "))
	}
	return nil
}
