package images

import (
	"bytes"
	"compress/gzip"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/spec"
)

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(content)
	assert.NilError(t, errors.Join(err, z.Close()))
	return packed.Bytes()
}

func zstandard(t *testing.T, content []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	assert.NilError(t, err)
	return z.EncodeAll(content, nil)
}

func TestFolderIsImportedOnceWithAnyCompression(t *testing.T) {
	m := newMachine(t)
	m.write("/images/a.tar", archiveOf(t, "registry.example.org/a:v1"))
	m.write("/images/b.tar.gz", gzipped(t, archiveOf(t, "registry.example.org/b:v1")))
	m.write("/images/c.tar.zst", zstandard(t, saved(t, "c")))
	m.write("/images/README", []byte("no archive"))
	m.write("/images/deeper/d.tar", archiveOf(t, "registry.example.org/d:v1"))
	assert.NilError(t, os.Mkdir(m.host.Path("/images/folder.tar"), 0o755))

	holds, detail := m.check(onPath("/images"))
	assert.Assert(t, !holds)
	assert.Equal(t, detail, "3 of 3 archives to import: /images/a.tar, /images/b.tar.gz, /images/c.tar.zst")
	detail, err := m.apply(onPath("/images"))
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(detail, "3 of 3 archives imported: /images/a.tar (registry.example.org/a:v1)"),
		detail)
	assert.DeepEqual(t, slices.Sorted(maps.Keys(m.has)), []string{
		"docker.io/library/c:latest",
		"registry.example.org/a:v1", "registry.example.org/b:v1",
	})

	holds, detail = m.check(onPath("/images"))
	assert.Assert(t, holds, detail)
	assert.Equal(t, detail, "the images of 3 archives are there")
	assert.Equal(t, m.imports, 3)
}

func TestOnlyWhatIsMissingOrAnotherIsImportedAgain(t *testing.T) {
	m := newMachine(t)
	for _, name := range []string{"a", "b", "c"} {
		m.write("/images/"+name+".tar", archiveOf(t, "registry.example.org/"+name+":v1"))
	}
	_, err := m.apply(onPath("/images"))
	assert.NilError(t, err)
	delete(m.has, "registry.example.org/a:v1")       // as the kubelet's garbage collection does
	m.has["registry.example.org/b:v1"] = "sha256:0b" // somebody pulled another one by this name
	_, detail := m.check(onPath("/images"))
	assert.Equal(t, detail, "2 of 3 archives to import: /images/a.tar, /images/b.tar")
	_, err = m.apply(onPath("/images"))
	assert.NilError(t, err)
	assert.Equal(t, m.imports, 5)

	assert.NilError(t, os.Chtimes(m.host.Path("/images/c.tar"), time.Time{}, time.Now().Add(time.Hour)))
	_, detail = m.check(onPath("/images"))
	assert.Equal(t, detail, "1 of 3 archives to import: /images/c.tar")
}

func TestDamagedArchivesFailByNameAndTheRestIsImported(t *testing.T) {
	m := newMachine(t)
	whole := archiveOf(t, "registry.example.org/damaged:v1")
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-3000] ^= 1 // in the layer
	for name, content := range map[string][]byte{
		"1-good.tar": archiveOf(t, "registry.example.org/good:v1"), "2-cut.tar": whole[:len(whole)-2500],
		"3-text.tar":  []byte("404 not found"),
		"4-empty.tar": {}, "5-flipped.tar": flipped, "6-cut.tar.gz": gzipped(t, whole)[:2000],
		"7-flipped.tar.gz": gzipped(t, flipped),
		"8-good.tar":       archiveOf(t, "registry.example.org/too:v1"), "9-nameless.tar": archiveOf(t, ""),
	} {
		m.write("/images/"+name, content)
	}
	_, err := m.apply(onPath("/images"), onPath("/nowhere"))
	for _, part := range []string{
		"8 of 10 archives could not be imported", "/images/2-cut.tar: it is damaged",
		"/images/3-text.tar: it is damaged", "/images/4-empty.tar: it is damaged",
		"/images/5-flipped.tar: it is damaged", "/images/6-cut.tar.gz: it is damaged",
		"/images/7-flipped.tar.gz: it is damaged",
		"/images/9-nameless.tar: no image in it has a name", "/nowhere: there is no such file",
		"2 of 10 archives imported: /images/1-good.tar (registry.example.org/good:v1), /images/8-good.tar " +
			"(registry.example.org/too:v1)",
	} {
		assert.ErrorContains(t, err, part)
	}
	var failure *node.Failure
	assert.Assert(t, errors.As(err, &failure) && len(failure.Problems) == 8)
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
	assert.DeepEqual(t, slices.Sorted(maps.Keys(m.has)), []string{
		"registry.example.org/good:v1",
		"registry.example.org/too:v1",
	})
	_, detail := m.check(onPath("/images/1-good.tar"), onPath("/images/8-good.tar"))
	assert.Equal(t, detail, "the images of 2 archives are there")
}

