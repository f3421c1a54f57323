package e2e_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"golang.org/x/crypto/ssh"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// bundleName is the archive that the machines of the lab fetch.
const bundleName = "kubernetes-" + site.Version + "-amd64.tar.gz"

// editMachine returns a change of one machine's entry in argosy.yaml.
func editMachine(machine string, change func(entry map[string]any)) func(map[string]any) {
	return func(entry map[string]any) {
		if entry["name"] == machine {
			change(entry)
		}
	}
}

func sshOf(entry map[string]any) map[string]any {
	if entry["ssh"] == nil {
		entry["ssh"] = map[string]any{}
	}
	return entry["ssh"].(map[string]any)
}

// TestBadInputFailsClearlyAndChangesNothing calls the command line program, which runs the same code as the workflow.
func TestBadInputFailsClearlyAndChangesNothing(t *testing.T) {
	resetMachines(t, "m1", "m2", "m3")
	otherKey, err := env.Lab.HostKey("m2")
	assert.NilError(t, err)
	makeSecret(t, "wrong-key", map[string]string{"ssh-privatekey": newPrivateKey(t)})
	makeSecret(t, "wrong-sudo", map[string]string{
		"ssh-privatekey": readFile(t, env.Lab.KeyPath()),
		"sudo-password":  "not-the-password",
	})

	for _, tt := range []struct {
		name    string
		machine string
		change  site.Overrides
		want    []string
	}{
		{"a missing Secret", "m1", site.Overrides{Machine: editMachine("m1",
			func(e map[string]any) { sshOf(e)["secret"] = "not-there" })}, []string{"m1", "not-there"}},
		{"a key that the machine refuses", "m1", site.Overrides{Machine: editMachine("m1",
			func(e map[string]any) { sshOf(e)["secret"] = "wrong-key" })}, []string{"m1", "root"}},
		{"a changed host key", "m1", site.Overrides{Machine: editMachine("m1",
			func(e map[string]any) { sshOf(e)["hostKeys"] = []string{otherKey} })}, []string{"m1", "SHA256:"}},
		{
			"an address that does not answer", "m1",
			site.Overrides{Machine: editMachine("m1",
				func(e map[string]any) { e["address"] = "10.117.0.199" }), Limits: map[string]any{"retryBudget": "1s"}},
			[]string{"m1", "10.117.0.199"},
		},
		{"a user without sudo rights", "m3", site.Overrides{Machine: editMachine("m3",
			func(e map[string]any) { sshOf(e)["secret"] = "team-a-ssh" })}, []string{"m3", "sudo-password"}},
		{"a wrong sudo password", "m3", site.Overrides{Machine: editMachine("m3",
			func(e map[string]any) { sshOf(e)["secret"] = "wrong-sudo" })}, []string{"m3", "wrong sudo password"}},
		{
			"a disk that is too small", "m1",
			site.Overrides{Join: map[string]any{"minDisk": "900Ti"}},
			[]string{"m1", "free below /var/lib", "900.0 TiB"},
		},
		{
			"too little memory", "m1",
			site.Overrides{Join: map[string]any{"minMemory": "900Ti"}},
			[]string{"m1", "memory"},
		},
		{
			"a digest that does not match", "m1",
			site.Overrides{Bundles: map[string]any{
				"repository": lab.RepositoryURL,
				"sha256":     map[string]any{bundleName: strings.Repeat("0", 64)},
			}},
			[]string{"m1", "bundle", strings.Repeat("0", 64)},
		},
		{"a corrupt bundle", "m1", badBundle(t, "corrupt", truncatedArchive), []string{"m1", "bundle"}},
		{
			"an archive that climbs out", "m1", badBundle(t, "climbs", archiveWith("../../escaped", "")),
			[]string{"m1", "../../escaped"},
		},
		{
			"an archive with an absolute path", "m1", badBundle(t, "absolute", archiveWith("/escaped", "")),
			[]string{"m1", "/escaped"},
		},
		{
			"an archive with a link outside", "m1", badBundle(t, "link", archiveWith("release/link", "/etc")),
			[]string{"m1", "release/link"},
		},
		{"a bundle for another architecture", "m1", badBundle(t, "arch", arm64Bundle), []string{"m1", "arm64"}},
		{"no digest anywhere", "m1", badBundle(t, "unverified", nil), []string{"SHA256SUMS"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			configure(t, tt.change)
			out := mustRefuseJoin(t, tt.machine)
			for _, part := range tt.want {
				assert.Assert(t, strings.Contains(out, part), "%q is not in:\n%s", part, out)
			}
			assert.Assert(t, !strings.Contains(out, "not-the-password"), out)
			assertUntouched(t, tt.machine)
		})
	}
}

// assertUntouched checks that nothing of a bundle was installed, run, or written outside its folder.
func assertUntouched(t *testing.T, machine string) {
	t.Helper()
	out := runOn(t, machine, "sh", "-c",
		`ls -d /etc/kubernetes/kubelet.conf /usr/local/bin/kubelet /usr/local/bin/containerd /escaped /var/escaped /usr/local/escaped /tmp/executed 2>/dev/null; pgrep -l 'kubelet|containerd'; true`)
	assert.Equal(t, strings.TrimSpace(out), "", "left on %s", machine)
	assertNoToken(t)
}

