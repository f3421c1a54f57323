package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/errclass"
)

// terminationLog is the flag with the file from which the kubelet takes a container's termination message.
const terminationLog = "termination-log"

// storeCommand has the commands of Jobs beside a control plane. People use argosy backup and argosy restore.
func storeCommand() *cobra.Command {
	command := &cobra.Command{
		Use:    "store",
		Short:  "Move a cluster's state between its store and an archive, and mend the store (run by Jobs)",
		Hidden: true,
	}
	command.AddCommand(storeDumpCommand(), storeReadCommand(), storePrepareCommand(), storeLoadCommand(),
		storeReplaceMemberCommand(), storeMaintainCommand(), storeRunMemberCommand())
	command.PersistentFlags().String(terminationLog, "/dev/termination-log", "file for the result, where there is one")
	return command
}

// printTo returns a function that prints lines of progress.
func printTo(out io.Writer) func(string) {
	return func(line string) { _, _ = fmt.Fprintln(out, line) }
}

// writeResult writes the result to the termination message, from which the plugin reads it; outside of a pod it prints.
func writeResult(command *cobra.Command, result any) error {
	text, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	file, err := os.OpenFile(command.Flag(terminationLog).Value.String(), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		printTo(command.OutOrStdout())(string(text))
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	defer file.Close()
	if _, err := file.Write(text); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

func accessFlags(command *cobra.Command, access *store.Access) {
	flags := command.Flags()
	flags.StringSliceVar(&access.Endpoints, "endpoint", nil,
		"the store: unix:///run/kine/kine.sock, or https://… of each member of etcd")
	flags.StringVar(&access.CACert, "cacert", "", "file with the authority of etcd's certificates")
	flags.StringVar(&access.Cert, "cert", "", "file with the certificate to show to etcd")
	flags.StringVar(&access.Key, "key", "", "file with its key")
	_ = command.MarkFlagRequired("endpoint")
}

// archiveFlags select an archive in a folder.
type archiveFlags struct{ folder, cluster, archive, identity string }

func (s *archiveFlags) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&s.folder, "folder", "/backups", "folder with archives")
	flags.StringVar(&s.cluster, "cluster", "", "the cluster's name")
	flags.StringVar(&s.archive, "archive", store.Latest, `an archive's name, or "`+store.Latest+`"`)
	flags.StringVar(&s.identity, "identity", "", "file with the age identity that opens an encrypted archive")
	_ = command.MarkFlagRequired("cluster")
}

func (s *archiveFlags) open() (*store.Archive, error) {
	path, err := store.Find(s.folder, s.cluster, s.archive)
	if err != nil {
		return nil, err
	}
	identities, err := store.Identities(s.identity)
	if err != nil {
		return nil, err
	}
	return store.Open(path, identities...)
}

func storeDumpCommand() *cobra.Command {
	var order store.Order
	var about string
	command := &cobra.Command{
		Use:   "dump",
		Short: "Write the store, the keys and the documents to an archive",
		Args:  program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := json.Unmarshal([]byte(about), &order.About); err != nil {
				return program.UsageErrorf("reading --about: %w", err)
			}
			result, err := store.Backup(command.Context(), order, printTo(command.OutOrStdout()))
			if err != nil {
				return err
			}
			return writeResult(command, result)
		},
	}
	accessFlags(command, &order.Access)
	flags := command.Flags()
	flags.StringVar(&order.PKI, "pki", "", "folder with the cluster's keys")
	flags.StringVar(&order.Documents, "documents", "", "folder with both documents")
	flags.StringVar(&order.Output, "output", "", "the archive to write")
	flags.IntVar(&order.Keep, "keep", 0, "how many archives of the cluster stay beside it (0: all)")
	flags.StringArrayVar(&order.Recipients, "recipient", nil, "public key of age to which the archive is encrypted")
	flags.StringVar(&about, "about", "{}", "description of the cluster for the manifest, as JSON")
	return command
}