func TestPlanNamesMissingArchives(t *testing.T) {
	_, detail := newMachine(t).check(onPath("/nowhere"))
	assert.Equal(t, detail, "1 of 1 archives to import: /nowhere")
}

func TestAnImportThatFailsAtItsEndLeavesNoImage(t *testing.T) {
	m := newMachine(t)
	m.write("/a.tar", archiveOf(t, "registry.example.org/a:v1"))
	m.refuses = "registry.example.org/a:v1"
	_, err := m.apply(onPath("/a.tar"))
	assert.ErrorContains(t, err, "no space left on device")
	assert.Equal(t, len(m.has), 0, "%v", m.has)

	m.has["registry.example.org/a:v1"] = "sha256:0a"
	_, err = m.apply(onPath("/a.tar"))
	assert.ErrorContains(t, err, "no space left on device")
	assert.Assert(t, m.has["registry.example.org/a:v1"] != "", "what was there before is not ours to remove")
}

func TestImagesAreImportedForTheOwnersSnapshotter(t *testing.T) {
	m := newMachine(t)
	m.write("/a.tar", archiveOf(t, "registry.example.org/a:v1"))
	m.write("/etc/containerd/conf.d/native.toml",
		[]byte("[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'native'\n"))
	_, err := m.apply(onPath("/a.tar"))
	assert.NilError(t, err)
	assert.Assert(t, slices.ContainsFunc(m.calls, func(call string) bool {
		return strings.HasSuffix(call, "images import --snapshotter native --local --sync-fs -")
	}), "%q", m.calls)
}

func TestAnOldClientImportsTheOtherWay(t *testing.T) {
	m := newMachine(t)
	m.old = true
	m.write("/a.tar", archiveOf(t, "registry.example.org/a:v1"))
	_, err := m.apply(onPath("/a.tar"))
	assert.NilError(t, err)
	assert.Equal(t, m.imports, 1)
}

// A power cut leaves images with empty files, which containerd takes for whole, unless the file system was flushed.
func TestImportedImagesAreOnTheDisk(t *testing.T) {
	for name, old := range map[string]bool{"a client that flushes": false, "an old client": true} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.old = old
			m.write("/a.tar", archiveOf(t, "registry.example.org/a:v1"))
			_, err := m.apply(onPath("/a.tar"))
			assert.NilError(t, err)
			imported := slices.IndexFunc(m.calls, func(call string) bool {
				return strings.HasPrefix(call, "images import") && strings.HasSuffix(call, " -")
			})
			assert.Assert(t, imported >= 0, "%q", m.calls)
			assert.Equal(t, strings.Contains(m.calls[imported], "--sync-fs"), !old)
			assert.Equal(t, slices.Contains(m.calls[imported:], "sync"), old, "%q", m.calls)
		})
	}
}

func TestPresentImagesAreNotRequested(t *testing.T) {
	m := newMachine(t)
	source := sent("k")
	source.Sent.Images = map[string]string{"registry.example.org/a:v1": "sha256:0a"}
	m.has["registry.example.org/a:v1"] = "sha256:0a"
	holds, _ := m.check(source)
	assert.Assert(t, holds)
	m.has["registry.example.org/a:v1"] = "sha256:0b"
	holds, _ = m.check(source)
	assert.Assert(t, !holds)
}

