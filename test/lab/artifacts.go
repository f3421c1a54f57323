package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"argosy.dev/argosy/test/lab/build"
)

const (
	// Version is the Kubernetes version of the lab's clusters.
	Version = "v1.34.4"
	// OlderVersion is the neighbour below it, for bundles.
	OlderVersion = "v1.33.13"
)

// artifacts are the folders and archives that the clusters are made from.
type artifacts struct {
	kubernetes, containerd, runc, cni, argo string
	// pause is the reference of the image that holds a pod's namespaces.
	pause string
	// images are the archives that a control plane needs, argoImages Argo's.
	images, argoImages []string
	// published are for the registry, hostImages for the host machine as well.
	published, hostImages []string
}

func (l *Lab) builder() (*build.Builder, error) {
	builder, err := build.New(filepath.Join(l.source, "test", "lab", "build"), l.log)
	if err != nil {
		return nil, fmt.Errorf("opening the builder: %w", err)
	}
	return builder, nil
}

// Build makes everything that the lab runs and the bundles of both versions, or
// finds them in the cache.
func (l *Lab) Build(ctx context.Context) error {
	if err := l.ensurePackages(ctx); err != nil {
		return err
	}
	if _, err := l.artifacts(ctx); err != nil {
		return err
	}
	builder, err := l.builder()
	if err != nil {
		return err
	}
	for _, version := range []string{Version, OlderVersion} {
		if _, err := builder.Bundle(ctx, version); err != nil {
			return fmt.Errorf("making the bundle of %s: %w", version, err)
		}
	}
	return nil
}

func (l *Lab) artifacts(ctx context.Context) (artifacts, error) {
	builder, err := l.builder()
	if err != nil {
		return artifacts{}, err
	}
	var a artifacts
	for _, part := range []struct {
		name string
		into *string
		make func(context.Context) (string, error)
	}{
		{"Kubernetes " + Version, &a.kubernetes, func(ctx context.Context) (string, error) { return builder.Kubernetes(ctx, Version) }},
		{"containerd", &a.containerd, builder.Containerd},
		{"runc", &a.runc, builder.Runc},
		{"CNI plugins", &a.cni, builder.CNI},
		{"Argo", &a.argo, builder.Argo},
	} {
		if *part.into, err = part.make(ctx); err != nil {
			return artifacts{}, fmt.Errorf("building %s: %w", part.name, err)
		}
	}
	if a.images, err = builder.ControlPlaneImages(ctx, Version); err != nil {
		return artifacts{}, fmt.Errorf("making control plane images: %w", err)
	}
	if a.argoImages, err = builder.ArgoImages(ctx); err != nil {
		return artifacts{}, fmt.Errorf("making Argo's images: %w", err)
	}
	a.pause, err = pauseReference(ctx, a.kubernetes)
	return a, err
}

// pauseReference asks kubeadm, so that kubelet and containerd agree with it.
func pauseReference(ctx context.Context, kubernetes string) (string, error) {
	out, err := run(ctx, filepath.Join(kubernetes, "kubeadm"), "config", "images", "list", "--kubernetes-version="+Version)
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
		"/opt/lab/kubernetes": a.kubernetes,
		"/opt/lab/containerd": a.containerd,
		"/opt/lab/runc":       a.runc,
		"/opt/cni/bin":        a.cni,
	}
	for i, image := range append(a.images[:len(a.images):len(a.images)], a.argoImages...) {
		binds["/opt/lab/images/"+strconv.Itoa(i)+".tar"] = image
	}
	return binds
}

// linkPrograms fills BinDir with the programs that people and tests call.
func (l *Lab) linkPrograms(a artifacts) error {
	if err := os.MkdirAll(l.BinDir(), 0o755); err != nil {
		return fmt.Errorf("making folder %q: %w", l.BinDir(), err)
	}
	for name, folder := range map[string]string{"argo": a.argo, "kubectl": a.kubernetes, "kubeadm": a.kubernetes} {
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
