package bundle

import (
	"context"
	"os"
	"testing"
)

func BenchmarkReceive(b *testing.B) {
	name := os.Getenv("ARGOSY_BENCH_BUNDLE")
	if name == "" {
		b.Skip("ARGOSY_BENCH_BUNDLE names no bundle")
	}
	format, err := FormatOf(name)
	if err != nil {
		b.Fatal(err)
	}
	sum, err := hashFile(name)
	if err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		file, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Receive(context.Background(), file, format, sum, b.TempDir()); err != nil {
			b.Fatal(err)
		}
		file.Close()
	}
}
