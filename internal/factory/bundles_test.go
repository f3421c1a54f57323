package factory

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/sources"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
)

func TestBundlesComeFromAllowedHostsOnly(t *testing.T) {
	documents := config.Defaults()
	documents.Fleet.Cluster.KubeconfigSecret = "theirs"
	for _, one := range []struct {
		repository, allowed, says string
	}{
		{"https://bundles.example.com/kubernetes", "", ""},
		{"https://bundles.example.com:8443/kubernetes", "bundles.example.com", ""},
		{"https://bundles.example.com/kubernetes", "mirror.example", `host "bundles.example.com" is not among`},
		{"https://user@evil.example/bundles.example.com", "bundles.example.com", `host "evil.example" is not among`},
		{"http://169.254.169.254/latest/", "", "never come from a link-local address"},
		{"http://[fe80::1]/latest/", "", "never come from a link-local address"},
		{"", "mirror.example", ""},
	} {
		documents.Fleet.Bundles.Repository = one.repository
		allowed, err := sources.Parse(one.allowed)
		assert.NilError(t, err)
		repository, err := openRepository(t.Context(), &documents, &join.Target{}, allowed)
		if one.says == "" {
			assert.NilError(t, err)
			assert.Equal(t, repository.URL, one.repository)
			continue
		}
		assert.ErrorContains(t, err, one.says)
		assert.ErrorContains(t, err, "bundles.repository of argosy.yaml")
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
}
