package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/plugins/executor"
)

// pluginProcess is a real executor-plugin, asked as Argo's agent asks it.
type pluginProcess struct {
	command *exec.Cmd
	address string
	token   string
	caller  workflow
	folder  string
}

const benchAddress = "127.0.0.1:14599"

// workflow is the Workflow that calls belong to; the plugin looks at it to see whether they are still wanted.
type workflow struct{ namespace, name, uid string }

// startPlugin starts the plugin beside the lab, for the calls of one Workflow.
func (b *bench) startPlugin(ctx context.Context, caller workflow) (*pluginProcess, error) {
	folder, err := os.MkdirTemp("", "argosy-bench-")
	if err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	p := &pluginProcess{
		address: benchAddress, token: "bench-bench-bench-bench-bench-be", folder: folder,
		caller: caller,
	}
	tokenFile := filepath.Join(folder, "token")
	if err := os.WriteFile(tokenFile, []byte(p.token), 0o600); err != nil {
		return nil, fmt.Errorf("writing a token: %w", err)
	}
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		return nil, fmt.Errorf("making a log: %w", err)
	}
	p.command = exec.CommandContext(ctx, b.site.PluginBinary(), "serve",
		"--kubeconfig", b.site.Lab.KubeconfigPath("host"), "--address", benchAddress, "--token-file", tokenFile)
	p.command.Stderr = log
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("starting the plugin: %w", err)
	}
	return p, nil
}

// makeWorkflow makes a suspended Workflow for calls to belong to.
func (b *bench) makeWorkflow(ctx context.Context, namespace string) (workflow, error) {
	made := workflow{namespace: namespace, name: fmt.Sprintf("bench-%d", time.Now().UnixNano())}
	err := b.site.ApplyIn(ctx, namespace, []any{map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": map[string]any{"name": made.name},
		"spec": map[string]any{
			"suspend": true, "entrypoint": "wait",
			"templates": []any{map[string]any{"name": "wait", "suspend": map[string]any{}}},
		},
	}})
	if err != nil {
		return workflow{}, err
	}
	made.uid, err = b.site.HostKubectl(ctx, "get", "workflow", "-n", namespace, made.name, "-o",
		"jsonpath={.metadata.uid}")
	return made, err
}

func (b *bench) forgetWorkflow(w workflow) {
	_, _ = b.site.HostKubectl(context.Background(), "delete", "workflow", "-n", w.namespace, w.name, "--wait=false")
}

func (b *bench) stopPlugin(p *pluginProcess) {
	// An orderly end would keep answering Argo's agent until the workflow is over.
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
	_ = os.RemoveAll(p.folder)
}

// call runs one step to its end: it asks again when the plugin requests it, as Argo's agent does.
func (p *pluginProcess) call(ctx context.Context, object map[string]string) (*wfv1.NodeResult, error) {
	inner, err := json.Marshal(map[string]any{"argosy": object})
	if err != nil {
		return nil, err
	}
	args := executor.ExecuteTemplateArgs{
		Workflow: &executor.Workflow{ObjectMeta: executor.ObjectMeta{
			Name: p.caller.name, Namespace: p.caller.namespace,
			UID: p.caller.uid,
		}},
		Template: &wfv1.Template{Name: object["step"], Plugin: &wfv1.Plugin{Object: wfv1.Object{Value: inner}}},
	}
	for {
		reply, err := p.post(ctx, args)
		if err != nil {
			return nil, err
		}
		if reply.Node != nil && reply.Node.Phase.Completed() {
			if reply.Node.Phase != wfv1.NodeSucceeded {
				return reply.Node, fmt.Errorf("step %s: %s: %s", object["step"], reply.Node.Phase, reply.Node.Message)
			}
			return reply.Node, nil
		}
		if reply.Requeue == nil {
			return nil, fmt.Errorf("step %s: neither an end nor a time to ask again: %+v", object["step"], reply)
		}
		time.Sleep(reply.Requeue.Duration)
	}
}

func (p *pluginProcess) post(ctx context.Context, args executor.ExecuteTemplateArgs) (*executor.ExecuteTemplateReply,
	error,
) {
	body, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.address+"/api/v1/template.execute",
			bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+p.token)
		response, err := http.DefaultClient.Do(request)
		if err != nil || response.StatusCode == http.StatusServiceUnavailable {
			// The plugin is still starting.
			if response != nil {
				_ = response.Body.Close()
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(20 * time.Millisecond):
				continue
			}
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("reading the plugin's answer: %w", err)
		}
		if response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("asking the plugin: %s: %s", response.Status, text)
		}
		var reply executor.ExecuteTemplateReply
		return &reply, json.Unmarshal(text, &reply)
	}
}
