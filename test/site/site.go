// Package site installs Argosy on the lab as users do: the plugin's image, install/ in a namespace, and the documents
// and Secrets of cluster team-a. The demo, the end-to-end tests and the benchmarks share it.
package site

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/test/lab"
)

const (
	// TeamA is the cluster of the examples, and its namespace.
	TeamA = "team-a"
	// Version is that of the lab's control planes and machines.
	Version = lab.Version
)

// Site is the lab with Argosy installed on its host cluster.
type Site struct {
	Lab    *lab.Lab
	Source string
}

// New finds the checkout of the working directory.
func New(l *lab.Lab) (*Site, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("asking go for the checkout: %w", err)
	}
	return &Site{Lab: l, Source: filepath.Dir(strings.TrimSpace(string(out)))}, nil
}

// Deploy installs Argosy of this checkout with the documents and Secrets of team-a; doing it again is cheap.
func (s *Site) Deploy(ctx context.Context) error {
	if err := s.DeployPlugin(ctx); err != nil {
		return err
	}
	if err := s.Apply(ctx, []any{object("v1", "Namespace", TeamA, nil)}); err != nil {
		return err
	}
	if err := s.applyFolder(ctx, "install", "-n", TeamA); err != nil {
		return err
	}
	documents, err := s.Documents(Overrides{})
	if err != nil {
		return err
	}
	return s.Apply(ctx, documents)
}

// PluginBinary is the path of the executor-plugin that `make build` made.
func (s *Site) PluginBinary() string { return filepath.Join(s.Source, "bin", "executor-plugin") }

// loadPlugin puts the image that `make image` wrote on the host machine.
func (s *Site) loadPlugin(ctx context.Context) error {
	if err := s.Lab.LoadImage(ctx, "host", filepath.Join(s.Source, "bin", "executor-plugin.tar")); err != nil {
		return fmt.Errorf("loading the plugin's image: %w", err)
	}
	return s.pushPlugin(ctx)
}

// pushPlugin puts the plugin's image into the lab's registry as well, where the control planes' pods get it from. The
// host machine, which has pulled an older one of that name, gets the name too.
func (s *Site) pushPlugin(ctx context.Context) error {
	const tag = "argosy-dev/executor-plugin:v0.1.0"
	image, err := tarball.ImageFromPath(filepath.Join(s.Source, "bin", "executor-plugin.tar"), nil)
	if err != nil {
		return fmt.Errorf("reading the plugin's image: %w", err)
	}
	reference, err := name.ParseReference(strings.Join([]string{lab.RegistryAddress, tag}, "/"), name.Insecure)
	if err != nil {
		return fmt.Errorf("naming the plugin's image: %w", err)
	}
	if err := remote.Write(reference, image, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("pushing the plugin's image: %w", err)
	}
	if _, err := s.Lab.Exec(ctx, "host", "ctr", "--namespace", "k8s.io", "images", "tag", "--force", "ghcr.io/"+tag,
		reference.Name()); err != nil {
		return fmt.Errorf("naming the plugin's image on the host machine: %w", err)
	}
	return nil
}

// DeployPlugin gives the lab the plugin's image and lets Argo use plugins. Hosted clusters need no more of the site.
func (s *Site) DeployPlugin(ctx context.Context) error {
	if err := s.loadPlugin(ctx); err != nil {
		return err
	}
	return s.applyFolder(ctx, filepath.Join("install", "argo"))
}

// applyFolder applies a folder of the checkout, as README tells users to.
func (s *Site) applyFolder(ctx context.Context, folder string, options ...string) error {
	args := append([]string{"apply", "-k", filepath.Join(s.Source, folder)}, options...)
	if _, err := s.HostKubectl(ctx, args...); err != nil {
		return fmt.Errorf("installing Argosy: %w", err)
	}
	return nil
}

// HostKubectl runs kubectl against the host cluster.
func (s *Site) HostKubectl(ctx context.Context, args ...string) (string, error) {
	return s.run(ctx, nil, "kubectl", args...)
}

// Argosy runs the argosy that `make build` made, against the host cluster.
func (s *Site) Argosy(ctx context.Context, args ...string) (string, error) {
	return s.run(ctx, nil, filepath.Join(s.Source, "bin", "argosy"), args...)
}

func (s *Site) run(ctx context.Context, stdin []byte, program string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, s.tool(program), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+s.Lab.KubeconfigPath("host"))
	command.Stdin = strings.NewReader(string(stdin))
	out, err := command.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("running %s %s: %w\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (s *Site) tool(program string) string {
	if filepath.IsAbs(program) {
		return program
	}
	return filepath.Join(s.Lab.BinDir(), program)
}

// Apply sets objects on the host cluster, in the site's namespace where they have none.
func (s *Site) Apply(ctx context.Context, objects []any) error {
	return s.ApplyIn(ctx, TeamA, objects)
}

// ApplyIn is Apply for another namespace.
func (s *Site) ApplyIn(ctx context.Context, namespace string, objects []any) error {
	list, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
	if err != nil {
		return fmt.Errorf("encoding objects: %w", err)
	}
	if _, err := s.run(ctx, list, "kubectl", "apply", "-n", namespace, "--server-side", "--force-conflicts",
		"-f", "-"); err != nil {
		return fmt.Errorf("applying objects: %w", err)
	}
	return nil
}

func object(apiVersion, kind, name string, fields map[string]any) map[string]any {
	made := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name}}
	for key, value := range fields {
		made[key] = value
	}
	return made
}

// toYAML encodes our own maps, which always can be.
func toYAML(value any) (string, error) {
	encoded, err := yaml.Marshal(value)
	return string(encoded), err
}
