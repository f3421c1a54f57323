package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"argosy.dev/argosy/cmd/internal/agents"
	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/factory"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/ssh"
)

// place says where a cluster's documents and Secrets are: a namespace of the host cluster, or a folder of manifests.
type place struct {
	cluster    string
	namespace  string
	kubeconfig string
	from       string
}

func (p *place) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVarP(&p.cluster, "cluster", "c", "", "name of the cluster, which is the name of its ConfigMap "+
		"(default: the namespace)")
	flags.StringVarP(&p.namespace, "namespace", "n", "", "namespace of the host cluster that holds the ConfigMap and "+
		"its Secrets")
	flags.StringVar(&p.kubeconfig, "kubeconfig", "", "kubeconfig of the host cluster (default: $KUBECONFIG, then "+
		"~/.kube/config)")
	flags.StringVarP(&p.from, "from", "f", "", "folder of manifests with the ConfigMap and Secrets, instead of the "+
		"host cluster")
}

// open returns where to read from, and where trusted host keys are recorded (nil for a folder).
func (p *place) open() (config.Source, factory.HostKeys, error) {
	if p.from != "" {
		if p.cluster == "" {
			return nil, nil, program.UsageErrorf("--from needs --cluster: a folder may hold several")
		}
		return config.Dir{Path: p.from, In: p.namespace}, nil, nil
	}
	if p.namespace == "" {
		return nil, nil, program.UsageErrorf("say where the documents are: --namespace of the host cluster, or " +
			"--from a folder")
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

func (p *place) rest() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = p.kubeconfig
	restConfig, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading the host cluster's kubeconfig: %w", err)
	}
	return restConfig, nil
}

// opened opens the cluster's machines for the work that open opens them for; done closes the connections.
func opened[Conductor any](ctx context.Context, p *place,
	open func(context.Context, config.Source, factory.HostKeys, factory.Tools, string) (Conductor,
		error)) (conductor Conductor, done func(), err error) {
	source, keys, err := p.open()
	if err != nil {
		return conductor, nil, err
	}
	pool := ssh.NewPool()
	conductor, err = open(ctx, source, keys, factory.Tools{Agent: &agents.Embedded{}, Pool: pool}, p.cluster)
	if err != nil {
		pool.Close()
		return conductor, nil, err
	}
	return conductor, func() { pool.Close() }, nil
}

func validateCommand() *cobra.Command {
	var where place
	command := &cobra.Command{
		Use:   "validate",
		Short: "Check both documents and the Secrets they name; touch nothing",
		Args:  program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			source, _, err := where.open()
			if err != nil {
				return err
			}
			cluster, err := config.Load(command.Context(), source, where.cluster)
			if err != nil {
				return err
			}
			if err := factory.CheckSecrets(command.Context(), source, cluster); err != nil {
				return errclass.With(errclass.Configuration, err)
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "cluster %s: vcluster.yaml and argosy.yaml are valid, %d "+
				"machines\n", cluster.Name, len(cluster.Fleet.Machines))
			return err
		},
	}
	where.flags(command)
	return command
}

func planCommand() *cobra.Command {
	var where place
	var machines, output string
	command := &cobra.Command{
		Use:   "plan",
		Short: "Inspect machines and say what a join would do with each, or why it can't, and what differs on nodes",
		Args:  program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			conductor, done, err := opened(command.Context(), &where, factory.Open)
			if err != nil {
				return err
			}
			defer done()
			entries, err := showPlan(command, conductor, machines, output)
			if err != nil {
				return err
			}
			return refusal(entries)
		},
	}
	where.flags(command)
	machineFlag(command, &machines)
	command.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return command
}

func machineFlag(command *cobra.Command, machines *string) {
	command.Flags().StringVarP(machines, "machines", "m", "all",
		`which machines: "all", names with commas between, or a label selector like zone=a`)
}

// planning is the one phase of a plan.
const planning = "[plan"

