package nodetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"

	"gotest.tools/v3/assert"
)

// ELF is enough of a program's header to tell for which machine it is: "amd64" or "arm64".
func ELF(arch string) string {
	header := make([]byte, 64)
	copy(header, "\x7fELF\x02\x01\x01")
	header[16], header[20] = 2, 1
	header[18] = map[string]byte{"amd64": 62, "arm64": 183}[arch]
	header[52], header[54], header[58] = 64, 56, 64
	return string(header)
}

// Bundle packs files, by their names beneath release, as a .tar.gz.
func Bundle(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	packed := tar.NewWriter(compressed)
	for name, content := range files {
		assert.NilError(t, packed.WriteHeader(&tar.Header{
			Name: "./release/" + name, Typeflag: tar.TypeReg, Mode: 0o755,
			Size: int64(len(content)),
		}))
		_, err := io.WriteString(packed, content)
		assert.NilError(t, err)
	}
	assert.NilError(t, errors.Join(packed.Close(), compressed.Close()))
	return out.Bytes()
}
