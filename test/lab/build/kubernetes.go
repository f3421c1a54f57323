package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Kubernetes returns the folder with kubeadm, kubelet, kubectl, kube-apiserver, kube-controller-manager, kube-scheduler
// and kube-proxy of the version, "v1.34.4". Each minor version has a module of its own, which fixes the patch version.
func (b *Builder) Kubernetes(ctx context.Context, version string) (string, error) {
	r, err := b.kubernetesRecipe(ctx, version)
	if err != nil {
		return "", err
	}
	return b.programs(ctx, r, nil)
}

func (b *Builder) kubernetesRecipe(ctx context.Context, version string) (recipe, error) {
	major, minor, err := minorVersion(version)
	if err != nil {
		return recipe{}, err
	}
	module := fmt.Sprintf("kubernetes-%s.%s", major, minor)
	if _, err := os.Stat(filepath.Join(b.Source, "modules", module)); err != nil {
		return recipe{}, fmt.Errorf("choosing a module for Kubernetes %q: %w", version, err)
	}
	there, err := b.required(ctx, module, "k8s.io/kubernetes")
	if err != nil {
		return recipe{}, err
	}
	if there != version {
		return recipe{}, fmt.Errorf("choosing a module for Kubernetes %q: module %q builds %s", version, module, there)
	}
	r := recipe{
		Component: "kubernetes",
		Module:    module,
		Version:   version,
		Programs:  map[string]string{},
		Tags:      kubernetesTags(),
		LinkFlags: kubernetesVersionFlags(version, major, minor),
		Versions: []versionCheck{
			{Call: []string{"kubelet", "--version"}, Holds: "Kubernetes " + version},
			{Call: []string{"kube-apiserver", "--version"}, Holds: "Kubernetes " + version},
			{Call: []string{"kubeadm", "version", "--output=short"}, Holds: version},
			{Call: []string{"kubectl", "version", "--client"}, Holds: version},
		},
	}
	for _, name := range []string{
		"kubeadm", "kubelet", "kubectl", "kube-apiserver", "kube-controller-manager",
		"kube-scheduler", "kube-proxy",
	} {
		r.Programs[name] = "k8s.io/kubernetes/cmd/" + name
		r.Official = append(r.Official, name)
	}
	return r, nil
}

// kubernetesTags are those of Kubernetes' own releases that make its programs smaller. Programs that share its
// libraries need the same tags, or they are compiled once more.
func kubernetesTags() []string { return []string{"grpcnotrace", "notest"} }

// kubernetesVersionFlags set the version that the programs report. kubeadm and the API server compare these with each
// other, so a build without them does not work. The date is fixed, to make equal builds equal.
func kubernetesVersionFlags(version, major, minor string) []string {
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, value := range []string{
			"gitVersion=" + version, "gitMajor=" + major, "gitMinor=" + minor,
			"gitTreeState=clean", "gitCommit=", "buildDate=1970-01-01T00:00:00Z",
		} {
			flags = append(flags, "-X", pkg+"."+value)
		}
	}
	return flags
}

// minorVersion takes "v1.34.4" apart into "1" and "34".
func minorVersion(version string) (major, minor string, err error) {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) != 3 || !strings.HasPrefix(version, "v") {
		return "", "", fmt.Errorf("reading version %q: it is not like v1.34.4", version)
	}
	return parts[0], parts[1], nil
}
