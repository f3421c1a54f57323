package controlplane

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
)

func TestArgumentsOfTheUsersFollowACommandOfTheUsers(t *testing.T) {
	p := provisioner(t, controlplanetest.Replace(controlplanetest.SQLite, "image: {tag: v1.34.4}",
		"image: {tag: v1.34.4}, scheduler: {command: [/bin/own], extraArgs: [--v=4]}"))
	container := p.scheduler()
	assert.DeepEqual(t, container.Command, []string{"/bin/own"})
	assert.DeepEqual(t, container.Args, []string{"--v=4"})
}
