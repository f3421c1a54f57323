package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
)

func quiet(int)           {}
func quietly(_, _ int)    {}
func noon() time.Time     { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
func kv(k, v string) pair { return pair{[]byte(k), []byte(v)} }

// cluster is a small cluster's state, in the order of its keys.
func cluster(keys int) []pair {
	var all []pair
	for i := range keys {
		all = append(all, kv(fmt.Sprintf("/registry/configmaps/default/c%06d", i),
			strings.Repeat("x", i%97)+fmt.Sprint(i)))
	}
	return all
}

var about = About{
	Cluster: "team-a", Namespace: "tenant", Kubernetes: "v1.34.4", Store: "sqlite",
	Endpoint: "192.0.2.10:443", Identity: json.RawMessage(`{"podCIDR":"10.64.0.0/16"}`),
}

// dumped makes an archive of a store.
func dumped(t *testing.T, client *clientv3.Client) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), Name("team-a", noon(), false))
	_, err := Create(path, noon(), func(archive *Writer) (Manifest, error) {
		assert.NilError(t, archive.Add(PKIPrefix+"ca.key", []byte("secret")))
		assert.NilError(t, archive.Add(documentsPrefix+"vcluster.yaml", []byte("privateNodes: {}\n")))
		revision, err := dump(t.Context(), client, archive, quiet)
		if err != nil {
			return Manifest{}, err
		}
		return archive.Close(about, revision)
	})
	assert.NilError(t, err)
	return path
}

func opened(t *testing.T, path string) *Archive {
	t.Helper()
	archive, err := Open(path)
	assert.NilError(t, err)
	return archive
}

func TestAStoreComesBackFromItsArchiveInAnother(t *testing.T) {
	from, client := simulate(t, cluster(1234)...)
	archive := opened(t, dumped(t, client))
	assert.Equal(t, archive.Keys, 1234)
	assert.Equal(t, archive.Revision, from.revision)
	assert.Equal(t, archive.Cluster, "team-a")
	assert.Equal(t, string(archive.Files(PKIPrefix)["ca.key"]), "secret")

	to, other := simulate(t)
	var reports atomic.Int64
	assert.NilError(t, load(t.Context(), other, archive, func(keys, of int) {
		reports.Add(1)
		assert.Equal(t, of, 1234)
	}))
	assert.Equal(t, reports.Load(), int64(1))
	assert.DeepEqual(t, values(from), values(to))
}

func values(s *simulated) map[string]string {
	held := map[string]string{}
	for _, kv := range s.at(s.revision) {
		held[string(kv.Key)] = string(kv.Value)
	}
	return held
}

func TestDumpIsOfOneRevisionWhileTheClusterWrites(t *testing.T) {
	from, client := simulate(t, cluster(2*pageKeys)...)
	at := from.revision
	from.beforeRange = func(number int) {
		from.put(fmt.Sprintf("/registry/configmaps/default/c%06d", number), "changed", 0)
		from.put(fmt.Sprintf("/registry/configmaps/default/a%06d", number), "new", 0)
		from.put("/registry/pods/default/z", "new", 0)
	}
	archive := opened(t, dumped(t, client))
	assert.Equal(t, archive.Revision, at)
	assert.Equal(t, archive.Keys, 2*pageKeys)
	assert.NilError(t, archive.pairs(func(p pair) error {
		assert.Assert(t, !bytes.Equal(p.value, []byte("changed")) && !bytes.Equal(p.value, []byte("new")), "%s", p.key)
		return nil
	}))
}

func TestDumpLeavesOutLeasesAndKeysOfTheStore(t *testing.T) {
	from, client := simulate(t, kv("/registry/pods/default/a", "pod"), kv("compact_rev_key", "7"),
		kv("/registry/leases/kube-system/kube-scheduler", "old leader"),
		kv("/registry/leases/kube-node-lease/m1", "node"))
	from.put("/registry/events/default/e", "event", 3600)
	var keys []string
	assert.NilError(t, opened(t, dumped(t, client)).pairs(func(p pair) error {
		keys = append(keys, string(p.key))
		return nil
	}))
	assert.DeepEqual(t, keys, []string{"/registry/leases/kube-node-lease/m1", "/registry/pods/default/a"})
}

func TestPagesShrinkWithLargeValuesAndGrowAgain(t *testing.T) {
	large := []pair{}
	for i := range pageKeys {
		large = append(large, kv(fmt.Sprintf("/registry/a%06d", i), strings.Repeat("x", 100_000)))
	}
	from, client := simulate(t, append(large, cluster(pageKeys)...)...)
	_, err := scan(t.Context(), client, func(pair) error { return nil })
	assert.NilError(t, err)
	var limits []int64
	for _, r := range from.ranges {
		limits = append(limits, r.Limit)
	}
	assert.DeepEqual(t, limits, []int64{500, 41, 82, 164, 328})
}

