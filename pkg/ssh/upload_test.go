package ssh_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

// content is size bytes that do not compress, and their digest.
func content(size int) ([]byte, string) {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(data)
	sum := sha256.Sum256(data)
	return data, hex.EncodeToString(sum[:])
}

func uploadOf(data []byte, digest, path string) ssh.Upload {
	return ssh.Upload{Source: ssh.FromBytes(data), Size: int64(len(data)), SHA256: digest, Path: path, Mode: 0o755}
}

func assertFile(t *testing.T, path string, want []byte, mode os.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(got, want), "%d bytes, want %d", len(got), len(want))
	info, err := os.Stat(path)
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), mode)
	_, err = os.Stat(path + ".partial")
	assert.Assert(t, os.IsNotExist(err), "a partial file is left")
}

// uploaders are the ways to become root, and what they use.
func uploaders(t *testing.T) map[string]struct {
	config ssh.Config
	method string
} {
	_, root := openSSH(t, sshtest.OpenSSHOptions{})
	_, simulatedRoot := simulated(t, sshtest.Options{Path: withoutSCP(t)})
	sudo := accounts(t)
	sudo.User, sudo.SudoPassword = "argosy-asked", secret.New("sudo-pw 'x' $y")
	return map[string]struct {
		config ssh.Config
		method string
	}{
		"root with scp":      {root, "scp"},
		"root without scp":   {simulatedRoot, "stream"},
		"a user with a sudo": {sudo, "stream"},
	}
}

// withoutSCP makes a PATH that has everything but scp.
func withoutSCP(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{
		"sh", "cat", "cut", "dd", "mkdir", "mv", "chmod", "rm", "sha256sum", "tr", "wc",
		"echo", "uname", "sed",
	} {
		found, err := exec.LookPath(name)
		assert.NilError(t, err)
		assert.NilError(t, os.Symlink(found, filepath.Join(dir, name)))
	}
	return dir
}

func TestAnUploadArrivesOnceAndIsThenSkipped(t *testing.T) {
	data, digest := content(3<<20 + 12345)
	for name, c := range uploaders(t) {
		t.Run(name, func(t *testing.T) {
			client := dial(t, c.config)
			path := filepath.Join(t.TempDir(), "new folder", "file")
			if c.method == "scp" {
				path = filepath.Join(t.TempDir(), "new-folder", "file")
			}
			upload := uploadOf(data, digest, path)
			var seen []int64
			upload.Progress = func(done, total int64) {
				assert.Equal(t, total, int64(len(data)))
				seen = append(seen, done)
			}
			result, err := client.Upload(t.Context(), upload)
			assert.NilError(t, err)
			assert.Equal(t, result, ssh.UploadResult{Bytes: int64(len(data)), Method: c.method})
			assertFile(t, path, data, 0o755)
			assert.Equal(t, seen[len(seen)-1], int64(len(data)))

			result, err = client.Upload(t.Context(), upload)
			assert.NilError(t, err)
			assert.Equal(t, result, ssh.UploadResult{Skipped: true})

			changed := append([]byte("other"), data[5:]...)
			writeFile(t, path, string(changed))
			result, err = client.Upload(t.Context(), upload)
			assert.NilError(t, err)
			assert.Assert(t, !result.Skipped)
			assertFile(t, path, data, 0o755)
		})
	}
}

func TestAnUploadTakesThreeExecsAndASkipOne(t *testing.T) {
	data, digest := content(1000)
	server, config := simulated(t, sshtest.Options{})
	client := dial(t, config)
	upload := uploadOf(data, digest, filepath.Join(t.TempDir(), "file"))
	_, err := client.Upload(t.Context(), upload)
	assert.NilError(t, err)
	assert.Equal(t, len(server.Execs()), 3)
	_, err = client.Upload(t.Context(), upload)
	assert.NilError(t, err)
	assert.Equal(t, len(server.Execs()), 1)
}

