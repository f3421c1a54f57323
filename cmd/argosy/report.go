package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/offload"
	"argosy.dev/argosy/internal/report"
)

// reportRequest has the flags of "report".
type reportRequest struct {
	location clusterFlags
	workflow string
	file     string
	output   *outputFormat
}

func reportCommand() *cobra.Command {
	var request reportRequest
	command := &cobra.Command{
		Use:   "report [WORKFLOW]",
		Short: "Write a report of a workflow's run: when each machine was in which phase, changes, failures, versions",
		Long: `Reads a Workflow of the host cluster and the reports of its steps, and writes one page of HTML that
opens offline, or the same as JSON. With --file it reads a Workflow, or the JSON of a report, from a file;
"-" is standard input, and gzip is recognized.`,
		Example: `  argosy report join-x7k2p --namespace team-a > report.html
  argosy report join-x7k2p --namespace team-a --output json > report.json
  argosy report --file report.json > report.html`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) > 0 {
				request.workflow = args[0]
			}
			if err := request.check(); err != nil {
				return err
			}
			made, err := request.make(command.Context(), command.InOrStdin())
			if err != nil {
				return err
			}
			if request.output.chosen == "json" {
				return made.JSON(command.OutOrStdout())
			}
			return made.HTML(command.OutOrStdout())
		},
	}
	flags := command.Flags()
	flags.StringVarP(&request.location.namespace, "namespace", "n", "", "namespace of the workflow")
	flags.StringVar(&request.location.kubeconfig, "kubeconfig", "", kubeconfigUsage)
	flags.StringVarP(&request.file, "file", "f", "", "file with a Workflow or the JSON of a report, instead of the "+
		"host cluster")
	request.output = outputFlag(command, "html", "json")
	return command
}

func (r *reportRequest) check() error {
	switch {
	case r.file != "" && r.workflow != "":
		return program.UsageErrorf("flag --file and the argument WORKFLOW exclude each other")
	case r.file == "" && r.workflow == "":
		return program.UsageErrorf("the argument WORKFLOW or flag --file is required")
	case r.file == "" && r.location.namespace == "":
		return program.UsageErrorf("flag --namespace is required: the namespace of the workflow")
	}
	return nil
}

// make makes the report, from the file or the host cluster.
func (r *reportRequest) make(ctx context.Context, stdin io.Reader) (*report.Report, error) {
	if r.file != "" {
		return reportOfFile(r.file, stdin)
	}
	restConfig, err := r.location.rest()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return nil, fmt.Errorf("making a client for the host cluster %q: %w", restConfig.Host, err)
	}
	argo, err := versioned.NewForConfig(restConfig)
	if err != nil {
		return nil, fmt.Errorf("making a client for the host cluster %q: %w", restConfig.Host, err)
	}
	return reportOf(ctx, argo, client, r.location.namespace, r.workflow)
}

// reportOf makes the report of a workflow in the host cluster.
func reportOf(ctx context.Context, argo versioned.Interface, client kubernetes.Interface, namespace,
	name string,
) (*report.Report, error) {
	workflow, err := argo.ArgoprojV1alpha1().Workflows(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading workflow %q of namespace %q: %w", name, namespace, err)
	}
	store := offload.Store{Client: client}
	owner := offload.Owner{Name: name, Namespace: namespace, UID: string(workflow.UID)}
	return report.Of(workflow, func(configMap string) (members []report.Member, err error) {
		err = store.Read(ctx, owner, configMap, &members)
		return members, err
	}), nil
}

// reportOfFile makes the report of a Workflow in a file, whose groups stay groups, or reads a report.
func reportOfFile(name string, stdin io.Reader) (*report.Report, error) {
	text, err := readFile(name, stdin)
	if err != nil {
		return nil, err
	}
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(text, &kind); err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	if kind.Kind != "Workflow" {
		made, err := report.Read(text)
		if err != nil {
			return nil, fmt.Errorf("reading %q, which is no Workflow: %w", name, err)
		}
		return made, nil
	}
	var workflow wfv1.Workflow
	if text, err = yaml.YAMLToJSON(text); err == nil {
		err = json.Unmarshal(text, &workflow)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Workflow in %q: %w", name, err)
	}
	return report.Of(&workflow, func(string) ([]report.Member, error) {
		return nil, fmt.Errorf("a file holds no ConfigMaps; name the workflow and its namespace instead")
	}), nil
}

// maxReportFile bounds a file once it is unpacked, in bytes.
const maxReportFile = 128 << 20

func readFile(name string, stdin io.Reader) ([]byte, error) {
	text, err := []byte(nil), error(nil)
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(stdin, maxReportFile))
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil || !bytes.HasPrefix(text, []byte{0x1f, 0x8b}) {
		return text, err
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("decompressing %q: %w", name, err)
	}
	text, err = io.ReadAll(io.LimitReader(unpacked, maxReportFile))
	if err != nil {
		return nil, fmt.Errorf("decompressing %q: %w", name, err)
	}
	return text, nil
}
