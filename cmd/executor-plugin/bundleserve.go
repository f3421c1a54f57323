package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	bundleserver "argosy.dev/argosy/pkg/bundle/serve"
	"argosy.dev/argosy/pkg/errclass"
)

// bundleServer has the flags of "bundle serve".
type bundleServer struct {
	folder    string
	listen    string
	certFile  string
	keyFile   string
	apiServer string
	caFile    string
}

func bundleCommand() *cobra.Command {
	command := &cobra.Command{Use: "bundle", Short: "Serve node bundles"}
	command.AddCommand(bundleServeCommand())
	return command
}

func bundleServeCommand() *cobra.Command {
	var s bundleServer
	command := &cobra.Command{
		Use:   "serve",
		Short: "Serve the node bundles of the full image to machines (in the control plane's pod)",
		Long: `Serves https://<listen>/<version>/kubernetes-<version>-<arch>.tar.gz and /<version>/SHA256SUMS out of a
folder. A client shows a token; the API server is asked with that token whether it may read the
ConfigMap kubeadm-config, as bootstrap tokens and administrators may. The certificate is read again when
its files change.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if s.certFile == "" || s.keyFile == "" || s.caFile == "" {
				return program.UsageErrorf("flags --tls-cert, --tls-key and --ca are required: bundles are served " +
					"only over TLS")
			}
			return s.run(command.Context(), slog.New(slog.NewJSONHandler(command.ErrOrStderr(), nil)))
		},
	}
	flags := command.Flags()
	flags.StringVar(&s.folder, "folder", "/kubernetes", "folder with the bundles")
	flags.StringVar(&s.listen, "listen", ":8444", "address to listen on")
	flags.StringVar(&s.certFile, "tls-cert", "", "file with the serving certificate, PEM")
	flags.StringVar(&s.keyFile, "tls-key", "", "file with its key, PEM")
	flags.StringVar(&s.apiServer, "api-server", "https://127.0.0.1:6443", "the cluster's API server")
	flags.StringVar(&s.caFile, "ca", "", "file with the authority of the API server's certificate, PEM")
	return command
}

func (s bundleServer) run(ctx context.Context, log *slog.Logger) error {
	authorities, err := os.ReadFile(s.caFile)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "reading the API server's certificate authority: %w", err)
	}
	authorizer, err := bundleserver.NewAPIServer(s.apiServer, authorities)
	if err != nil {
		return err
	}
	certificate, err := bundleserver.LoadCertificate(s.certFile, s.keyFile, log)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("listening on %q: %w", s.listen, err)
	}
	return bundleserver.Run(ctx, listener, bundleserver.New(s.folder, authorizer, log), certificate, log)
}