func TestAnUploadThatWasCutIsResumed(t *testing.T) {
	data, digest := content(24 << 20)
	for _, path := range []string{"file", "file that scp cannot have"} {
		t.Run(path, func(t *testing.T) {
			server, config := openSSH(t, sshtest.OpenSSHOptions{})
			network := sshtest.NewNetwork(t, fmt.Sprintf("127.0.0.1:%d", server.Port))
			config.Port = network.Port
			client := dial(t, config)
			upload := uploadOf(data, digest, filepath.Join(t.TempDir(), path))
			network.CutAfter(10 << 20)
			_, err := client.Upload(t.Context(), upload)
			assert.Equal(t, errclass.ClassOf(err), errclass.Transient, err)
			_, err = os.Stat(upload.Path)
			assert.Assert(t, os.IsNotExist(err), "half a file has the final name")

			result, err := dial(t, config).Upload(t.Context(), upload)
			assert.NilError(t, err)
			assert.Assert(t, result.Resumed)
			assert.Assert(t, result.Bytes < int64(len(data)), "everything was sent again")
			assertFile(t, upload.Path, data, 0o755)
		})
	}
}

func TestAPartThatIsWrongIsReplaced(t *testing.T) {
	data, digest := content(5 << 20)
	for name, part := range map[string][]byte{
		"other bytes": bytes.Repeat([]byte("x"), 3<<20),
		"too long":    bytes.Repeat([]byte("x"), 6<<20),
		"full length": bytes.Repeat([]byte("x"), 5<<20),
		"complete":    data,
		"empty":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			_, config := openSSH(t, sshtest.OpenSSHOptions{})
			upload := uploadOf(data, digest, filepath.Join(t.TempDir(), "file"))
			writeFile(t, upload.Path+".partial", string(part))
			_, err := dial(t, config).Upload(t.Context(), upload)
			assert.NilError(t, err)
			assertFile(t, upload.Path, data, 0o755)
		})
	}
}

func TestContentWithTheWrongDigestIsNeverPutInPlace(t *testing.T) {
	data, _ := content(2 << 20)
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	wrong := strings.Repeat("0", 64)
	upload := uploadOf(data, wrong, filepath.Join(t.TempDir(), "file"))
	_, err := dial(t, config).Upload(t.Context(), upload)
	assert.ErrorContains(t, err, "instead of "+wrong)
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
	left, err := os.ReadDir(filepath.Dir(upload.Path))
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0)
}

func TestAFollowedUploadLeavesItsPartToTheReader(t *testing.T) {
	data, digest := content(2<<20 + 1)
	server, config := simulated(t, sshtest.Options{})
	client := dial(t, config)
	upload := uploadOf(data, digest, filepath.Join(t.TempDir(), "file"))
	upload.LeavePartial = true
	_, err := client.Upload(t.Context(), upload)
	assert.NilError(t, err)
	got, err := os.ReadFile(upload.Path + ".partial")
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(got, data))
	assert.Equal(t, len(server.Execs()), 2)

	assert.NilError(t, os.Rename(upload.Path+".partial", upload.Path))
	result, err := client.Upload(t.Context(), upload)
	assert.NilError(t, err)
	assert.Assert(t, result.Skipped)
}

func TestContentOfUnknownSizeIsStreamed(t *testing.T) {
	data, digest := content(3 << 20)
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	upload := uploadOf(data, digest, filepath.Join(t.TempDir(), "file"))
	upload.Size = 0
	result, err := dial(t, config).Upload(t.Context(), upload)
	assert.NilError(t, err)
	assert.Equal(t, result.Method, "stream")
	assertFile(t, upload.Path, data, 0o755)
}

// brokenSource gives some of its bytes and then an error, or ends early.
type brokenSource struct {
	io.Reader
	err error
}

func (b brokenSource) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) && b.err != nil {
		err = b.err
	}
	return n, err
}

func (brokenSource) Close() error { return nil }

func TestASourceThatBreaksIsBlamed(t *testing.T) {
	data, digest := content(2 << 20)
	torn := errclass.With(errclass.Transient, errors.New("the repository hung up"))
	for _, name := range []string{"file", "stream file"} {
		for _, c := range []struct {
			err  error
			says string
		}{{torn, "the repository hung up"}, {nil, "it ended early, after 2097152 of 2097153 bytes"}} {
			t.Run(name+" "+c.says, func(t *testing.T) {
				_, config := openSSH(t, sshtest.OpenSSHOptions{})
				upload := uploadOf(data, digest, filepath.Join(t.TempDir(), name))
				upload.Size++
				upload.Source = func(int64) (io.ReadCloser, error) {
					return brokenSource{bytes.NewReader(data), c.err}, nil
				}
				_, err := dial(t, config).Upload(t.Context(), upload)
				assert.ErrorContains(t, err, c.says)
				if c.err != nil {
					assert.Equal(t, errclass.ClassOf(err), errclass.Transient)
				}
			})
		}
	}
}

