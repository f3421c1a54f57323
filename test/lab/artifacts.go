package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/test/lab/build"
)

const (
	// Version is the Kubernetes version of the lab's clusters.
	Version = "v1.37.2"
	// OlderVersion is the neighbour below it, from which clusters are upgraded.
	OlderVersion = "v1.36.5"
)

// Versions are those that the lab can build, one of each supported minor version, oldest first. Those older than
// OlderVersion are built when a test asks for them.
var Versions = []string{"v1.34.12", "v1.35.8", OlderVersion, Version}

// artifacts are the folders and archives that the clusters are made from.
type artifacts struct {
	Kubernetes, Containerd, Runc, CNI, Argo string
	// Pause is the reference of the image that holds a pod's namespaces.
	Pause string
	// Images are the archives that a control plane needs, ArgoImages Argo's.
	Images, ArgoImages []string
	// Bundle is for machines that join team-a; empty where only hosted clusters are wanted.
	Bundle build.Bundle
}

func (a artifacts) paths() []string {
	paths := slices.Concat([]string{a.Kubernetes, a.Containerd, a.Runc, a.CNI, a.Argo}, a.Images, a.ArgoImages)
	if a.Bundle.Path != "" {
		paths = append(paths, a.Bundle.Path)
	}
	return paths
}

func (l *Lab) builder() (*build.Builder, error) {
	builder, err := build.New(filepath.Join(l.source, "test", "lab", "build"), l.log)
	if err != nil {
		return nil, fmt.Errorf("opening the builder: %w", err)
	}
	builder.Official = l.official
	return builder, nil
}

// Build makes everything that the lab and its provisioned clusters of both
// versions run, or finds it in the cache.
func (l *Lab) Build(ctx context.Context) error {
	if err := l.ensurePackages(ctx, "lab"); err != nil {
		return err
	}
	if _, err := l.artifacts(ctx, UpOptions{}); err != nil {
		return err
	}
	for _, version := range []string{Version, OlderVersion} {
		if _, err := l.hostedImages(ctx, version, UpOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// BuildStores makes the etcd and the kine of the newer version alone, which need no Kubernetes: the tests of the
// package store run them beside the lab.
func (l *Lab) BuildStores(ctx context.Context) error {
	builder, err := l.builder()
	if err != nil {
		return err
	}
	if err := builder.Stores(ctx, Version); err != nil {
		return fmt.Errorf("building etcd and kine: %w", err)
	}
	return nil
}

// BuildArgoPages makes the web pages of Argo's UI alone, which the lab itself does not serve.
func (l *Lab) BuildArgoPages(ctx context.Context) error {
	builder, err := l.builder()
	if err != nil {
		return err
	}
	_, err = builder.ArgoPages(ctx)
	return err
}

func (l *Lab) artifacts(ctx context.Context, options UpOptions) (artifacts, error) {
	name := "clusters"
	if options.HostedOnly {
		name = "host-cluster"
	}
	name += "-argo-" + l.argo
	return cached(ctx, l, name, artifacts.paths, func() (artifacts, error) { return l.makeArtifacts(ctx, options) })
}

func (l *Lab) makeArtifacts(ctx context.Context, options UpOptions) (artifacts, error) {
	builder, err := l.builder()
	if err != nil {
		return artifacts{}, err
	}
	var a artifacts
	// Two at a time: while one links, which takes one processor, the other compiles.
	group, parts := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for _, part := range []struct {
		name string
		into *string
		make func(context.Context) (string, error)
	}{
		{"Kubernetes " + Version, &a.Kubernetes, func(ctx context.Context) (string,
			error,
		) {
			return builder.Kubernetes(ctx, Version)
		}},
		{"containerd", &a.Containerd, builder.Containerd},
		{"runc", &a.Runc, builder.Runc},
		{"CNI plugins", &a.CNI, builder.CNI},
		{"Argo " + l.argo, &a.Argo, func(ctx context.Context) (string, error) { return builder.Argo(ctx, l.argo) }},
	} {
		group.Go(func() (err error) {
			if *part.into, err = part.make(parts); err != nil {
				return fmt.Errorf("building %s: %w", part.name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return artifacts{}, err
	}
	if a.Images, err = builder.ControlPlaneImages(ctx, Version); err != nil {
		return artifacts{}, fmt.Errorf("making control plane images: %w", err)
	}
	if a.ArgoImages, err = builder.ArgoImages(ctx, l.argo); err != nil {
		return artifacts{}, fmt.Errorf("making Argo's images: %w", err)
	}
	if !options.HostedOnly {
		if a.Bundle, err = builder.Bundle(ctx, Version); err != nil {
			return artifacts{}, fmt.Errorf("making the bundle of %s: %w", Version, err)
		}
	}
	a.Pause, err = pauseReference(ctx, a.Kubernetes)
	return a, err
}

// pauseReference asks kubeadm, so that kubelet and containerd agree with it.
func pauseReference(ctx context.Context, kubernetes string) (string, error) {
	out, err := run(ctx, filepath.Join(kubernetes, "kubeadm"), "config", "images", "list",
		"--kubernetes-version="+Version)
	if err != nil {
		return "", fmt.Errorf("asking kubeadm for its images: %w", err)
	}
	for _, ref := range strings.Fields(out) {
		if strings.Contains(ref, "/pause:") {
			return ref, nil
		}
	}
	return "", fmt.Errorf("looking for the pause image: kubeadm lists %q", out)
}

// binds are the folders of a cluster machine that are not copied to its disk.
func (a artifacts) binds() map[string]string {
	binds := map[string]string{
		"/opt/lab/kubernetes": a.Kubernetes,
		"/opt/lab/containerd": a.Containerd,
		"/opt/lab/runc":       a.Runc,
		"/opt/cni/bin":        a.CNI,
	}
	for i, image := range append(a.Images[:len(a.Images):len(a.Images)], a.ArgoImages...) {
		binds["/opt/lab/images/"+strconv.Itoa(i)+".tar"] = image
	}
	return binds
}

// linkPrograms fills BinDir with the programs that people and tests call.
func (l *Lab) linkPrograms(a artifacts) error {
	if err := os.MkdirAll(l.BinDir(), 0o755); err != nil {
		return fmt.Errorf("making folder %q: %w", l.BinDir(), err)
	}
	for name, folder := range map[string]string{"argo": a.Argo, "kubectl": a.Kubernetes, "kubeadm": a.Kubernetes} {
		if err := replaceLink(filepath.Join(folder, name), filepath.Join(l.BinDir(), name)); err != nil {
			return err
		}
	}
	return nil
}

func replaceLink(target, path string) error {
	if old, err := os.Readlink(path); err == nil && old == target {
		return nil
	}
	partial := path + ".partial"
	_ = os.Remove(partial)
	if err := os.Symlink(target, partial); err != nil {
		return fmt.Errorf("linking %q: %w", path, err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("naming link %q: %w", path, err)
	}
	return nil
}