func TestWithoutARuntimeAllIsWantedAndNothingFails(t *testing.T) {
	m := newMachine(t)
	m.write("/a.tar", archiveOf(t, "registry.example.org/a:v1"))
	_, err := m.apply(onPath("/a.tar"))
	assert.NilError(t, err)
	assert.NilError(t, m.host.Remove("/usr/local/bin/ctr"))
	holds, _ := m.check(onPath("/a.tar"))
	assert.Assert(t, !holds)
}

func TestDamagedRecordCausesOneMoreImport(t *testing.T) {
	m := newMachine(t)
	m.write("/a.tar", archiveOf(t, "registry.example.org/a:v1"))
	m.write(spec.ImagesFile, []byte("null"))
	_, err := m.apply(onPath("/a.tar"))
	assert.NilError(t, err)
	m.write(spec.ImagesFile, []byte("{"))
	_, err = m.apply(onPath("/a.tar"))
	assert.NilError(t, err)
	assert.Equal(t, m.imports, 2)
	assert.Equal(t, len(m.remembers()), 1)
}

func TestTheOldestArchivesAreForgotten(t *testing.T) {
	m := newMachine(t)
	known := record{}
	for i := range maxRecords {
		known[strings.Repeat("k", i+1)] = recordEntry{At: time.Unix(int64(i), 0)}
	}
	assert.NilError(t, known.add(m.context(), "new", recordEntry{At: time.Now()}))
	assert.Equal(t, len(known), maxRecords)
	_, oldest := known["k"]
	assert.Assert(t, !oldest)
}

func TestMachineOfAnotherClusterIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		record *spec.Record
		path   string
		says   string
	}{
		"its node": {&spec.Record{Cluster: "team-a", ClusterUID: "uid-a", NodeName: "n1"}, "/usr/local/bin", ""},
		"no node":  {nil, "/usr/local/bin", `The machine is no node of cluster "team-a"; join it first.`},
		"another cluster": {
			&spec.Record{Cluster: "team-b", ClusterUID: "uid-b", NodeName: "n1"}, "/usr/local/bin",
			`a cluster "team-b" with the UID uid-b`,
		},
		"a bad path": {&spec.Record{Cluster: "team-a", ClusterUID: "uid-a"}, "bin", "not a plain absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			c := m.context()
			c.Operation.Images = &spec.Images{BinariesPath: test.path, ClusterUID: "uid-a"}
			if test.record != nil {
				assert.NilError(t, c.Store.WriteRecord(test.record))
			}
			holds, detail, err := checkPreflight(t.Context(), c)
			if test.says != "" {
				assert.ErrorContains(t, err, test.says)
				return
			}
			assert.NilError(t, err)
			assert.Assert(t, holds && detail == "the machine is node n1 of cluster team-a", detail)
		})
	}
}

func TestARuntimeThatIsMissingIsSaidSo(t *testing.T) {
	m := newMachine(t)
	c := m.context()
	assert.NilError(t, c.Store.WriteRecord(&spec.Record{ClusterUID: "uid-a"}))
	c.Operation.Images = &spec.Images{BinariesPath: "/opt/x", CRISocket: "unix:///run/other.sock", ClusterUID: "uid-a"}
	assert.NilError(t, m.host.Remove("/usr/local/bin/ctr"))
	_, _, err := checkPreflight(t.Context(), c)
	assert.ErrorContains(t, err, `There is no ctr in "/opt/x"`)
	assert.ErrorContains(t, err, "/run/other.sock")

	m.runs("/run/other.sock")
	m.write("/opt/x/.argosy/0123/release/ctr", nil)
	assert.NilError(t, os.Chmod(m.host.Path("/opt/x/.argosy/0123/release/ctr"), 0o755))
	_, _, err = checkPreflight(t.Context(), c)
	assert.NilError(t, err)
}

func TestSourcesAreLookedAtOnceMore(t *testing.T) {
	bad := sent("k")
	bad.Sent.SHA256 = "abc"
	for _, source := range []spec.ImageSource{
		{},
		{Name: "both", Path: "/a", Sent: &spec.SentImages{Key: "k"}},
		{Name: "none"},
		{Name: "relative", Path: "a"},
		sent(""), bad,
	} {
		assert.Equal(t, len(Validate([]spec.ImageSource{source})), 1, "%+v", source)
	}
	assert.Equal(t, len(Validate([]spec.ImageSource{onPath("/a"), sent("k")})), 0)
}
