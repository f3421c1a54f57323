package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"argosy.dev/argosy/test/lab/build"
)

//go:embed manifests/argo.yaml
var argoManifest string

//go:embed manifests/proof.yaml
var proofWorkflow string

// argoImages are the names that the builder gives to Argo's images.
type argoImages struct{ Controller, Executor string }

func argoImagesOf(version string) argoImages {
	return argoImages{
		Controller: "quay.io/argoproj/workflow-controller:" + version,
		Executor:   "quay.io/argoproj/argoexec:" + version,
	}
}

// defaultArgo is the version of Argo Workflows in a lab that is not told another one.
const defaultArgo = "v4.1.4"

// ArgoVersion returns the version of Argo that $ARGOSY_LAB_ARGO asks for, as "4.1", "4.1.4" or "v4.1.4".
func ArgoVersion() (string, error) {
	wanted := os.Getenv("ARGOSY_LAB_ARGO")
	if wanted == "" {
		return defaultArgo, nil
	}
	prefix := "v" + strings.TrimPrefix(wanted, "v")
	for _, version := range build.ArgoVersions() {
		if version == prefix || strings.HasPrefix(version, prefix+".") {
			return version, nil
		}
	}
	return "", fmt.Errorf("reading ARGOSY_LAB_ARGO %q: the lab can build Argo %s", wanted,
		strings.Join(build.ArgoVersions(), " and "))
}

// ensureArgo installs Argo in the host cluster or finds it running. After an
// install it runs a workflow to its end.
func (l *Lab) ensureArgo(ctx context.Context, a artifacts) error {
	if l.argoReady(ctx) {
		return nil
	}
	start := time.Now()
	images := argoImagesOf(l.argo)
	if err := l.ensureArgoTypes(ctx, filepath.Join(a.Argo, "crds")); err != nil {
		return err
	}
	if err := l.applyTemplate(ctx, "argo.yaml", argoManifest, images); err != nil {
		return fmt.Errorf("installing Argo: %w", err)
	}
	if _, err := l.Kubectl(ctx, "host", "--namespace", "argo", "rollout", "status", "deployment/workflow-controller",
		"--timeout="+waitLimit.String()); err != nil {
		return fmt.Errorf("waiting for Argo: %w", err)
	}
	if err := l.proveArgo(ctx, images); err != nil {
		return err
	}
	l.logf("Argo %s installed and shown to run a workflow in %.1fs", l.argo, time.Since(start).Seconds())
	return nil
}

// ensureArgoTypes installs Argo's resource definitions and waits until the API
// server serves them.
func (l *Lab) ensureArgoTypes(ctx context.Context, folder string) error {
	install := []string{"apply", "--server-side", "--force-conflicts", "--filename", folder}
	if _, err := l.Kubectl(ctx, "host", "get", "crd", "workflows.argoproj.io", "--output", "name"); err != nil {
		// They are megabytes, and creating costs half of applying.
		install = []string{"create", "--validate=false", "--filename", folder}
	}
	if _, err := l.Kubectl(ctx, "host", install...); err != nil {
		return fmt.Errorf("installing Argo's resource definitions: %w", err)
	}
	return l.await(ctx, "Argo's resource definitions", func(ctx context.Context) error {
		served, err := l.Kubectl(ctx, "host", "get", "--raw", "/apis/argoproj.io/v1alpha1")
		if err != nil {
			return err
		}
		wanted := []string{"workflows", "workflowtasksets/status", "workflowtemplates", "cronworkflows"}
		for _, resource := range wanted {
			if !strings.Contains(served, `"`+resource+`"`) {
				return fmt.Errorf("the API server does not serve %s yet", resource)
			}
		}
		return nil
	}, nil)
}

// argoReady reports whether the lab's version of Argo runs and was shown to work.
func (l *Lab) argoReady(ctx context.Context) bool {
	out, err := l.Kubectl(ctx, "host", "--namespace", "argo", "get", "deployment", "workflow-controller",
		"--output", `jsonpath={.status.readyReplicas} {.metadata.annotations.argosy\.dev/proved}`)
	return err == nil && out == "1 "+l.argo
}

// proveArgo runs a workflow to Succeeded and notes on the deployment that it did.
func (l *Lab) proveArgo(ctx context.Context, images argoImages) error {
	text, err := render("proof.yaml", proofWorkflow, images)
	if err != nil {
		return err
	}
	kubectl := []string{
		filepath.Join(l.BinDir(), "kubectl"), "--kubeconfig", l.KubeconfigPath("host"), "--namespace",
		"argo",
	}
	name, err := runInput(ctx, strings.NewReader(text), append(kubectl, "create", "--validate=false", "--filename", "-",
		"--output", "jsonpath={.metadata.name}")...)
	if err != nil {
		return fmt.Errorf("submitting the workflow that proves Argo: %w", err)
	}
	if err := l.waitForProof(ctx, name); err != nil {
		return err
	}
	_, err = l.Kubectl(ctx, "host", "--namespace", "argo", "delete", "workflow", name, "--wait=false")
	_, noteErr := l.Kubectl(ctx, "host", "--namespace", "argo", "annotate", "--overwrite", "deployment",
		"workflow-controller", "argosy.dev/proved="+l.argo)
	if err := errors.Join(err, noteErr); err != nil {
		return fmt.Errorf("noting that Argo is proved: %w", err)
	}
	return nil
}

// waitForProof waits until the workflow has succeeded; one that ended otherwise is an error at once.
func (l *Lab) waitForProof(ctx context.Context, name string) error {
	var phase, message string
	return l.await(ctx, fmt.Sprintf("workflow %q, which proves Argo", name), func(ctx context.Context) error {
		out, err := l.Kubectl(ctx, "host", "--namespace", "argo", "get", "workflow", name, "--output",
			"jsonpath={.status.phase}|{.status.message}")
		if err != nil {
			return fmt.Errorf("watching workflow %q: %w", name, err)
		}
		phase, message, _ = strings.Cut(out, "|")
		if phase != "Succeeded" {
			err = fmt.Errorf("it is %q: %s", phase, message)
		}
		return err
	}, func() error {
		if phase == "Failed" || phase == "Error" {
			return fmt.Errorf("it ended as %s: %s", phase, message)
		}
		return nil
	})
}

func (l *Lab) applyTemplate(ctx context.Context, name, text string, data any) error {
	filled, err := render(name, text, data)
	if err != nil {
		return err
	}
	return l.apply(ctx, name, filled)
}

// apply sets the objects of a manifest on the host cluster.
func (l *Lab) apply(ctx context.Context, name, manifest string) error {
	_, err := runInput(ctx, strings.NewReader(manifest), filepath.Join(l.BinDir(), "kubectl"), "--kubeconfig",
		l.KubeconfigPath("host"),
		"apply", "--server-side", "--force-conflicts", "--validate=false", "--filename", "-")
	if err != nil {
		return fmt.Errorf("applying %q: %w", name, err)
	}
	return nil
}
