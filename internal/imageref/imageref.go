// Package imageref reads the names of container images as containerd, the kubelet and docker read them: a name
// without a registry is Docker Hub's, one without a tag or digest has the tag "latest".
package imageref

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// DockerHub is Docker Hub's name in images; its server has another one.
const DockerHub = "docker.io"

// Normalize returns an image's name as containerd stores it: with registry, repository, and one of tag and digest. Of a
// name that has both only the digest counts.
//
//	alpine                                     docker.io/library/alpine:latest
//	team/app:v1                                docker.io/team/app:v1
//	registry.example.com:5000/app              registry.example.com:5000/app:latest
//	registry.k8s.io/pause:3.10@sha256:7c38…    registry.k8s.io/pause@sha256:7c38…
func Normalize(image string) (string, error) {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return "", fmt.Errorf("reading image name %q: %w", image, err)
	}
	return named.String(), nil
}

// Tag returns the tag in an image's name; "" when there is none, or when it is not the name of an image.
func Tag(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	if tagged, ok := named.(reference.Tagged); ok {
		return tagged.Tag()
	}
	return ""
}

// InRegistry replaces an image's registry, also the one that is not written, and keeps tag and digest. The registry may
// carry a path. A text that is not the name of an image comes back unchanged.
//
//	ghcr.io/flannel-io/flannel:v0.26.7    registry.example.com/flannel-io/flannel:v0.26.7
//	coredns/coredns:1.12.1                registry.example.com/coredns/coredns:1.12.1
//	busybox                               registry.example.com/library/busybox
func InRegistry(image, registry string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	return strings.TrimSuffix(registry, "/") + strings.TrimPrefix(named.String(), reference.Domain(named))
}