func TestOneBadMachineFailsAlone(t *testing.T) {
	resetMachines(t, "m1", "m2", "m5")
	configure(t, site.Overrides{
		Machine: editMachine("m2", func(e map[string]any) { e["address"] = "10.117.0.199" }),
		Limits:  map[string]any{"retryBudget": "2s"},
	})

	w := mustFail(t, teamA(), "join", "machines=m1,m2,m5")
	assertJoined(t, "m1", "m5")
	assert.Equal(t, step(t, w, "m2").Phase, wfv1.NodeFailed)
	summary := step(t, w, "summary")
	assertContains(t, summary.Message, "2 of 3 machines joined", "m2", "10.117.0.199")
}

func TestBadDocumentsFailInPlan(t *testing.T) {
	assertContains(t, mustRefuseJoin(t, "m9"), "m9")

	configure(t, site.Overrides{Limits: map[string]any{"concurency": 3}})
	w := mustFail(t, teamA(), "join")
	message := step(t, w, "plan").Message
	assertContains(t, message, "concurency", "concurrency")
}

// TestJoinRefusesNodeOfAnotherCluster gives team-a the kubeconfig of another cluster, so that the joined machine is a
// foreign node.
func TestJoinRefusesNodeOfAnotherCluster(t *testing.T) {
	resetMachines(t, "m5")
	joinByHand(t, "m5")

	makeSecret(t, "host-kubeconfig", map[string]string{"value": readFile(t, env.Lab.KubeconfigPath("host"))})
	configure(t, site.Overrides{KubeconfigSecret: "host-kubeconfig"})
	out, err := env.Argosy(t.Context(), "plan", "--namespace", site.TeamA, "--machines", "m5")
	assert.Assert(t, err != nil)
	assertContains(t, out, "refuse", "already a node of")

	configure(t, site.Overrides{})
	assertJoined(t, "m5")
}

// makeSecret makes a Secret in team-a and deletes it when the test ends.
func makeSecret(t *testing.T, name string, data map[string]string) {
	t.Helper()
	assert.NilError(t, env.Apply(t.Context(), []any{map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name}, "stringData": data,
	}}))
	t.Cleanup(func() {
		_, _ = env.HostKubectl(context.Background(), "delete", "secret", "-n", site.TeamA, name, "--ignore-not-found")
	})
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	assert.NilError(t, err)
	return string(content)
}

// badBundle makes a repository beside the lab's with an archive and its true digest, and returns the documents that use
// it. Where write is nil, the archive has no digest.
func badBundle(t *testing.T, name string, write func(t *testing.T, path string)) site.Overrides {
	t.Helper()
	repository := filepath.Join(env.Lab.HTTPDir(), "bad-"+name)
	folder := filepath.Join(repository, site.Version)
	assert.NilError(t, os.MkdirAll(folder, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(repository) })
	path := filepath.Join(folder, bundleName)
	if write == nil {
		assert.NilError(t, os.WriteFile(path, []byte("without a digest"), 0o644))
	} else {
		write(t, path)
		digest := sha256.Sum256([]byte(readFile(t, path)))
		assert.NilError(t, os.WriteFile(filepath.Join(folder, "SHA256SUMS"),
			[]byte(hex.EncodeToString(digest[:])+"  "+bundleName+"\n"), 0o644))
	}
	return site.Overrides{Bundles: map[string]any{"repository": lab.RepositoryURL + "/bad-" + name}}
}

// truncatedArchive writes the first half of the lab's bundle.
func truncatedArchive(t *testing.T, path string) {
	whole := readFile(t, filepath.Join(env.Lab.HTTPDir(), site.Version, bundleName))
	assert.NilError(t, os.WriteFile(path, []byte(whole[:len(whole)/2]), 0o644))
}

// archiveWith returns a function that writes an archive with one entry: a file called name, or a link to target.
func archiveWith(name, target string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		bad := entry{tar.Header{Name: name, Mode: 0o755, Size: 4, Typeflag: tar.TypeReg}, []byte("evil")}
		if target != "" {
			bad = entry{header: tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}}
		}
		writeArchive(t, path, bad)
	}
}

// arm64Bundle writes a bundle whose programs are headers of ELF files for arm64.
func arm64Bundle(t *testing.T, path string) {
	elf := make([]byte, 64)
	copy(elf, "\x7fELF\x02\x01\x01")
	elf[16], elf[18], elf[20] = 2, 183, 1 // executable, EM_AARCH64, version 1
	var entries []entry
	for _, name := range []string{
		"kubeadm", "kubelet", "kubectl", "containerd", "containerd-shim-runc-v2", "ctr",
		"runc", "cni/bin/bridge", "cni/bin/loopback", "cni/bin/host-local", "pause-image.tar", "pause-image.txt",
	} {
		entries = append(entries, entry{tar.Header{
			Name: "./release/" + name, Mode: 0o755, Size: int64(len(elf)),
			Typeflag: tar.TypeReg,
		}, elf})
	}
	writeArchive(t, path, entries...)
}

// entry is one file or link of an archive.
type entry struct {
	header  tar.Header
	content []byte
}

func writeArchive(t *testing.T, path string, entries ...entry) {
	t.Helper()
	file, err := os.Create(path)
	assert.NilError(t, err)
	compressed := gzip.NewWriter(file)
	archive := tar.NewWriter(compressed)
	for _, entry := range entries {
		assert.NilError(t, archive.WriteHeader(&entry.header))
		_, err = archive.Write(entry.content)
		assert.NilError(t, err)
	}
	assert.NilError(t, archive.Close())
	assert.NilError(t, compressed.Close())
	assert.NilError(t, file.Close())
}

// newPrivateKey returns an SSH key that no machine accepts.
func newPrivateKey(t *testing.T) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	assert.NilError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "of no machine")
	assert.NilError(t, err)
	return string(pem.EncodeToMemory(block))
}
