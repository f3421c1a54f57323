package config_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

func TestArgumentsOfTheUserReplaceThoseOfTheSameName(t *testing.T) {
	own := []string{"--authorization-mode=Node,RBAC", "--profiling=false", "--key-file=/own", "--logtostderr"}
	for _, tt := range []struct {
		name          string
		further, want []string
	}{
		{"none", nil, own},
		{
			"one",
			[]string{"--profiling=true"},
			[]string{"--authorization-mode=Node,RBAC", "--key-file=/own", "--logtostderr", "--profiling=true"},
		},
		{
			"underscores and a single dash",
			[]string{"-authorization_mode=RBAC,Node"},
			[]string{"--profiling=false", "--key-file=/own", "--logtostderr", "-authorization_mode=RBAC,Node"},
		},
		{
			"one without a value",
			[]string{"--profiling"},
			[]string{"--authorization-mode=Node,RBAC", "--key-file=/own", "--logtostderr", "--profiling"},
		},
		{
			"a repeated one",
			[]string{"--profiling=a", "--profiling=b"},
			[]string{
				"--authorization-mode=Node,RBAC", "--key-file=/own", "--logtostderr", "--profiling=a", "--profiling=b",
			},
		},
		{
			"the beginning of a name",
			[]string{"--profil=1"},
			[]string{
				"--authorization-mode=Node,RBAC", "--profiling=false", "--key-file=/own", "--logtostderr", "--profil=1",
			},
		},
		{
			"one whose values add up",
			[]string{"--key-file=/further"},
			[]string{
				"--authorization-mode=Node,RBAC", "--profiling=false", "--key-file=/own", "--logtostderr",
				"--key-file=/further",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.DeepEqual(t, config.MergeArguments(own, tt.further, "key-file"), tt.want)
		})
	}
	assert.Equal(t, config.ArgumentValue([]string{"--a=1", "--a=x=y", "--b"}, "a"), "x=y")
	assert.Equal(t, config.ArgumentValue([]string{"--b"}, "b"), "")
}
