package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// ReleaseFolder returns a folder with a folder named after this machine's architecture, and in that all programs of a
// hosted control plane and of its machines: the content of a node bundle, kube-apiserver, kube-controller-manager,
// kube-scheduler, etcd, etcdctl, etcdutl, kine and konnectivity-server.
func (b *Builder) ReleaseFolder(ctx context.Context, version string) (string, error) {
	files, err := b.bundleFiles(ctx, version)
	if err != nil {
		return "", err
	}
	kubernetes := func(ctx context.Context) (string, error) { return b.Kubernetes(ctx, version) }
	etcd := func(ctx context.Context) (string, error) { return b.buildEtcd(ctx, version) }
	for _, part := range []struct {
		build    func(context.Context) (string, error)
		programs []string
	}{
		{kubernetes, []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}},
		{etcd, []string{"etcd", "etcdctl", "etcdutl"}},
		{b.buildKine, []string{"kine"}},
		{b.buildKonnectivity, []string{"konnectivity-server"}},
	} {
		folder, err := part.build(ctx)
		if err != nil {
			return "", err
		}
		for _, program := range part.programs {
			files = append(files, bundleFile{Path: program, Source: filepath.Join(folder, program)})
		}
	}
	return b.makeReleaseFolder(ctx, version, files)
}

func (b *Builder) makeReleaseFolder(ctx context.Context, version string, files []bundleFile) (string, error) {
	slices.SortFunc(files, func(a, b bundleFile) int { return strings.Compare(a.Path, b.Path) })
	inputs, err := json.Marshal(struct {
		Revision      int
		Version, Arch string
		Files         []bundleFile
	}{revision, version, runtime.GOARCH, files})
	if err != nil {
		return "", fmt.Errorf("writing the inputs of release %q: %w", version, err)
	}
	entry := filepath.Join("releases", version+"-"+digest(inputs)[:16])
	return b.ensure(ctx, entry, "release "+version, func(folder string, _ *progress) error {
		for _, file := range files {
			if err := placeFile(file, filepath.Join(folder, runtime.GOARCH, file.Path)); err != nil {
				return err
			}
		}
		return nil
	})
}

// placeFile links files on disk: both names are in the cache, where nothing changes, and the programs are large.
func placeFile(file bundleFile, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the folder of %q: %w", path, err)
	}
	if file.Source != "" {
		if err := os.Link(file.Source, path); err != nil {
			return fmt.Errorf("placing %q: %w", path, err)
		}
		return nil
	}
	if err := os.WriteFile(path, []byte(file.Text), 0o644); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}
