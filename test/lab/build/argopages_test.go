package build

import (
	"testing"

	"gotest.tools/v3/assert"
)

func TestPackagesOfALockComeFromTheRegistryOfTheMachine(t *testing.T) {
	lock := []byte("\"a@^1.0.0\":\n  version \"1.0.1\"\n  resolved \"https://npm.example/a/-/a-1.0.1.tgz#0a\"\n" +
		"  integrity sha512-https://npm.example/\n")
	for _, registry := range []string{"https://mirror.example/npm", "https://mirror.example/npm/"} {
		assert.Equal(t, string(fromRegistry(lock, registry)), "\"a@^1.0.0\":\n  version \"1.0.1\"\n"+
			"  resolved \"https://mirror.example/npm/a/-/a-1.0.1.tgz#0a\"\n"+
			"  integrity sha512-https://npm.example/\n")
	}
}
