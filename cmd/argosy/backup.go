package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/controlplane/backup"
	"argosy.dev/argosy/internal/controlplane/deprovision"
	"argosy.dev/argosy/internal/store"
)

func backupCommand() *cobra.Command {
	var location clusterFlags
	var options backup.Options
	command := &cobra.Command{
		Use:   "backup",
		Short: "Write a cluster's state, keys and documents to an archive, while it runs",
		Long: `Runs a pod beside the control plane that reads the store at one revision and writes an archive to volume
<cluster>-backups, which is made if there is none. The archive is read back before older ones are removed.`,
		Example: "  argosy backup --namespace team-b --keep 14",
		Args:    program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			provisioner, err := location.provisioner(command.Context())
			if err != nil {
				return err
			}
			return runSteps(command.OutOrStdout(), step{"backup", func(report func(string)) (fmt.Stringer, error) {
				return backup.Create(command.Context(), provisioner, options, report)
			}})
		},
	}
	location.addHostTo(command)
	command.Flags().IntVar(&options.Keep, "keep", backup.DefaultKeep,
		"number of archives of the cluster to keep (0: all)")
	command.Flags().StringVar(&options.Size, "size", backup.DefaultSize,
		"size of the volume, if there is none yet")
	return command
}

func restoreCommand() *cobra.Command {
	var location clusterFlags
	var options backup.RestoreOptions
	command := &cobra.Command{
		Use:   "restore",
		Short: "Make a cluster's control plane again from an archive",
		Long: `In a namespace whose control plane is gone: restores keys and store from an archive in volume
<cluster>-backups, makes the control plane as provision does, sets the addons and verifies. The
documents are those of the ConfigMap. Machines reconnect by themselves if the control plane has its
former address. Running it again continues an interrupted run.`,
		Example: "  argosy restore --namespace team-b --archive latest",
		Args:    program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			provisioner, err := location.provisioner(command.Context())
			if err != nil {
				return err
			}
			ctx := command.Context()
			return runSteps(command.OutOrStdout(),
				step{"restore", func(report func(string)) (fmt.Stringer, error) {
					return backup.Restore(ctx, provisioner, options, report)
				}},
				step{"addons", func(report func(string)) (fmt.Stringer, error) {
					return provisioner.SetAddons(ctx, report)
				}},
				step{"verify", func(report func(string)) (fmt.Stringer, error) {
					return provisioner.Verify(ctx, report)
				}})
		},
	}
	location.addHostTo(command)
	command.Flags().StringVar(&options.Archive, "archive", store.Latest, `name of an archive, or "`+store.Latest+`"`)
	command.Flags().BoolVar(&options.ReplaceVolumes, "replace-volumes", false,
		"delete the volumes with the state of the former control plane")
	return command
}

func deprovisionCommand() *cobra.Command {
	var location clusterFlags
	var confirmed, keepMachines, removeVolumes, skipBackup bool
	options := deprovision.Options{Machines: deprovision.RefuseMachines}
	command := &cobra.Command{
		Use:   "deprovision",
		Short: "Remove a cluster's control plane from the host cluster and verify that nothing is left",
		Long: `Checks whether the cluster can be removed. With --yes it then makes a final backup and removes all that
provisioning made. It refuses while machines are joined: clean them with "argosy reset", or keep them
with --keep-machines until "argosy restore" makes the control plane again. Users' own objects stay, and
so do volumes with state and archives, from which "argosy restore" makes the cluster again. Running it
again continues an interrupted run.`,
		Example: `  argosy deprovision --namespace team-b          check only
  argosy deprovision --namespace team-b --yes`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			provisioner, err := location.provisioner(command.Context())
			if err != nil {
				return err
			}
			deprovisioner := deprovision.Deprovisioner{
				Cluster:     provisioner.Cluster,
				FinalBackup: backup.Final(provisioner),
			}
			options.KeepVolumes, options.FinalBackup = !removeVolumes, !skipBackup
			if keepMachines {
				options.Machines = deprovision.KeepMachines
			}
			err = runSteps(command.OutOrStdout(), step{"check", func(report func(string)) (fmt.Stringer, error) {
				return deprovisioner.Check(command.Context(), options, report)
			}})
			if err != nil {
				return err
			}
			if !confirmed {
				return program.UsageErrorf("nothing was changed: add --yes to remove the control plane")
			}
			return runSteps(command.OutOrStdout(), step{"deprovision", func(report func(string)) (fmt.Stringer, error) {
				return deprovisioner.Run(command.Context(), options, report)
			}})
		},
	}
	location.addHostTo(command)
	flags := command.Flags()
	flags.BoolVar(&confirmed, "yes", false, "remove the control plane")
	flags.BoolVar(&options.Force, "force", false, "remove it also if the cluster does not answer, or has nodes that "+
		"are no machines of argosy.yaml")
	flags.BoolVar(&keepMachines, "keep-machines", false, "leave joined machines as they are, for a restore")
	flags.BoolVar(&removeVolumes, "remove-volumes", false,
		"delete also volumes with state, and with --skip-final-backup the volume with archives")
	flags.BoolVar(&skipBackup, "skip-final-backup", false, "make no final backup")
	return command
}
