package steps

import (
	"bytes"
	"cmp"
	"context"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"argosy.dev/argosy/internal/offload"
	"argosy.dev/argosy/internal/plugin"
	runreport "argosy.dev/argosy/internal/report"
	"argosy.dev/argosy/pkg/operation"
)

// Files of a run's report in its ConfigMap, where each has the ending ".gz".
const (
	reportPage = "report.html"
	reportJSON = "report.json"
)

// keepReport keeps the report of a run, whose nodes are decompressed, in a ConfigMap that the workflow owns, and
// returns its name; empty where it could not be kept, which is logged and never fails the summary. A page that has no
// room there is left out.
func (e *Env) keepReport(ctx context.Context, call plugin.Call, workflow *wfv1.Workflow, result string) string {
	if e.records == nil {
		return ""
	}
	log := e.logger(call, call.Input("cluster"))
	files, err := e.reportFiles(ctx, call, workflow, result)
	if err != nil {
		log.Warn("the report of the run was not made", "error", err.Error())
		return ""
	}
	name, err := e.keepFiles(ctx, call, files)
	if err != nil && files[reportPage] != nil {
		log.Warn("the page of the run was not kept", "error", err.Error())
		delete(files, reportPage)
		name, err = e.keepFiles(ctx, call, files)
	}
	if err != nil {
		log.Warn("the report of the run was not kept", "error", err.Error())
		return ""
	}
	log.Info("the report of the run is kept", "configMap", name)
	return name
}

// reportFiles writes the report of a run. The Workflow itself still runs: result is the one of its steps so far.
func (e *Env) reportFiles(ctx context.Context, call plugin.Call, workflow *wfv1.Workflow,
	result string,
) (map[string][]byte, error) {
	made := runreport.Of(workflow, func(configMap string) (members []runreport.Member, err error) {
		err = operation.Retrying(ctx, summaryBudget, operation.NoProgress{}, func(ctx context.Context) error {
			return e.records.Read(ctx, offload.Owner(call.Workflow), configMap, &members)
		})
		return members, err
	})
	made.Result = cmp.Or(result, made.Result)
	var page, text bytes.Buffer
	if err := made.JSON(&text); err != nil {
		return nil, err
	}
	if err := made.HTML(&page); err != nil {
		return nil, err
	}
	return map[string][]byte{reportPage: page.Bytes(), reportJSON: text.Bytes()}, nil
}

func (e *Env) keepFiles(ctx context.Context, call plugin.Call, files map[string][]byte) (name string, err error) {
	err = operation.Retrying(ctx, summaryBudget, operation.NoProgress{}, func(ctx context.Context) (err error) {
		name, err = e.records.WriteFiles(ctx, offload.Owner(call.Workflow), "report", files)
		return err
	})
	return name, err
}
