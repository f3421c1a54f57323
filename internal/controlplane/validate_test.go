package controlplane

import (
	"context"
	"errors"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
)

func TestMissingSecretsAndRemarksAreReportedBeforeAnyChange(t *testing.T) {
	p := allowed(provisioner(t, controlplanetest.SQLite))
	p.CheckSecrets = func(context.Context) error {
		return errclass.With(errclass.Configuration, errors.New(`secret "team-a-ssh" is missing`))
	}
	_, err := p.Validate(t.Context(), func(string) {})
	assert.ErrorContains(t, err, `"team-a-ssh" is missing`)
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)

	p.CheckSecrets = func(context.Context) error { return nil }
	p.Remarks = []string{"vcluster.yaml: 1 setting has no effect"}
	message, err := p.Validate(t.Context(), func(string) {})
	assert.NilError(t, err)
	assert.Equal(t, message, "the documents are valid; a control plane will be made\nvcluster.yaml: 1 setting has no "+
		"effect")
	assert.Equal(t, len(controlplanetest.Left(t, p.Cluster)), 0)
}
