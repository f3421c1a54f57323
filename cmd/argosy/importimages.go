package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/internal/factory"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/operation"
)

// importRequest has the flags and arguments of "images import".
type importRequest struct {
	machines    string
	items       []string
	concurrency int
	dryRun      bool
}

func imagesImportCommand() *cobra.Command {
	var location clusterFlags
	var request importRequest
	command := &cobra.Command{
		Use:   "import [IMAGE...]",
		Short: "Import images into the container runtimes of machines",
		Long: `Imports images into machines that are nodes of the cluster. Images that a machine has are not sent. An
IMAGE is

  /srv/images, /srv/images/app.tar.gz            a folder or an archive on the machines
  https://files.example.com/app.tar#sha256=…     an archive that is downloaded here and streamed to the machines
  oci://registry.example.com/app:v1              an image that is pulled here and streamed to the machines

Without arguments, the images of privateNodes.joinNode.containerd.importImages in vcluster.yaml are
imported. Damaged archives are listed at the end; the others are imported. Ctrl-C stops each machine at
its next safe point.`,
		Example: "  argosy images import --namespace team-a --machines m1,m2 oci://registry.example.com/app:v1",
		RunE: func(command *cobra.Command, args []string) error {
			request.items = images.Split(strings.Join(args, " "))
			importer, done, err := openMachines(command.Context(), &location, factory.OpenImages)
			if err != nil {
				return err
			}
			defer done()
			return request.run(command.Context(), importer, command.OutOrStdout())
		},
	}
	location.addTo(command)
	machineFlag(command, &request.machines)
	command.Flags().IntVar(&request.concurrency, "concurrency", 0,
		concurrencyUsage)
	command.Flags().BoolVar(&request.dryRun, "dry-run", false, "stop after the plan")
	return command
}

// run prints the plan and imports the images that machines lack.
func (r importRequest) run(ctx context.Context, importer *images.Importer, out io.Writer) error {
	machines, err := importer.Cluster.Select(r.machines)
	if err != nil {
		return err
	}
	entries, err := planOn(out, func(progress operation.Progress) ([]images.Entry, error) {
		return importer.Plan(ctx, machines, r.items, progress)
	})
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, images.Table(entries)); err != nil {
		return fmt.Errorf("printing the plan: %w", err)
	}
	if r.dryRun {
		if refused := images.With(images.ActionRefuse, entries); len(refused) > 0 {
			return fmt.Errorf("%d of %d machines can't import images as they are; the plan has the reasons",
				len(refused), len(entries))
		}
		return nil
	}
	name := func(e images.Entry) string { return e.Machine }
	work := job{
		cluster: importer.Cluster, concurrency: r.concurrency, selected: len(entries),
		refused: names(images.With(images.ActionRefuse, entries), name), out: out,
	}
	return runOnMachines(ctx, work, names(images.With(images.ActionImport, entries), name),
		func(ctx context.Context, m config.Machine, limiter *operation.Limiter,
			progress operation.Progress,
		) (images.Outcome, error) {
			return importer.Import(ctx, m, r.items, limiter, progress)
		})
}
