package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"gotest.tools/v3/assert"
)

// BenchmarkReceive unpacks and hashes a bundle: the one that ARGOSY_BENCH_BUNDLE names, else one made up of bytes that
// compress about as well as programs do.
func BenchmarkReceive(b *testing.B) {
	name, data := "made-up.tar.gz", []byte(nil)
	if file := os.Getenv("ARGOSY_BENCH_BUNDLE"); file != "" {
		content, err := os.ReadFile(file)
		assert.NilError(b, err)
		name, data = file, content
	} else {
		data = madeUp(b)
	}
	format, err := FormatOf(name)
	assert.NilError(b, err)
	sum := digest(data)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		_, err := Receive(context.Background(), bytes.NewReader(data), format, sum, b.TempDir())
		assert.NilError(b, err)
	}
}

func madeUp(b *testing.B) []byte {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, 16<<20)
	for i := range content {
		// Two bits of every byte are noise.
		content[i] = byte(i>>6)&^3 | byte(random.IntN(4))
	}
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	for i := range 4 {
		assert.NilError(b, archive.WriteHeader(&tar.Header{
			Name:     fmt.Sprintf("release/program-%d", i),
			Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content)),
		}))
		_, err := archive.Write(content)
		assert.NilError(b, err)
	}
	assert.NilError(b, archive.Close())
	assert.NilError(b, compressed.Close())
	return out.Bytes()
}
