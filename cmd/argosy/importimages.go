package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/factory"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/operation"
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

  argosy images import --namespace team-a --machines m1,m2 oci://registry.example.com/app:v1`,
		RunE: func(command *cobra.Command, args []string) error {
			request.items = images.Split(strings.Join(args, " "))
			conductor, done, err := opened(command.Context(), &where, factory.OpenImages)
			if err != nil {
				return err
			}
			defer done()
			return request.carryOut(command.Context(), conductor, command.OutOrStdout())
		},
	}
	where.flags(command)
	machineFlag(command, &request.machines)
	command.Flags().IntVar(&request.concurrency, "concurrency", 0,
		"machines worked on at once (default: limits.concurrency of argosy.yaml)")
	command.Flags().BoolVar(&request.dryRun, "dry-run", false, "stop after the plan")
	return command
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
	name := func(e images.Entry) string { return e.Machine }
	work := job{
		cluster: conductor.Cluster, concurrency: r.concurrency, asked: len(entries),
		refused: names(images.With(images.ActionRefuse, entries), name), out: out,
	}
	return each(ctx, work, names(images.With(images.ActionImport, entries), name),
		func(ctx context.Context, m config.Machine, window *operation.Limiter, report func(string)) (images.Outcome,
			error) {
			return conductor.Import(ctx, m, r.items, window, report)
		})
}