// showPlan plans, prints the plan, and returns it.
func showPlan(command *cobra.Command, conductor *join.Conductor, expression, format string) ([]join.Entry, error) {
	machines, err := conductor.Cluster.Select(expression)
	if err != nil {
		return nil, err
	}
	terminal := newTerminal(command.ErrOrStderr())
	terminal.last["plan"] = shown{phase: planning, at: time.Now()} // silent unless it takes long
	entries, err := conductor.Plan(command.Context(), machines,
		func(text string) { terminal.progress("plan", planning+"] "+text) })
	if err != nil {
		return nil, err
	}
	return entries, printPlan(command.OutOrStdout(), entries, format)
}

func printPlan(out io.Writer, entries []join.Entry, format string) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(entries)
	case "table":
		text := join.Table(entries)
		if diffs := join.Diffs(entries); diffs != "" {
			text += "\n" + diffs
		}
		_, err := io.WriteString(out, text)
		return err
	}
	return program.UsageErrorf("unknown --output %q: table or json", format)
}

func refusal(entries []join.Entry) error {
	if refused := join.Refused(entries); len(refused) > 0 {
		return fmt.Errorf("%d of %d machines can't be joined as they are", len(refused), len(entries))
	}
	return nil
}

func joinCommand() *cobra.Command {
	var where place
	var machines string
	var concurrency int
	var dryRun bool
	command := &cobra.Command{
		Use:   "join",
		Short: "Make machines Ready nodes of the cluster; what holds already is left alone",
		Long: `Plans, then joins the machines that need it, as many at once as --concurrency says. One machine that fails
does not stop the others. Running it again is safe and finishes what was interrupted. Ctrl-C stops each
machine at its next safe point.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			conductor, done, err := opened(command.Context(), &where, factory.Open)
			if err != nil {
				return err
			}
			defer done()
			entries, err := showPlan(command, conductor, machines, "table")
			if err != nil {
				return err
			}
			if dryRun {
				return refusal(entries)
			}
			return each(command.Context(), jobOf(conductor, entries, concurrency, command.OutOrStdout()),
				names(join.Work(entries), machineOf), conductor.Join)
		},
	}
	where.flags(command)
	machineFlag(command, &machines)
	command.Flags().IntVar(&concurrency, "concurrency", 0,
		"machines worked on at once (default: limits.concurrency of argosy.yaml)")
	command.Flags().BoolVar(&dryRun, "dry-run", false, "stop after the plan")
	return command
}

// jobOf is the work that a plan leaves.
func jobOf(conductor *join.Conductor, entries []join.Entry, concurrency int, out io.Writer) job {
	return job{cluster: conductor.Cluster, concurrency: concurrency, asked: len(entries),
		refused: names(join.Refused(entries), machineOf), out: out}
}

func machineOf(entry join.Entry) string { return entry.Machine }

// terminal prints one line at each new phase of a machine, and every few seconds of a long one, so that a log stays
// readable with fifty machines.
type terminal struct {
	out     io.Writer
	started time.Time
	mu      sync.Mutex
	last    map[string]shown
}

type shown struct {
	phase string
	at    time.Time
}

// progressEvery is how often a phase that goes on is mentioned again.
const progressEvery = 5 * time.Second

func newTerminal(out io.Writer) *terminal {
	return &terminal{out: out, started: time.Now(), last: map[string]shown{}}
}

func (t *terminal) progress(machine, text string) {
	phase, _, _ := strings.Cut(text, "]")
	t.mu.Lock()
	last := t.last[machine]
	quiet := last.phase == phase && time.Since(last.at) < progressEvery
	if !quiet {
		t.last[machine] = shown{phase, time.Now()}
	}
	t.mu.Unlock()
	if !quiet {
		t.line(machine, text)
	}
}

func (t *terminal) line(machine, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = fmt.Fprintf(t.out, "%6.1fs  %-12s %s\n", time.Since(t.started).Seconds(), machine, text)
}
