package imageref_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/imageref"
)

// digest is one that an image may have.
var digest = "sha256:" + strings.Repeat("0a", 32)

func TestNamesAreReadAsContainerdReadsThem(t *testing.T) {
	const mirror = "mirror.example.com:5000/all"
	for image, want := range map[string]struct{ normal, tag, mirrored string }{
		"alpine":      {"docker.io/library/alpine:latest", "", mirror + "/library/alpine"},
		"alpine:3.20": {"docker.io/library/alpine:3.20", "3.20", mirror + "/library/alpine:3.20"},
		"team/app:v1": {"docker.io/team/app:v1", "v1", mirror + "/team/app:v1"},
		"alpine@" + digest: {
			"docker.io/library/alpine@" + digest, "", mirror + "/library/alpine@" + digest,
		},
		"docker.io/alpine":         {"docker.io/library/alpine:latest", "", mirror + "/library/alpine"},
		"docker.io/library/alpine": {"docker.io/library/alpine:latest", "", mirror + "/library/alpine"},
		"docker.io/team/app":       {"docker.io/team/app:latest", "", mirror + "/team/app"},
		"index.docker.io/team/app": {"docker.io/team/app:latest", "", mirror + "/team/app"},
		"localhost/x":              {"localhost/x:latest", "", mirror + "/x"},
		"localhost:5000/a/x:1":     {"localhost:5000/a/x:1", "1", mirror + "/a/x:1"},
		"localhost:5000":           {"docker.io/library/localhost:5000", "5000", mirror + "/library/localhost:5000"},
		"registry:5000/app":        {"registry:5000/app:latest", "", mirror + "/app"},
		"x.example.com:5000/app":   {"x.example.com:5000/app:latest", "", mirror + "/app"},
		"x.example.com/a/b/app:1":  {"x.example.com/a/b/app:1", "1", mirror + "/a/b/app:1"},
		"10.0.0.1:5000/app:v1_2.x": {"10.0.0.1:5000/app:v1_2.x", "v1_2.x", mirror + "/app:v1_2.x"},
		"[fd00::1]:5000/app:1":     {"[fd00::1]:5000/app:1", "1", mirror + "/app:1"},
		"Registry/app:1":           {"Registry/app:1", "1", mirror + "/app:1"},
		"X.Example.com/app:Tag":    {"X.Example.com/app:Tag", "Tag", mirror + "/app:Tag"},
		"registry.k8s.io/pause:3.10@" + digest: {
			"registry.k8s.io/pause@" + digest, "3.10", mirror + "/pause:3.10@" + digest,
		},
		"x.example.com:5000/app:1@" + digest: {
			"x.example.com:5000/app@" + digest, "1", mirror + "/app:1@" + digest,
		},
	} {
		got, err := imageref.Normalize(image)
		assert.NilError(t, err)
		assert.Equal(t, got, want.normal)
		again, err := imageref.Normalize(got)
		assert.NilError(t, err)
		assert.Equal(t, again, got)
		assert.Equal(t, imageref.Tag(image), want.tag, image)
		assert.Equal(t, imageref.InRegistry(image, mirror), want.mirrored)
		assert.Equal(t, imageref.InRegistry(image, mirror+"/"), want.mirrored)
	}
}

func TestOtherTextsAreNoImageNames(t *testing.T) {
	for _, text := range []string{
		"", " ", "pause:3.10:x", "registry.k8s.io/pause:3.10:x", "pause:", "pause@", "pause@sha256:00",
		"pause:1@" + digest[:70],
		"pause:1@latest", "docker.io/Team/app", "alpine/", "/alpine", "a//b", "https://registry.example.com/app:1",
		"x.example.com/", "x.example.com:port/app", "app:" + strings.Repeat("1", 129), "app :1", "app:1\n",
		"-app", "app-", strings.Repeat("0a", 32), strings.Repeat("a", 256),
	} {
		_, err := imageref.Normalize(text)
		assert.ErrorContains(t, err, "reading image name", text)
		assert.Equal(t, imageref.Tag(text), "", text)
		assert.Equal(t, imageref.InRegistry(text, "mirror.example.com"), text)
	}
}
