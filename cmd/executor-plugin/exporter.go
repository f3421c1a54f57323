package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/exporter"
	"argosy.dev/argosy/internal/state"
)

// exporterFlags are those of "exporter".
type exporterFlags struct {
	address    string
	namespace  string
	all        bool
	kubeconfig string
}

func exporterCommand() *cobra.Command {
	var flags exporterFlags
	command := &cobra.Command{
		Use:   "exporter",
		Short: "Serve the states of clusters as metrics of Prometheus, at /metrics",
		Long: `Reads the states that workflows keep (ClusterStates and ConfigMaps argosy-state) at each scrape. Agent
pods live as long as a workflow does; this is a Deployment that Prometheus finds at any time.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if !flags.all && flags.namespace == "" {
				return program.UsageErrorf("flag --namespace or --all-namespaces is required")
			}
			if flags.all {
				flags.namespace = ""
			}
			return runExporter(command.Context(), flags)
		},
	}
	set := command.Flags()
	set.StringVar(&flags.address, "address", ":9402", "address to listen on")
	set.StringVarP(&flags.namespace, "namespace", "n", os.Getenv("POD_NAMESPACE"),
		"namespace of the clusters (default: $POD_NAMESPACE)")
	set.BoolVarP(&flags.all, "all-namespaces", "A", false, "clusters of every namespace; it needs a ClusterRole")
	set.StringVar(&flags.kubeconfig, "kubeconfig", "",
		"kubeconfig of the host cluster, to run outside of a pod (default: the pod's service account)")
	return command
}

func runExporter(ctx context.Context, flags exporterFlags) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	restConfig, err := clientcmd.BuildConfigFromFlags("", flags.kubeconfig)
	if err != nil {
		return fmt.Errorf("reading how to reach the host cluster: %w", err)
	}
	host, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return fmt.Errorf("making a client for the host cluster: %w", err)
	}
	objects, err := dynamic.NewForConfig(restConfig)
	if err != nil {
		return fmt.Errorf("making a client for the host cluster: %w", err)
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(exporter.New(state.NewStore(objects, host), flags.namespace, log)); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	log.Info("serving metrics", "version", version, "address", flags.address, "namespace", flags.namespace)
	return listen(ctx, &http.Server{Addr: flags.address, Handler: mux, ReadHeaderTimeout: 10 * time.Second})
}

// listen serves until ctx ends.
func listen(ctx context.Context, server *http.Server) error {
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving at %q: %w", server.Addr, err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := server.Shutdown(closing)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("ending the server at %q: %w", server.Addr, err)
	}
	return nil
}
