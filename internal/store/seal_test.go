package store

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

func TestSealedFilesOpenForTheirReaderOnly(t *testing.T) {
	reader, err := NewReader()
	assert.NilError(t, err)
	other, err := NewReader()
	assert.NilError(t, err)
	files := map[string][]byte{"ca.key": []byte("very secret"), "ca.crt": nil}
	sealed, err := Seal(reader.Address(), files)
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(sealed, "secret") && !strings.ContainsAny(sealed, "\n "))

	got, err := reader.Unseal(sealed)
	assert.NilError(t, err)
	assert.Equal(t, string(got["ca.key"]), "very secret")
	_, err = other.Unseal(sealed)
	assert.ErrorIs(t, err, errSealed)
	_, err = reader.Unseal("A" + sealed[1:])
	assert.Assert(t, err != nil)
	_, err = Seal("not an address", files)
	assert.ErrorContains(t, err, "not one of a reader")
}
