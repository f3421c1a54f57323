package agents

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"

	"gotest.tools/v3/assert"
)

func TestProgramsHaveTheDigestsNotedBesideThem(t *testing.T) {
	var embedded Embedded
	for _, arch := range []string{"amd64", "arm64"} {
		program, err := embedded.Program(arch)
		assert.NilError(t, err)
		_, err = files.ReadFile("programs/argosy-node-" + arch + ".sha256")
		assert.NilError(t, err, "the digest is noted, so that the program need not be read")

		source, err := program.Source(0)
		assert.NilError(t, err)
		digest := sha256.New()
		size, err := io.Copy(digest, source)
		assert.NilError(t, err)
		assert.Equal(t, program.SHA256, hex.EncodeToString(digest.Sum(nil)))
		assert.Equal(t, program.Size, size)
	}
}

func TestAProgramForAnotherArchitectureIsNamed(t *testing.T) {
	var embedded Embedded
	_, err := embedded.Program("s390x")
	assert.ErrorContains(t, err, `looking for argosy-node for architecture "s390x" in this program`)
}
