package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"argosy.dev/argosy/cmd/internal/agents"
	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/internal/factory"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/ssh"
)

// clusterFlags locate a cluster's documents and Secrets: in a namespace of the host cluster, or in a folder.
type clusterFlags struct {
	cluster    string
	namespace  string
	kubeconfig string
	from       string
}

func (p *clusterFlags) addTo(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVarP(&p.cluster, "cluster", "c", "", "name of the cluster, which is its ConfigMap's "+
		"(default: the namespace)")
	flags.StringVarP(&p.namespace, "namespace", "n", "", "namespace of the host cluster that holds the ConfigMap and "+
		"its Secrets")
	flags.StringVar(&p.kubeconfig, "kubeconfig", "", kubeconfigUsage)
	flags.StringVarP(&p.from, "from", "f", "", "folder of manifests with the ConfigMap and Secrets, instead of the "+
		"host cluster")
}

// addHostTo adds the flags of a command whose documents can only be in the host cluster. There --from is an error that
// names the way out, and help and completion do not offer it.
func (p *clusterFlags) addHostTo(command *cobra.Command) {
	p.addTo(command)
	command.Flags().Lookup("from").Hidden = true
}

// open returns the source of the documents, and the store of trusted host keys, which a folder has not.
func (p *clusterFlags) open() (config.Source, factory.HostKeys, error) {
	if p.from != "" {
		if p.cluster == "" {
			return nil, nil, program.UsageErrorf("flag --from needs --cluster: a folder may hold several")
		}
		return config.Dir{Path: p.from, In: p.namespace}, nil, nil
	}
	if p.namespace == "" {
		return nil, nil, program.UsageErrorf("flag --namespace or --from is required: the host cluster's " +
			"namespace, or the folder, with the documents")
	}
	if p.cluster == "" {
		p.cluster = p.namespace
	}
	restConfig, err := p.rest()
	if err != nil {
		return nil, nil, err
	}
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("making a client for the host cluster %q: %w", restConfig.Host, err)
	}
	return config.FromAPI(client, p.namespace), factory.ConfigMapKeys{Client: client, Namespace: p.namespace}, nil
}

func (p *clusterFlags) rest() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = p.kubeconfig
	restConfig, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading the host cluster's kubeconfig: %w; name "+
			"one with --kubeconfig or $KUBECONFIG", err)
	}
	return restConfig, nil
}

// openMachines opens a cluster's machines with open, a function of package factory. done closes the connections.
func openMachines[T any](ctx context.Context, p *clusterFlags,
	open func(context.Context, config.Source, factory.HostKeys, factory.Tools, string) (T,
		error),
) (opened T, done func(), err error) {
	source, keys, err := p.open()
	if err != nil {
		return opened, nil, err
	}
	pool := ssh.NewPool()
	opened, err = open(ctx, source, keys, factory.Tools{Agent: &agents.Embedded{}, Pool: pool}, p.cluster)
	if err != nil {
		pool.Close()
		return opened, nil, err
	}
	return opened, func() { pool.Close() }, nil
}

func validateCommand() *cobra.Command {
	var location clusterFlags
	command := &cobra.Command{
		Use:   "validate",
		Short: "Check both documents and the Secrets that they name, and change nothing",
		Example: `  argosy validate --from examples/team-a --cluster team-a
  argosy validate --namespace team-a`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			source, _, err := location.open()
			if err != nil {
				return err
			}
			cluster, err := config.Load(command.Context(), source, location.cluster)
			if err != nil {
				return err
			}
			if err := factory.CheckSecrets(command.Context(), source, cluster); err != nil {
				return errclass.With(errclass.Configuration, err)
			}
			text := fmt.Sprintf("cluster %s: vcluster.yaml and argosy.yaml are valid, %s", cluster.Name,
				count.Of(len(cluster.Fleet.Machines), "machine"))
			_, err = fmt.Fprintln(command.OutOrStdout(),
				strings.Join(append([]string{text}, cluster.Remarks...), "\n"))
			return err
		},
	}
	location.addTo(command)
	return command
}

func planCommand() *cobra.Command {
	var location clusterFlags
	var machines string
	var output *outputFormat
	command := &cobra.Command{
		Use:   "plan",
		Short: "Show what a join would do on each machine and why it can't, and how nodes differ from the documents",
		Long:  `Inspects the machines over SSH and changes nothing. Ends with 1 if a machine can't be joined as it is.`,
		Example: `  argosy plan --namespace team-a
  argosy plan --namespace team-a --machines zone=rack-1 --output json`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			joiner, done, err := openMachines(command.Context(), &location, factory.Open)
			if err != nil {
				return err
			}
			defer done()
			entries, err := planAndPrint(command, joiner, machines, output.chosen)
			if err != nil {
				return err
			}
			return refusedError(entries)
		},
	}
	location.addTo(command)
	machineFlag(command, &machines)
	output = outputFlag(command, "table", "json", "yaml")
	return command
}

