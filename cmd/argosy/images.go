package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/addons"
	"argosy.dev/argosy/pkg/config"
)

func imagesCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "images",
		Short: "List the images that a cluster pulls, and import images into machines",
	}
	command.AddCommand(imagesListCommand(), imagesImportCommand())
	return command
}

func imagesListCommand() *cobra.Command {
	var location clusterFlags
	var kubernetes string
	var output *outputFormat
	var all bool
	command := &cobra.Command{
		Use:   "list",
		Short: "List every image that a cluster pulls, one a line, for a mirror",
		Long: `Lists the images of a cluster with its documents: of its control plane, of the addons that are on and of
the pods that these start, by the names under which they are pulled. Without documents, those of a
cluster with default settings. A table also tells what each is for.

To fill the registry of controlPlane.advanced.defaultImageRegistry, list without that setting: the lines
are the sources of the images.`,
		Example: `  argosy images list --kubernetes v1.37.2 --all
  argosy images list --from examples/team-a --cluster team-a --output table`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			cluster, err := location.documents(command.Context())
			if err != nil {
				return err
			}
			if all {
				cluster = addons.WithAll(cluster)
			}
			images, err := addons.Images(cluster, kubernetes)
			if err != nil {
				return err
			}
			own := addons.Image{Reference: cluster.ImageRef(imageOf(cluster)), For: "executor-plugin"}
			return printImages(command.OutOrStdout(), append([]addons.Image{own}, images...), output.chosen)
		},
	}
	location.addTo(command)
	command.Flags().StringVar(&kubernetes, "kubernetes", "",
		"version of Kubernetes, e.g. v1.37.2 (default: the documents')")
	command.Flags().BoolVar(&all, "all", false, "list also the images of addons that are off")
	output = outputFlag(command, "list", "table", "json", "yaml")
	return command
}

// documents loads a cluster's documents; without flags that locate them, it returns the defaults.
func (p *clusterFlags) documents(ctx context.Context) (*config.Cluster, error) {
	if p.from == "" && p.namespace == "" {
		defaults := config.Defaults()
		return &defaults, nil
	}
	source, _, err := p.open()
	if err != nil {
		return nil, err
	}
	return config.Load(ctx, source, p.cluster)
}

// imageOf returns the plugin's image, which the pods of a cluster's control plane run.
func imageOf(cluster *config.Cluster) string {
	if own := cluster.Fleet.ControlPlane.Image; own != "" {
		return own
	}
	return program.Image()
}

func printImages(out io.Writer, images []addons.Image, format string) error {
	return printAs(out, format, images, func() error {
		if format == "table" {
			table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "IMAGE\tFOR")
			for _, image := range images {
				fmt.Fprintf(table, "%s\t%s\n", image.Reference, image.For)
			}
			return table.Flush()
		}
		for _, image := range images {
			if _, err := fmt.Fprintln(out, image.Reference); err != nil {
				return err
			}
		}
		return nil
	})
}
