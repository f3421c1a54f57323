package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/controlplane/backup"
	"argosy.dev/argosy/pkg/controlplane/deprovision"
	"argosy.dev/argosy/pkg/store"
)

func backupCommand() *cobra.Command {
	var where place
	var options backup.Options
	command := &cobra.Command{
		Use:   "backup",
		Short: "Write a cluster's state, keys and documents to an archive, while it runs",
		Long: `Runs a pod beside the control plane that reads the store at one moment and writes an archive to volume
<cluster>-backups, which is made when there is none. The archive is read again before older ones are removed.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			provisioner, err := where.provisioner(command.Context())
			if err != nil {
				return err
			}
			return carryOut(command.OutOrStdout(), part{"backup", func(report func(string)) (fmt.Stringer, error) {
				return backup.Create(command.Context(), provisioner, options, report)
			}})
		},
	}
	where.flags(command)
	command.Flags().IntVar(&options.Keep, "keep", backup.DefaultKeep,
		"how many archives of the cluster stay (0: all)")
	command.Flags().StringVar(&options.Size, "size", backup.DefaultSize,
		"how large a volume to ask for when there is none")
	return command
}

func restoreCommand() *cobra.Command {
	var where place
	var options backup.RestoreOptions
	command := &cobra.Command{
		Use:   "restore",
		Short: "Make a cluster's control plane anew from an archive",
		Long: `Brings back keys and store from an archive in volume <cluster>-backups, in a namespace where the control plane is
gone, makes the control plane around them as provision does, sets the addons and verifies. The documents are those of
the ConfigMap. Machines come back by themselves, as long as the control plane has the address that they know. Running
it again goes on where it was interrupted.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			provisioner, err := where.provisioner(command.Context())
			if err != nil {
				return err
			}
			ctx := command.Context()
			return carryOut(command.OutOrStdout(),
				part{"restore", func(report func(string)) (fmt.Stringer,
					error) {
					return backup.Restore(ctx, provisioner, options, report)
				}},
				part{"addons", func(report func(string)) (fmt.Stringer,
					error) {
					return provisioner.SetAddons(ctx, report)
				}},
				part{"verify", func(report func(string)) (fmt.Stringer,
					error) {
					return provisioner.Verify(ctx, report)
				}})
		},
	}
	where.flags(command)
	command.Flags().StringVar(&options.Archive, "archive", store.Latest, `an archive's name, or "`+store.Latest+`"`)
	command.Flags().BoolVar(&options.ReplaceVolumes, "replace-volumes", false,
		"delete the volumes with the state of the control plane that was there before")
	return command
}

func deprovisionCommand() *cobra.Command {
	var where place
	var confirmed, keepMachines, removeVolumes, skipBackup bool
	options := deprovision.Options{Machines: deprovision.RefuseMachines}
	command := &cobra.Command{
		Use:   "deprovision",
		Short: "Remove a cluster's control plane from the host cluster, and prove that nothing is left",
		Long: `Checks whether the cluster may be removed. Only with --yes it makes a final backup and removes all that
provisioning made. Refused while machines are joined: "argosy reset" makes them clean, and with --keep-machines they
wait until "argosy restore" brings the control plane back. What users brought stays, and so do volumes with state and
archives, from which "argosy restore" brings the cluster back. Running it again continues where it was interrupted.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			provisioner, err := where.provisioner(command.Context())
			if err != nil {
				return err
			}
			deprovisioner := deprovision.Deprovisioner{Cluster: provisioner.Cluster,
				FinalBackup: backup.Final(provisioner)}
			options.KeepVolumes, options.FinalBackup = !removeVolumes, !skipBackup
			if keepMachines {
				options.Machines = deprovision.KeepMachines
			}
			err = carryOut(command.OutOrStdout(), part{"check", func(report func(string)) (fmt.Stringer, error) {
				return deprovisioner.Check(command.Context(), options, report)
			}})
			if err != nil {
				return err
			}
			if !confirmed {
				return program.UsageErrorf("nothing was touched: say --yes to remove the control plane")
			}
			return carryOut(command.OutOrStdout(), part{"deprovision", func(report func(string)) (fmt.Stringer, error) {
				return deprovisioner.Run(command.Context(), options, report)
			}})
		},
	}
	where.flags(command)
	flags := command.Flags()
	flags.BoolVar(&confirmed, "yes", false, "do it")
	flags.BoolVar(&options.Force, "force", false, "also when the cluster does not answer, or has nodes that are no "+
		"machines of argosy.yaml")
	flags.BoolVar(&keepMachines, "keep-machines", false, "leave joined machines as they are, to wait for a restore")
	flags.BoolVar(&removeVolumes, "remove-volumes", false,
		"also delete volumes with state, and with --skip-final-backup the one with archives")
	flags.BoolVar(&skipBackup, "skip-final-backup", false, "make no last archive")
	return command
}
