package controlplane

import (
	"context"
	"errors"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/fault"
)

func TestASecretThatIsMissingIsSaidBeforeAnythingIsTouched(t *testing.T) {
	p := allowed(provisioner(t, specified))
	p.CheckSecrets = func(context.Context) error {
		return fault.As(fault.Configuration, errors.New(`secret "team-a-ssh" is missing`))
	}
	_, err := p.Validate(t.Context(), func(string) {})
	assert.ErrorContains(t, err, `"team-a-ssh" is missing`)
	assert.Equal(t, fault.ClassOf(err), fault.Configuration)

	p.CheckSecrets = func(context.Context) error { return nil }
	_, err = p.Validate(t.Context(), func(string) {})
	assert.NilError(t, err)
	assert.Equal(t, len(left(t, p)), 0)
}
