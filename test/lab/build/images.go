package build

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// ControlPlaneImages returns the archives of the images that a control plane of the version and its pods need:
// kube-apiserver, kube-controller-manager, kube-scheduler, etcd and pause, under the names that kubeadm of that version
// asks for. The etcd image has the lab's etcd, whatever its tag.
func (b *Builder) ControlPlaneImages(ctx context.Context, version string) ([]string, error) {
	kubernetes, err := b.Kubernetes(ctx, version)
	if err != nil {
		return nil, err
	}
	etcd, err := b.buildEtcd(ctx, version)
	if err != nil {
		return nil, err
	}
	refs, err := kubeadmImages(ctx, kubernetes, version)
	if err != nil {
		return nil, err
	}
	pause, _, err := b.pauseImage(ctx, kubernetes, version)
	if err != nil {
		return nil, err
	}
	archives := []string{pause}
	for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"} {
		folder := kubernetes
		spec := ImageSpec{
			Ref: refs[program], Files: map[string]string{},
			Entrypoint: []string{"/usr/local/bin/" + program},
		}
		if program == "etcd" {
			folder = etcd
			spec.Files["/usr/local/bin/etcdctl"] = filepath.Join(etcd, "etcdctl")
		}
		spec.Files["/usr/local/bin/"+program] = filepath.Join(folder, program)
		archive, err := b.Image(ctx, spec)
		if err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

// pauseImage returns the archive of the pause image and its reference, as that kubeadm wants it.
func (b *Builder) pauseImage(ctx context.Context, kubernetes, version string) (archive, ref string, err error) {
	refs, err := kubeadmImages(ctx, kubernetes, version)
	if err != nil {
		return "", "", err
	}
	folder, err := b.pause(ctx)
	if err != nil {
		return "", "", err
	}
	archive, err = b.Image(ctx, ImageSpec{
		Ref:        refs["pause"],
		Files:      map[string]string{"/pause": filepath.Join(folder, "pause")},
		Entrypoint: []string{"/pause"},
		User:       "65535:65535",
	})
	return archive, refs["pause"], err
}

// ArgoImages returns the archives of workflow-controller and argoexec of Argo's version, under the names that Argo's
// own install gives them.
func (b *Builder) ArgoImages(ctx context.Context, version string) ([]string, error) {
	argo, err := b.Argo(ctx, version)
	if err != nil {
		return nil, err
	}
	specs := []ImageSpec{
		{
			Ref:        "quay.io/argoproj/workflow-controller:" + version,
			Files:      map[string]string{"/bin/workflow-controller": filepath.Join(argo, "workflow-controller")},
			Entrypoint: []string{"workflow-controller"},
			User:       "8737",
		},
		{
			Ref:        "quay.io/argoproj/argoexec:" + version,
			Files:      map[string]string{"/bin/argoexec": filepath.Join(argo, "argoexec")},
			Entrypoint: []string{"argoexec"},
		},
	}
	var archives []string
	for _, spec := range specs {
		archive, err := b.Image(ctx, spec)
		if err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

// kubeadmImages asks kubeadm in that folder which images it uses: the last part of the name, the whole reference.
func kubeadmImages(ctx context.Context, folder, version string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(folder, "kubeadm"), "config", "images", "list",
		"--kubernetes-version="+version)
	out, err := cmd.Output()
	if err != nil {
		return nil, &commandError{Folder: folder, Args: cmd.Args, Output: lastLines(string(out), 20), Err: err}
	}
	refs := map[string]string{}
	for _, ref := range strings.Fields(string(out)) {
		repository, _, _ := strings.Cut(ref[strings.LastIndex(ref, "/")+1:], ":")
		refs[repository] = ref
	}
	for _, wanted := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "pause"} {
		if refs[wanted] == "" {
			return nil, fmt.Errorf("asking kubeadm %s for its images: %q is not among %q", version, wanted, out)
		}
	}
	return refs, nil
}