func TestAPathFullOfShellIsOnlyAPath(t *testing.T) {
	data, digest := content(100)
	_, config := openSSH(t, sshtest.OpenSSHOptions{})
	dir := t.TempDir()
	upload := uploadOf(data, digest, dir+"/$(touch "+strings.ReplaceAll(dir, "/", "\\/")+"pwned)`id` \"'\n;x")
	_, err := dial(t, config).Upload(t.Context(), upload)
	assert.NilError(t, err)
	left, err := os.ReadDir(dir)
	assert.NilError(t, err)
	assertFile(t, upload.Path, data, 0o755)
	assert.Assert(t, len(left) == 1, "%v", left)
}

func TestACancelledUploadEnds(t *testing.T) {
	data, digest := content(8 << 20)
	for _, name := range []string{"file", "stream file"} {
		t.Run(name, func(t *testing.T) {
			_, config := openSSH(t, sshtest.OpenSSHOptions{})
			client := dial(t, config)
			ctx, cancel := context.WithCancel(t.Context())
			upload := uploadOf(data, digest, filepath.Join(t.TempDir(), name))
			upload.Progress = func(int64, int64) { cancel() }
			_, err := client.Upload(ctx, upload)
			assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled, err)
			works(t, client)
		})
	}
}

func BenchmarkUploadOfArgosy(b *testing.B) {
	for _, name := range []string{"scp", "a stream"} {
		b.Run("by "+name, func(b *testing.B) {
			data, digest := content(256 << 20)
			_, config := openSSH(b, sshtest.OpenSSHOptions{})
			client := dial(b, config)
			upload := uploadOf(data, digest, filepath.Join(b.TempDir(), name))
			upload.LeavePartial = true
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				_ = os.Remove(upload.Path + ".partial")
				_, err := client.Upload(b.Context(), upload)
				assert.NilError(b, err)
			}
		})
	}
}

func BenchmarkUploadOfOpenSSH(b *testing.B) {
	data, _ := content(256 << 20)
	dir := b.TempDir()
	key := sshtest.NewKey(b)
	server := sshtest.StartOpenSSH(b, sshtest.OpenSSHOptions{Authorized: []sshtest.Key{key}})
	writeFile(b, dir+"/key", key.PEM(b, ""))
	writeFile(b, dir+"/from", string(data))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		_ = os.Remove(dir + "/to")
		command := exec.Command("scp", "-q", "-P", strconv.Itoa(server.Port), "-i", dir+"/key", "-o",
			"StrictHostKeyChecking=no",
			"-o", "UserKnownHostsFile=/dev/null", dir+"/from", server.User+"@127.0.0.1:"+dir+"/to")
		out, err := command.CombinedOutput()
		assert.NilError(b, err, string(out))
	}
}

// local is a runner whose machine is this computer.
type local struct{}

func (local) Run(ctx context.Context, command ssh.Command) (ssh.Result, error) {
	process := exec.CommandContext(ctx, command.Argv[0], command.Argv[1:]...)
	process.Stdin = command.Stdin
	output, err := process.Output()
	return ssh.Result{Stdout: output}, err
}

func TestAnUploadByAnotherWayIsResumedToo(t *testing.T) {
	data, digest := content(5 << 20)
	for name, c := range map[string]struct {
		part []byte
		want ssh.UploadResult
	}{
		"nothing there": {want: ssh.UploadResult{Bytes: 5 << 20, Method: "stream"}},
		"a part": {
			part: data[:3<<20+7],
			want: ssh.UploadResult{Bytes: 2 << 20, Method: "stream", Resumed: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			upload := uploadOf(data, digest, filepath.Join(t.TempDir(), "file"))
			upload.LeavePartial = true
			var last int64
			upload.Progress = func(done, _ int64) { last = done }
			if c.part != nil {
				writeFile(t, upload.Path+".partial", string(c.part))
			}
			result, err := ssh.UploadBy(t.Context(), local{}, "m1", upload)
			assert.NilError(t, err)
			assert.Equal(t, result, c.want)
			assert.Equal(t, last, int64(len(data)))
			got, err := os.ReadFile(upload.Path + ".partial")
			assert.NilError(t, err)
			assert.Assert(t, bytes.Equal(got, data))
		})
	}
}