// Usages of flags that several commands have.
const (
	kubeconfigUsage  = "kubeconfig of the host cluster (default: $KUBECONFIG, then ~/.kube/config)"
	concurrencyUsage = "machines worked on at once (default: limits.concurrency of argosy.yaml)"
)

func machineFlag(command *cobra.Command, machines *string) {
	*machines = "all"
	command.Flags().VarP((*machineExpression)(machines), "machines", "m",
		`machines: "all", names with commas between, or a label selector like zone=a`)
}

// machineExpression is the value of a flag --machines that is "all" where it is not given. Empty is refused: it comes
// from a variable of a shell that is not set, and must not mean every machine.
type machineExpression string

// String implements pflag.Value.
func (m *machineExpression) String() string { return string(*m) }

// Set implements pflag.Value.
func (m *machineExpression) Set(expression string) error {
	if strings.Trim(expression, ", \t") == "" {
		return errors.New(`it names no machine; leave the flag out for all, or give "all"`)
	}
	*m = machineExpression(expression)
	return nil
}

// Type implements pflag.Value.
func (*machineExpression) Type() string { return "string" }

// planPhase is the one phase of a plan.
const planPhase = "plan"

// planAndPrint makes a plan, prints it and returns it.
func planAndPrint(command *cobra.Command, joiner *join.Joiner, expression, format string) ([]join.Entry, error) {
	machines, err := joiner.Cluster.Select(expression)
	if err != nil {
		return nil, err
	}
	for _, remark := range joiner.Cluster.Remarks {
		if _, err := fmt.Fprintln(command.ErrOrStderr(), remark); err != nil {
			return nil, err
		}
	}
	terminal := newTerminal(command.ErrOrStderr())
	terminal.last[planPhase] = shown{phase: planPhase, at: time.Now()} // silent unless it takes long
	entries, err := planWith(terminal, func(progress operation.Progress) ([]join.Entry, error) {
		return joiner.Plan(command.Context(), machines, progress)
	})
	if err != nil {
		return nil, err
	}
	return entries, printPlan(command.OutOrStdout(), entries, format)
}

func printPlan(out io.Writer, entries []join.Entry, format string) error {
	return printAs(out, format, entries, func() error {
		text := join.Table(entries)
		if diffs := join.Diffs(entries); diffs != "" {
			text += "\n" + diffs
		}
		_, err := io.WriteString(out, text)
		return err
	})
}

func refusedError(entries []join.Entry) error {
	if refused := join.Refused(entries); len(refused) > 0 {
		return fmt.Errorf("%d of %d machines can't be joined as they are; the plan has the reasons", len(refused),
			len(entries))
	}
	return nil
}

func joinCommand() *cobra.Command {
	return withPlan(&cobra.Command{
		Use:   "join",
		Short: "Make machines Ready nodes of the cluster",
		Long: `Plans, then joins the machines that need it, at most --concurrency at once. One machine that fails does
not stop the others. Running it again is safe: nothing is done twice, and an interrupted join is
finished. Ctrl-C stops each machine at its next safe point.`,
		Example: "  argosy join --namespace team-a --machines m1,m2 --concurrency 2",
	}, join.Work, (*join.Joiner).Join)
}

// withPlan completes a command that prints the plan and then runs do on the machines that choose returns.
func withPlan(command *cobra.Command, choose func([]join.Entry) []join.Entry,
	do func(*join.Joiner, context.Context, config.Machine, *operation.Limiter,
		operation.Progress) (join.Outcome, error),
) *cobra.Command {
	var location clusterFlags
	var machines string
	var concurrency int
	var dryRun bool
	command.Args = program.NoArguments
	command.RunE = func(command *cobra.Command, _ []string) error {
		joiner, done, err := openMachines(command.Context(), &location, factory.Open)
		if err != nil {
			return err
		}
		defer done()
		entries, err := planAndPrint(command, joiner, machines, "table")
		if err != nil {
			return err
		}
		if dryRun {
			return refusedError(entries)
		}
		return runOnMachines(command.Context(), jobOf(joiner, entries, concurrency, command.OutOrStdout()),
			names(choose(entries), machineOf),
			func(ctx context.Context, machine config.Machine, limiter *operation.Limiter,
				progress operation.Progress,
			) (join.Outcome, error) {
				return do(joiner, ctx, machine, limiter, progress)
			})
	}
	location.addTo(command)
	machineFlag(command, &machines)
	command.Flags().IntVar(&concurrency, "concurrency", 0, concurrencyUsage)
	command.Flags().BoolVar(&dryRun, "dry-run", false, "stop after the plan")
	return command
}

// jobOf returns the job for a plan.
func jobOf(joiner *join.Joiner, entries []join.Entry, concurrency int, out io.Writer) job {
	return job{
		cluster: joiner.Cluster, concurrency: concurrency, selected: len(entries),
		refused: names(join.Refused(entries), machineOf), out: out,
	}
}

func machineOf(entry join.Entry) string { return entry.Machine }