func storeReadCommand() *cobra.Command {
	var from archiveFlags
	var sealFor string
	command := &cobra.Command{
		Use:   "read",
		Short: "Check a whole archive and print its summary",
		Args:  program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			archive, err := from.open()
			if err != nil {
				return err
			}
			result, err := archive.Result()
			if err != nil {
				return err
			}
			if sealFor != "" {
				sealed, err := store.Seal(sealFor, archive.Files(store.PKIPrefix))
				if err != nil {
					return err
				}
				printTo(command.OutOrStdout())(store.SealedPrefix + sealed)
			}
			return writeResult(command, result)
		},
	}
	from.flags(command)
	command.Flags().StringVar(&sealFor, "seal-for", "", "also print the cluster's keys, sealed for this address")
	return command
}

func storePrepareCommand() *cobra.Command {
	var file string
	var revision int64
	command := &cobra.Command{
		Use:   "prepare",
		Short: "Make an empty SQLite database whose revisions begin behind a given one, unless there is one",
		Args:  program.NoArguments,
		RunE:  func(*cobra.Command, []string) error { return store.PrepareSQLite(file, revision) },
	}
	command.Flags().StringVar(&file, "file", "", "the database")
	command.Flags().Int64Var(&revision, "revision", 0, "the last revision that clients may remember")
	return command
}

func storeReplaceMemberCommand() *cobra.Command {
	var access store.Access
	var lost store.Member
	command := &cobra.Command{
		Use:   "replace-member",
		Short: "Remove a member of etcd whose data is lost, and add it anew",
		Args:  program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			err := store.ReplaceMember(command.Context(), access, lost, printTo(command.OutOrStdout()))
			if err != nil {
				return err
			}
			return writeResult(command, store.Maintained{})
		},
	}
	accessFlags(command, &access)
	flags := command.Flags()
	flags.StringVar(&lost.Name, "member", "", "the member's name")
	flags.StringVar(&lost.Client, "client-url", "", "where clients reach it, one of the endpoints")
	flags.StringVar(&lost.Peer, "peer-url", "", "where members reach it")
	for _, name := range []string{"member", "client-url", "peer-url"} {
		_ = command.MarkFlagRequired(name)
	}
	return command
}

func storeMaintainCommand() *cobra.Command {
	var access store.Access
	command := &cobra.Command{
		Use:   "maintain",
		Short: "Defragment etcd where that gives space back, and mend the alarm NOSPACE",
		Args:  program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			maintained, err := store.Maintain(command.Context(), access, printTo(command.OutOrStdout()))
			if err != nil {
				return err
			}
			return writeResult(command, maintained)
		},
	}
	accessFlags(command, &access)
	return command
}

// holding is where the holding server listens; without an address there is none.
type holding struct{ address, cert, key string }

func storeLoadCommand() *cobra.Command {
	var from archiveFlags
	var access store.Access
	var server holding
	command := &cobra.Command{
		Use:   "load",
		Short: "Load an archive into an empty store",
		Args:  program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			archive, err := from.open()
			if err != nil {
				return err
			}
			report := printTo(command.OutOrStdout())
			var result store.Result
			err = server.during(command.Context(), report, func(ctx context.Context) error {
				result, err = store.Restore(ctx, access, archive, report)
				return err
			})
			if err != nil {
				return err
			}
			return writeResult(command, result)
		},
	}
	from.flags(command)
	accessFlags(command, &access)
	flags := command.Flags()
	flags.StringVar(&server.address, "answer", "", "address to answer the cluster's clients on meanwhile")
	flags.StringVar(&server.cert, "tls-cert", "", "file with the API server's certificate")
	flags.StringVar(&server.key, "tls-key", "", "file with its key")
	return command
}

// during runs work beside the holding server, which goes on until every client has had time to ask once.
func (h holding) during(ctx context.Context, report func(string), work func(context.Context) error) error {
	if h.address == "" {
		return work(ctx)
	}
	ctx, end := context.WithCancel(ctx)
	answered := make(chan error, 1)
	go func() {
		defer end()
		answered <- store.ServeHolding(ctx, h.address, h.cert, h.key)
	}()
	begun := time.Now()
	err := work(ctx)
	if rest := time.Until(begun.Add(store.HoldAtLeast)); err == nil && rest > 0 {
		report(fmt.Sprintf("the store is loaded; for %.0f s more, clients are told to ask for the whole state anew",
			rest.Seconds()))
		select {
		case <-ctx.Done():
			err = errclass.With(errclass.Cancelled, context.Cause(ctx))
		case <-time.After(rest):
		}
	}
	end()
	if failed := <-answered; failed != nil {
		return failed
	}
	return err
}
