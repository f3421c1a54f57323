// Command lab brings the lab up and down and shows it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "lab",
		Short:         "Real machines and clusters on this computer, for tests and the demo",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		up(),
		simple("down", "Take the lab away; caches and keys stay", (*lab.Lab).Down),
		buildAll(),
		simple("env", "Print export lines for a shell", func(l *lab.Lab,
			_ context.Context,
		) error {
			return l.PrintEnv(os.Stdout)
		}),
		simple("status", "Show machines, clusters and Argo",
			func(l *lab.Lab, ctx context.Context) error { return l.PrintStatus(ctx, os.Stdout) }),
		reset(), claim(), ssh(), background("supervise MACHINE", lab.Supervise),
		background("run-machine MACHINE", lab.BecomeMachine), background("serve NAME", lab.Serve),
	)
	return root
}

func buildAll() *cobra.Command {
	var stores, argoPages bool
	cmd := simple("build", "Build everything that the lab runs", func(l *lab.Lab, ctx context.Context) error {
		if stores {
			return l.BuildStores(ctx)
		}
		if argoPages {
			return l.BuildArgoPages(ctx)
		}
		return l.Build(ctx)
	})
	cmd.Flags().BoolVar(&stores, "stores", false, "build etcd and kine alone")
	cmd.Flags().BoolVar(&argoPages, "argo-pages", false, "build the web pages of Argo's UI alone, with Node.js and npm")
	return cmd
}

func simple(use, short string, run func(*lab.Lab, context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.OpenFromCommand()
			if err != nil {
				return err
			}
			return run(l, cmd.Context())
		},
	}
}

func up() *cobra.Command {
	var options lab.UpOptions
	cmd := simple("up", "Bring the lab up, or repair it", func(l *lab.Lab, ctx context.Context) error {
		return l.UpWith(ctx, options)
	})
	cmd.Flags().BoolVar(&options.HostedOnly, "hosted-only", false,
		"without the parts that no hosted cluster needs, such as the control plane team-a")
	return cmd
}

func reset() *cobra.Command {
	bare := false
	cmd := &cobra.Command{
		Use: "reset MACHINE...", Short: "Make machines clean again", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.OpenFromCommand()
			if err != nil {
				return err
			}
			return l.ResetAs(cmd.Context(), lab.ResetOptions{WithoutPodNetwork: bare}, args...)
		},
	}
	cmd.Flags().BoolVar(&bare, "bare", false, "without a pod network, for clusters that bring their own")
	return cmd
}

func claim() *cobra.Command {
	return &cobra.Command{
		Use: "claim USER COMMAND...", Short: "Run a command while nothing else that claims the lab works on it",
		Args: cobra.MinimumNArgs(2), DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.OpenFromCommand()
			if err != nil {
				return err
			}
			return l.RunClaimed(cmd.Context(), args[0], args[1:]...)
		},
	}
}

func ssh() *cobra.Command {
	return &cobra.Command{
		Use: "ssh MACHINE [COMMAND...]", Short: "Log in to a machine as its user", Args: cobra.MinimumNArgs(1),
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := lab.OpenFromCommand()
			if err != nil {
				return err
			}
			argv, err := l.SSHArgv(args[0])
			if err != nil {
				return err
			}
			path, err := exec.LookPath(argv[0])
			if err != nil {
				return fmt.Errorf("finding OpenSSH: %w", err)
			}
			return syscall.Exec(path, append(argv, args[1:]...), os.Environ())
		},
	}
}

// background is a command that only the lab itself runs.
func background(use string, run func(stateDir, name string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			state, err := givenState()
			if err != nil {
				return err
			}
			return run(state, args[0])
		},
	}
}

func givenState() (string, error) {
	state := os.Getenv("ARGOSY_LAB_DIR")
	if state == "" {
		return "", errors.New("ARGOSY_LAB_DIR is not set: this command is for the lab itself")
	}
	return state, nil
}
