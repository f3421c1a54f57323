package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/state"
	"argosy.dev/argosy/pkg/operation"
)

// getRequest has the flags of "get".
type getRequest struct {
	location clusterFlags
	all      bool
	output   *outputFormat
}

func getCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "get",
		Short: "Show the clusters, or their machines, as workflows found them last",
		Long: `Reads the states that workflows keep in the host cluster (ClusterStates, or ConfigMap argosy-state), and
asks no machine. "argosy plan" inspects machines now.`,
		Example: `  argosy get clusters --all-namespaces
  argosy get machines --namespace team-a --output wide`,
	}
	command.AddCommand(
		getKind("clusters", "Show the clusters of a namespace, or of all", printClusters),
		getKind("machines", "Show the machines of clusters", printMachines))
	return command
}

// stateLister lists the states of clusters; *state.Store is one.
type stateLister interface {
	List(ctx context.Context, namespace string) ([]state.State, error)
}

// statePrinter prints states as a table, a wide one where wide is true.
type statePrinter func(out io.Writer, states []state.State, wide bool) error

func getKind(kind, short string, print statePrinter) *cobra.Command {
	var request getRequest
	command := &cobra.Command{
		Use: kind, Aliases: []string{strings.TrimSuffix(kind, "s")}, Short: short,
		Example: "  argosy get " + kind + " --namespace team-a --output json",
		Args:    program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := request.check(); err != nil {
				return err
			}
			restConfig, err := request.location.rest()
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(restConfig)
			if err != nil {
				return fmt.Errorf("making a client for the host cluster %q: %w", restConfig.Host, err)
			}
			objects, err := dynamic.NewForConfig(restConfig)
			if err != nil {
				return fmt.Errorf("making a client for the host cluster %q: %w", restConfig.Host, err)
			}
			return request.run(command, state.NewStore(objects, client), print)
		},
	}
	flags := command.Flags()
	flags.StringVarP(&request.location.namespace, "namespace", "n", "", "namespace of the clusters")
	flags.BoolVarP(&request.all, "all-namespaces", "A", false, "clusters of every namespace")
	flags.StringVarP(&request.location.cluster, "cluster", "c", "", "only this cluster")
	flags.StringVar(&request.location.kubeconfig, "kubeconfig", "", kubeconfigUsage)
	request.output = outputFlag(command, "table", "wide", "json", "yaml")
	return command
}

func (r *getRequest) check() error {
	switch {
	case r.all && r.location.namespace != "":
		return program.UsageErrorf("flags --namespace and --all-namespaces exclude each other")
	case !r.all && r.location.namespace == "":
		return program.UsageErrorf("flag --namespace or --all-namespaces is required")
	}
	return nil
}

// place returns where states are looked for.
func (r *getRequest) place() string {
	if r.all {
		return "any namespace"
	}
	return fmt.Sprintf("namespace %q", r.location.namespace)
}

// run prints the states of the clusters that are asked for.
func (r *getRequest) run(command *cobra.Command, states stateLister, print statePrinter) error {
	found, err := states.List(command.Context(), r.location.namespace)
	if err != nil {
		return err
	}
	chosen := []state.State{}
	for _, one := range found {
		if r.location.cluster == "" || one.Cluster == r.location.cluster {
			chosen = append(chosen, one)
		}
	}
	if len(chosen) == 0 && r.location.cluster != "" {
		return fmt.Errorf("reading the state of cluster %q: there is none; no workflow has run there yet, or the "+
			"cluster is in another namespace", r.location.cluster)
	}
	out, format := command.OutOrStdout(), r.output.chosen
	return printAs(out, format, chosen, func() error {
		if len(chosen) == 0 {
			_, err := fmt.Fprintf(command.ErrOrStderr(), "no states of clusters in %s: workflows and the nightly "+
				"check write them\n", r.place())
			return err
		}
		return print(out, chosen, format == "wide")
	})
}

func printClusters(out io.Writer, states []state.State, wide bool) error {
	columns := []string{"NAMESPACE", "CLUSTER", "READY", "MACHINES", "VERSION", "DRIFTED", "UPGRADE", "BACKUP"}
	if wide {
		columns = append(columns, "CERTIFICATES", "REASON")
	}
	table := operation.NewTable(columns...)
	for _, one := range states {
		status := one.Status
		row := []string{
			one.Namespace, one.Cluster, conditionOf(status, state.ConditionReady), cmp.Or(status.Summary, "-"),
			cmp.Or(status.ControlPlaneVersion, "-"), conditionOf(status, state.ConditionDrifted),
			conditionOf(status, state.ConditionUpgradeAvailable),
		}
		last := conditionOf(status, state.ConditionBackupFresh)
		if status.Backup != nil {
			last = ago(status.Backup.When.Time)
		}
		if wide {
			row = append(row, last, conditionOf(status, state.ConditionCertificatesExpiring))
			if ready := meta.FindStatusCondition(status.Conditions, state.ConditionReady); ready != nil {
				last = ready.Message
			}
		}
		table.Add([]string{last}, row...)
	}
	_, err := io.WriteString(out, table.String())
	return err
}

// conditionOf is the status of a condition, "-" where there is none.
func conditionOf(status state.Status, kind string) string {
	if found := meta.FindStatusCondition(status.Conditions, kind); found != nil {
		return string(found.Status)
	}
	return "-"
}

func ago(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return duration.HumanDuration(time.Since(at))
}

func printMachines(out io.Writer, states []state.State, wide bool) error {
	columns := []string{"NAMESPACE", "CLUSTER", "MACHINE", "STATE", "VERSION", "DRIFTED", "LAST", "AGO"}
	if wide {
		columns = append(columns, "NODE", "SECONDS", "MESSAGE")
	}
	table := operation.NewTable(columns...)
	for _, one := range states {
		for _, machine := range one.Status.Machines {
			row := []string{
				one.Namespace, one.Cluster, machine.Name, string(machine.State), cmp.Or(machine.Version, "-"),
				strconv.FormatBool(machine.Drifted), cmp.Or(machine.Operation, "-"),
			}
			last := ago(machine.When.Time)
			if wide {
				row = append(row, last, cmp.Or(machine.Node, "-"), strconv.FormatInt(machine.Seconds, 10))
				last = machine.Message
			}
			table.Add([]string{last}, row...)
		}
	}
	_, err := io.WriteString(out, table.String())
	return err
}
