package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"argosy.dev/argosy/cmd/internal/agents"
	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/factory"
	"argosy.dev/argosy/internal/offload"
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/sources"
	"argosy.dev/argosy/internal/state"
	"argosy.dev/argosy/internal/steps"
	"argosy.dev/argosy/internal/traces"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/reset"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/upgrade"
)

func serveCommand() *cobra.Command {
	var options plugin.Options
	var kubeconfig string
	command := &cobra.Command{
		Use:   "serve",
		Short: "Serve Argo's executor-plugin protocol (in the agent pod)",
		Args:  program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			limitMemory("/")
			return serve(command.Context(), options, kubeconfig)
		},
	}
	command.Flags().StringVar(&options.Address, "address", "", "address to listen on (default 127.0.0.1:14500)")
	command.Flags().StringVar(&options.TokenFile, "token-file", "",
		"file with the agent's bearer token (default /var/run/argo/token)")
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "",
		"kubeconfig of the host cluster, to run outside of a pod (default: the pod's service account)")
	return command
}

// allowedSources is the variable with the hosts from which images and bundles may come. It is in the plugin's own
// ConfigMap, beside its image: an author who may write that one has all of the plugin's rights anyway.
const allowedSources = "ARGOSY_ALLOWED_SOURCES"

// stateTimeout bounds the last writes of clusters' states; Argo gives a pod 30 s to end.
const stateTimeout = 5 * time.Second

func serve(ctx context.Context, options plugin.Options, kubeconfig string) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	allowed, err := sources.Parse(os.Getenv(allowedSources))
	if err != nil {
		return fmt.Errorf("reading %s: %w", allowedSources, err)
	}
	// With an empty path this is the pod's service account.
	restConfig, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading how to reach the host cluster: %w", err)
	}
	options.Registry = prometheus.NewRegistry()
	if err := showRequests(options.Registry); err != nil {
		return err
	}
	host, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return fmt.Errorf("making a client for the host cluster: %w", err)
	}
	argo, err := versioned.NewForConfig(restConfig)
	if err != nil {
		return fmt.Errorf("making a client for the host cluster: %w", err)
	}
	pool := ssh.NewPool()
	defer pool.Close()
	tools := factory.Tools{Agent: &agents.Embedded{}, Pool: pool, Sources: allowed}
	objects, err := dynamic.NewForConfig(restConfig)
	if err != nil {
		return fmt.Errorf("making a client for the host cluster: %w", err)
	}
	env := steps.NewEnv(openers(restConfig, host, tools), log)
	env.State = state.NewRecorder(state.NewStore(objects, host), &state.Events{Client: host, Log: log}, log)
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stateTimeout)
		defer cancel()
		env.State.Close(ctx)
	}()
	defer openTraces(ctx, env, log)()
	options.Steps = steps.All(env, workflows{argo}, offload.Store{Client: host})
	options.Argo = argo
	options.Log = log
	options.Release = version
	server, err := plugin.NewServer(options)
	if err != nil {
		return fmt.Errorf("setting up the plugin: %w", err)
	}
	log.Info("serving", "version", version)
	return server.Run(ctx)
}

// openTraces has the steps send spans where the environment names a receiver. Variables that cannot be used are logged,
// and keep no workflow from running. closed sends the rest.
func openTraces(ctx context.Context, env *steps.Env, log *slog.Logger) (closed func()) {
	tracer, err := traces.New(ctx, traces.Program{Name: "argosy-executor-plugin", Version: version})
	if err != nil {
		log.Error("no traces are sent", "error", err.Error())
	}
	env.Traces = tracer
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stateTimeout)
		defer cancel()
		if err := tracer.Close(ctx); err != nil {
			log.Warn("traces were not sent", "error", err.Error())
		}
	}
}

func openers(restConfig *rest.Config, host kubernetes.Interface, tools factory.Tools) steps.Openers {
	return steps.Openers{
		Join: func(ctx context.Context, namespace, cluster string) (*join.Joiner, error) {
			keys := factory.ConfigMapKeys{Client: host, Namespace: namespace}
			return factory.Open(ctx, config.FromAPI(host, namespace), keys, tools, cluster)
		},
		Provision: func(ctx context.Context, namespace, cluster string) (*controlplane.Provisioner, error) {
			return factory.OpenProvisioner(ctx, restConfig, namespace, cluster, program.Image())
		},
		Reset: func(ctx context.Context, namespace, cluster string) (*reset.Resetter, error) {
			keys := factory.ConfigMapKeys{Client: host, Namespace: namespace}
			return factory.OpenReset(ctx, config.FromAPI(host, namespace), keys, tools, cluster)
		},
		Images: func(ctx context.Context, namespace, cluster string) (*images.Importer, error) {
			keys := factory.ConfigMapKeys{Client: host, Namespace: namespace}
			return factory.OpenImages(ctx, config.FromAPI(host, namespace), keys, tools, cluster)
		},
		Upgrade: func(ctx context.Context, namespace, cluster string) (*upgrade.Upgrader, error) {
			keys := factory.ConfigMapKeys{Client: host, Namespace: namespace}
			return factory.OpenUpgrade(ctx, config.FromAPI(host, namespace), keys, tools, cluster, program.Image())
		},
	}
}

// workflows reads Workflows with Argo's client.
type workflows struct{ argo versioned.Interface }

// Workflow returns a Workflow as it is now.
//
//nolint:wrapcheck // Step summary names the Workflow.
func (w workflows) Workflow(ctx context.Context, namespace, name string) (*wfv1.Workflow, error) {
	return w.argo.ArgoprojV1alpha1().Workflows(namespace).Get(ctx, name, metav1.GetOptions{})
}