func TestCompactedRevisionIsNamed(t *testing.T) {
	from, client := simulate(t, cluster(2*pageKeys)...)
	from.beforeRange = func(number int) {
		if number == 1 {
			from.mu.Lock()
			defer from.mu.Unlock()
			from.compacted = from.revision + 1
		}
	}
	path := filepath.Join(t.TempDir(), "a.tar.zst")
	_, err := Create(path, noon(), func(archive *Writer) (Manifest, error) {
		_, err := dump(t.Context(), client, archive, quiet)
		return Manifest{}, err
	})
	assert.ErrorContains(t, err, "compacted this revision")
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0, "an archive that failed leaves nothing behind")
}

func TestAnInterruptedLoadGoesOn(t *testing.T) {
	from, client := simulate(t, cluster(300)...)
	archive := opened(t, dumped(t, client))
	to, other := simulate(t)
	var tries atomic.Int64
	to.beforeCreate = func(string) error {
		if tries.Add(1) > 100 {
			return status.Error(codes.PermissionDenied, "gone")
		}
		return nil
	}
	assert.ErrorContains(t, load(t.Context(), other, archive, quietly), "gone")
	assert.Assert(t, len(values(to)) > 50 && len(values(to)) < 300, "%d", len(values(to)))

	to.beforeCreate = nil
	assert.NilError(t, load(t.Context(), other, archive, quietly))
	assert.DeepEqual(t, values(from), values(to))
	before := to.revision
	assert.NilError(t, load(t.Context(), other, archive, quietly))
	assert.Equal(t, to.revision, before, "a load that is done writes nothing")
}

func TestStoreThatPausesIsAskedAgain(t *testing.T) {
	_, client := simulate(t, cluster(50)...)
	archive := opened(t, dumped(t, client))
	to, other := simulate(t)
	var tries atomic.Int64
	to.beforeCreate = func(string) error {
		if tries.Add(1)%10 == 0 {
			return rpctypes.ErrGRPCNoLeader
		}
		return nil
	}
	assert.NilError(t, load(t.Context(), other, archive, quietly))
	assert.Equal(t, len(values(to)), 51)
}

func TestOnlyAnEmptyStoreIsLoaded(t *testing.T) {
	_, client := simulate(t, cluster(20)...)
	archive := opened(t, dumped(t, client))
	for _, tt := range []struct {
		name string
		held []pair
		says string
	}{
		{
			"another value",
			[]pair{kv("/registry/configmaps/default/c000003", "mine")},
			"1 of 1 keys are not from archive \"team-a-20260301T120000Z.tar.zst\" (other values have " +
				"/registry/configmaps/default/c000003)",
		},
		{"a foreign key", []pair{cluster(1)[0], kv("/registry/pods/default/mine", "pod")}, "1 of 2 keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to, other := simulate(t, tt.held...)
			before := to.revision
			err := load(t.Context(), other, archive, quietly)
			assert.ErrorContains(t, err, tt.says)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			assert.Equal(t, to.revision, before, "nothing was written")
		})
	}
}

func TestForeignWritesDuringALoadAreFound(t *testing.T) {
	_, client := simulate(t, cluster(20)...)
	archive := opened(t, dumped(t, client))
	to, other := simulate(t)
	var once atomic.Bool
	to.beforeCreate = func(string) error {
		if once.CompareAndSwap(false, true) {
			to.put("/registry/pods/default/mine", "pod", 0)
		}
		return nil
	}
	assert.ErrorContains(t, load(t.Context(), other, archive, quietly), "1 that differ")
}

func TestSilentStoreIsReportedWithItsCause(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "kine.sock")
	for endpoint, says := range map[string]string{
		"unix://" + missing:               "no such file",
		"http://" + free(t):               "connection refused",
		"http://team-a-etcd.invalid:2379": "lookup team-a-etcd.invalid",
	} {
		access := Access{Endpoints: []string{endpoint}}
		assert.ErrorContains(t, access.reach(t.Context()), says)
	}
}

func TestDamagedArchiveIsRefusedBeforeTheLoad(t *testing.T) {
	_, client := simulate(t, cluster(500)...)
	whole, err := os.ReadFile(dumped(t, client))
	assert.NilError(t, err)
	cut := func(bytes int) []byte { return whole[:len(whole)-bytes] }
	flipped := func(at int) []byte {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x40
		return damaged
	}
	for name, content := range map[string][]byte{
		"cut by a byte": cut(1), "cut in half": cut(len(whole) / 2), "empty": nil, "no archive": []byte("hello, world"),
		"a bit in the middle": flipped(len(whole) / 2), "a bit at the start": flipped(1),
		"a bit at the end":    flipped(len(whole) - 2),
		"something behind it": append(bytes.Clone(whole), whole...),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "team-a-20260301T120000Z.tar.zst")
			assert.NilError(t, os.WriteFile(path, content, 0o600))
			_, err := Open(path)
			var damaged *damagedError
			assert.Assert(t, errors.As(err, &damaged), "%v", err)
			assert.ErrorContains(t, err, "team-a-20260301T120000Z.tar.zst")
		})
	}
}

// A zstd checksum protects against accidents; the manifest also finds parts that were rewritten with a right checksum.
func TestPartThatDiffersFromTheManifestIsFound(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(*Writer)
		says   string
	}{
		{
			"another digest", func(w *Writer) { w.parts[0].SHA256 = strings.Repeat("0", 64) },
			`"pki/ca.key" differs from`,
		},
		{"a part too many", func(w *Writer) { w.parts = w.parts[:1] }, `"documents/vcluster.yaml" is not in`},
		{
			"a part too few", func(w *Writer) { w.parts = append(w.parts, Part{Name: "pki/sa.key"}) },
			`"pki/sa.key" is missing`,
		},
		{"keys too few", func(w *Writer) { w.keys++ }, "0 keys, and its manifest lists 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.tar.zst")
			_, err := Create(path, noon(), func(w *Writer) (Manifest, error) {
				assert.NilError(t, w.Add("pki/ca.key", []byte("secret")))
				assert.NilError(t, w.Add("documents/vcluster.yaml", []byte("secret")))
				tt.damage(w)
				return w.Close(about, 1)
			})
			assert.NilError(t, err)
			_, err = Open(path)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

func TestArchiveChangedAfterItsCheckIsNotLoaded(t *testing.T) {
	_, client := simulate(t, cluster(10)...)
	path := dumped(t, client)
	archive := opened(t, path)
	_, more := simulate(t, cluster(11)...)
	other, err := os.ReadFile(dumped(t, more))
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(path, other, 0o600))
	to, empty := simulate(t)
	assert.ErrorContains(t, load(t.Context(), empty, archive, quietly), "changed while it was in use")
	assert.Equal(t, len(values(to)), 1)
}

func TestAnArchiveIsReadableToItsOwnerAlone(t *testing.T) {
	_, client := simulate(t)
	info, err := os.Stat(dumped(t, client))
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o600))
}

func TestNewestAndFinalArchivesAreKept(t *testing.T) {
	folder := t.TempDir()
	at := noon()
	for day := range 5 {
		touch(t, folder, Name("team-a", at.AddDate(0, 0, day), false))
	}
	for _, name := range []string{
		Name("team-a", at.AddDate(0, 0, -9), true), Name("team-b", at, false), "notes.txt",
		"." + Name("team-a", at, false) + "-1.tmp", "." + Name("team-a-b", at, false) + "-1.tmp",
	} {
		touch(t, folder, name)
	}
	removed, err := prune(folder, "team-a", 2)
	assert.NilError(t, err)
	assert.Equal(t, len(removed), 4)
	names, err := list(folder, "team-a")
	assert.NilError(t, err)
	assert.DeepEqual(t, names, []string{
		"team-a-20260305T120000Z.tar.zst", "team-a-20260304T120000Z.tar.zst",
		"team-a-20260220T120000Z-final.tar.zst",
	})
	for _, kept := range []string{
		Name("team-b", at, false), "notes.txt", "." + Name("team-a-b", at, false) + "-1.tmp",
	} {
		_, err := os.Stat(filepath.Join(folder, kept))
		assert.NilError(t, err)
	}

	newest, err := Find(folder, "team-a", Latest)
	assert.NilError(t, err)
	assert.Equal(t, filepath.Base(newest), names[0])
	_, err = Find(folder, "team-a", "../team-b-20260301T120000Z.tar.zst")
	assert.ErrorContains(t, err, "there are "+names[0])
	_, err = Find(folder, "team-c", Latest)
	assert.ErrorContains(t, err, `no archive of cluster "team-c"`)
}

func touch(t *testing.T, folder, name string) {
	t.Helper()
	assert.NilError(t, os.WriteFile(filepath.Join(folder, name), nil, 0o600))
}
