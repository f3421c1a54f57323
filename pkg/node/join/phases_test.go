package join

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/images/archivetest"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/nodetest"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

func holds(t *testing.T, m *machine, check func(context.Context, *node.Context) (bool, string, error)) bool {
	t.Helper()
	held, _, err := check(context.Background(), m.context)
	assert.NilError(t, err)
	return held
}

func apply(t *testing.T, m *machine, do func(context.Context, *node.Context) (string, error)) string {
	t.Helper()
	detail, err := do(context.Background(), m.context)
	assert.NilError(t, err)
	return detail
}

// below returns the files in a folder of the machine.
func (m *machine) below(dir string) []string {
	entries, _ := os.ReadDir(m.host.Path(dir))
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestABundleThatArrivesIsUnpackedUnderItsDigest(t *testing.T) {
	m := newMachine(t)
	data := m.archive(bundleFiles())
	partial := m.host.Path(spec.BundlesDir + "/" + m.join.Bundle.SHA256 + ".tar.gz.partial")
	assert.NilError(t, os.MkdirAll(filepath.Dir(partial), 0o700))
	done := make(chan error, 1)
	go func() {
		_, err := applyBundle(context.Background(), m.context)
		done <- err
	}()
	file, err := os.Create(partial)
	assert.NilError(t, err)
	for part := range bytes.SplitAfterSeq(data, []byte{'a'}) {
		_, err := file.Write(part)
		assert.NilError(t, err)
	}
	assert.NilError(t, file.Close())
	assert.NilError(t, <-done)
	assert.Assert(t, holds(t, m, checkBundle))
	assert.DeepEqual(t, m.below("/usr/local/bin/.argosy"), []string{m.join.Bundle.SHA256})

	assert.NilError(t, os.WriteFile(m.host.Path(release(m.join, "kubelet")), []byte("damaged"), 0o755))
	assert.Assert(t, !holds(t, m, checkBundle))
}

func TestWrongBundleLeavesAndRunsNothing(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(m *machine, data []byte) []byte
		says  string
	}{
		"another digest": {
			func(_ *machine, data []byte) []byte { data[len(data)/2] ^= 1; return data },
			"was expected",
		},
		"another architecture": {func(m *machine, _ []byte) []byte {
			files := bundleFiles()
			files["kubelet"] = nodetest.ELF(map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH])
			return m.archive(files)
		}, "the bundle's kubelet is for "},
		"no kubeadm": {func(m *machine, _ []byte) []byte {
			files := bundleFiles()
			delete(files, "kubeadm")
			return m.archive(files)
		}, "it lacks release/kubeadm"},
		"not an ELF": {func(m *machine, _ []byte) []byte {
			files := bundleFiles()
			files["runc"] = "#!/bin/sh"
			return m.archive(files)
		}, "reading the ELF header"},
		"leaves folder": {
			func(m *machine, _ []byte) []byte { return m.archive(map[string]string{"../../evil": "x"}) },
			`refusing entry "./release/../../evil"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			data := m.archive(bundleFiles())
			m.receive(test.spoil(m, data))
			_, err := applyBundle(context.Background(), m.context)
			assert.ErrorContains(t, err, test.says)
			assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
			assert.Equal(t, len(m.below("/usr/local/bin/.argosy")), 0)
			assert.Equal(t, len(m.programs.calls), 0, "something of it was run: %v", m.programs.calls)
		})
	}
}

func TestABundleOfAnotherVersionIsRefused(t *testing.T) {
	m := newMachine(t)
	m.receive(m.archive(bundleFiles()))
	m.join.KubernetesVersion = "v1.33.13"
	_, err := applyBundle(context.Background(), m.context)
	assert.ErrorContains(t, err, "its kubelet is v1.34.4, but v1.33.13 was asked for")
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
}

// fakeRepository serves data, and breaks the first connections off half-way.
func fakeRepository(t *testing.T, data []byte, breaks int) (url string, ranges *[]string) {
	ranges = &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*ranges = append(*ranges, r.Header.Get("Range"))
		if len(*ranges) <= breaks {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:len(data)/2])
			return
		}
		http.ServeContent(w, r, "bundle", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(server.Close)
	return server.URL + "/bundle.tar.gz", ranges
}

func TestABundleIsPulledAndResumed(t *testing.T) {
	m := newMachine(t)
	data := m.archive(bundleFiles())
	var ranges *[]string
	m.join.Bundle.URL, ranges = fakeRepository(t, data, 1)
	apply(t, m, applyBundle)
	assert.Assert(t, holds(t, m, checkBundle))
	assert.DeepEqual(t, *ranges, []string{"", fmt.Sprintf("bytes=%d-", len(data)/2)})
	assert.Equal(t, len(m.below(spec.BundlesDir)), 0, "the archive stays")
}

func TestAPartOfAnotherBundleIsGivenUp(t *testing.T) {
	m := newMachine(t)
	data := m.archive(bundleFiles())
	m.join.Bundle.URL, _ = fakeRepository(t, data, 0)
	m.write(spec.BundlesDir+"/"+m.join.Bundle.SHA256+".tar.gz.partial", "the beginning of something else")
	apply(t, m, applyBundle)
	assert.Assert(t, holds(t, m, checkBundle))
}

func TestPartialDownloadFromBeforePowerLossIsReplaced(t *testing.T) {
	zeros := func(n int) string { return strings.Repeat("\x00", n) }
	for name, left := range map[string]func(data []byte) (suffix, content string){
		"all of it":            func(data []byte) (string, string) { return ".partial", string(data) },
		"zeros of full length": func(data []byte) (string, string) { return ".partial", zeros(len(data)) },
		"a part of zeros":      func(data []byte) (string, string) { return ".partial", zeros(len(data) / 2) },
		"more than there is":   func(data []byte) (string, string) { return ".partial", string(data) + "more" },
		"nothing":              func([]byte) (string, string) { return ".partial", "" },
		"zeros with its name":  func(data []byte) (string, string) { return "", zeros(len(data)) },
	} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, size known: %v", name, known), func(t *testing.T) {
				m := newMachine(t)
				data := m.archive(bundleFiles())
				m.join.Bundle.URL, _ = fakeRepository(t, data, 0)
				m.join.Bundle.Size = 0
				if known {
					m.join.Bundle.Size = int64(len(data))
				}
				suffix, content := left(data)
				m.write(spec.BundlesDir+"/"+m.join.Bundle.SHA256+".tar.gz"+suffix, content)
				apply(t, m, applyBundle)
				assert.Assert(t, holds(t, m, checkBundle))
				assert.Equal(t, len(m.below(spec.BundlesDir)), 0, "the archive stays")
			})
		}
	}
}

func TestARepositoryWithoutTheBundleIsNoReasonToRetry(t *testing.T) {
	m := newMachine(t)
	m.archive(bundleFiles())
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	m.join.Bundle.URL = server.URL + "/x.tar.gz"
	_, err := applyBundle(context.Background(), m.context)
	assert.ErrorContains(t, err, "404")
	assert.Assert(t, !errclass.IsTransient(err))
}

func TestIPv6IsForwardedWherePodsHaveIt(t *testing.T) {
	for network, want := range map[string]string{"10.244.0.0/16": "0\n", "fd00:10::/56": "1\n"} {
		m := newMachine(t)
		m.join.PodNetworks = []string{network}
		m.write("/proc/sys/net/ipv6/conf/all/forwarding", "0\n")
		holds, detail, err := checkKernel(t.Context(), m.context)
		assert.NilError(t, err)
		assert.Assert(t, !holds)
		assert.Equal(t, strings.Contains(detail, "net.ipv6.conf.all.forwarding=1"), want == "1\n", detail)
		_, err = applyKernel(t.Context(), m.context)
		assert.NilError(t, err)
		assert.Equal(t, m.read("/proc/sys/net/ipv6/conf/all/forwarding"), want)
		assert.Equal(t, strings.Contains(m.read(layout.SysctlFile), "-net.ipv6.conf.all.forwarding = 1"), want == "1\n")
	}
}

func TestKernelIsSetUpAlsoForNextBoot(t *testing.T) {
	m := newMachine(t)
	assert.Assert(t, !holds(t, m, checkKernel))
	apply(t, m, applyKernel)
	assert.Assert(t, holds(t, m, checkKernel))
	assert.Equal(t, m.read("/proc/sys/net/ipv4/ip_forward"), "1\n")
	assert.Equal(t, len(m.programs.calls), 0, "what is there is not loaded")
}

func TestAMissingModuleIsLoadedOrRefusedOrTolerated(t *testing.T) {
	const bridge = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	for name, test := range map[string]struct {
		loads, ignore bool
		err           string
	}{
		"loaded":    {loads: true},
		"refused":   {err: `loading kernel module "br_netfilter"`},
		"tolerated": {ignore: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			assert.NilError(t, os.RemoveAll(m.host.Path(filepath.Dir(bridge))))
			m.programs.answers["modprobe"] = func(argv []string) (string, error) {
				if !test.loads {
					return "modprobe: FATAL: Module not found", errors.New("exit status 1")
				}
				m.write(bridge, "0\n")
				m.write(strings.Replace(bridge, "iptables", "ip6tables", 1), "0\n")
				return "", nil
			}
			if test.ignore {
				m.ignore(bridgeCheck)
			}
			detail, err := applyKernel(context.Background(), m.context)
			if test.err != "" {
				assert.ErrorContains(t, err, test.err)
				assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
				return
			}
			assert.NilError(t, err)
			assert.Assert(t, holds(t, m, checkKernel))
			if test.loads {
				assert.Equal(t, m.read(bridge), "1\n")
				assert.Equal(t, detail, "loaded br_netfilter; sysctls set")
			} else {
				assert.Assert(t, strings.Contains(detail, "without br_netfilter"), detail)
			}
		})
	}
}

func TestBinariesAreLinkedAndWhatStoodThereIsNoted(t *testing.T) {
	m := newMachine(t).withBundle()
	m.write("/usr/local/bin/runc", "an older runc")
	assert.Assert(t, !holds(t, m, checkBinaries))
	apply(t, m, applyBinaries)
	assert.Assert(t, holds(t, m, checkBinaries))
	assert.Equal(t, m.before("/usr/local/bin/runc"), "an older runc")
	assert.DeepEqual(t, m.below("/opt/cni/bin"), []string{"bridge", "loopback"})
	from, err := os.Stat(m.host.Path(release(m.join, "kubelet")))
	assert.NilError(t, err)
	to, err := os.Stat(m.host.Path("/usr/local/bin/kubelet"))
	assert.NilError(t, err)
	assert.Assert(t, os.SameFile(from, to), "installing is a hard link")

	m.remove("/usr/local/bin/ctr")
	m.write("/usr/local/bin/ctr", "somebody's own")
	assert.Assert(t, !holds(t, m, checkBinaries), "a file that was swapped is noticed")
	m.write("/usr/local/bin/.argosy-ctr.tmp", "left by a crash")
	detail := apply(t, m, applyBinaries)
	_, kept, parts := strings.Cut(detail, "; edits on the machine are kept as ")
	assert.Assert(t, parts, detail)
	assert.Equal(t, m.read(kept), "somebody's own")
	for _, name := range append(m.below("/usr/local/bin"), m.below(original.Dir)...) {
		assert.Assert(t, !strings.HasSuffix(name, ".tmp"), name)
	}
}

// socket makes containerd answer.
func (m *machine) socket() {
	m.t.Helper()
	path := m.host.Path(layout.ContainerdSocket)
	assert.NilError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	// The name of a socket is short, and a test's folder is not.
	m.t.Chdir(filepath.Dir(path))
	listener, err := net.Listen("unix", filepath.Base(path))
	assert.NilError(m.t, err)
	m.t.Cleanup(func() { _ = listener.Close() })
}

func TestContainerdIsSetUpOnceAndAgainAfterACrash(t *testing.T) {
	m := newMachine(t).withBundle()
	m.socket()
	m.write(layout.ContainerdConfig, "# somebody's own\n")
	assert.Assert(t, !holds(t, m, checkContainerd))
	detail := apply(t, m, applyContainerd)
	assert.Assert(t, strings.Contains(detail, "config.toml that was there comes back by a reset"), detail)
	assert.Equal(t, m.before(layout.ContainerdConfig), "# somebody's own\n")
	assert.Assert(t, m.programs.called("systemctl daemon-reload"))
	assert.Assert(t, m.programs.called("systemctl restart containerd.service"))
	assert.Assert(t, holds(t, m, checkContainerd))

	// The crash: files written, service not restarted.
	m.write(layout.ContainerdConfig, m.read(layout.ContainerdConfig)+"# changed\n")
	m.programs.answers["systemctl"] = func([]string) (string, error) { return "", errors.New("exit status 1") }
	_, err := applyContainerd(context.Background(), m.context)
	assert.ErrorContains(t, err, "systemctl")
	assert.Assert(t, !holds(t, m, checkContainerd), "files alone do not make it hold")
}

func TestAServiceThatDoesNotStartShowsItsJournal(t *testing.T) {
	m := newMachine(t).withBundle()
	m.programs.answers["systemctl"] = func(argv []string) (string, error) {
		if argv[1] == "restart" {
			return "Job failed.", errors.New("exit status 1")
		}
		return "", nil
	}
	m.programs.answers["journalctl"] = func([]string) (string, error) { return "containerd: invalid config\n", nil }
	_, err := applyContainerd(context.Background(), m.context)
	var failure *node.Failure
	assert.Assert(t, errors.As(err, &failure))
	assert.DeepEqual(t, failure.Tail, []string{"containerd: invalid config"})
	assert.Equal(t, failure.Command, "journalctl --unit containerd.service")
}

func TestThePauseImageIsImportedAndPinned(t *testing.T) {
	m := newMachine(t).withBundle()
	m.socket()
	listed := "REF TYPE\n"
	m.programs.answers["ctr"] = func(argv []string) (string, error) {
		call := strings.Join(argv, " ")
		switch {
		case strings.Contains(call, "images list"):
			return listed, nil
		case strings.Contains(call, "--label"):
			return "flag provided but not defined: -label", errors.New("exit status 1")
		}
		return "", nil
	}
	assert.Assert(t, !holds(t, m, checkImages))
	apply(t, m, applyImages)
	assert.Assert(t, strings.HasSuffix(m.programs.calls[len(m.programs.calls)-1],
		"images label registry.k8s.io/pause:3.10.1 "+pinned), "containerd 1.x labels afterwards")
	listed += "registry.k8s.io/pause:3.10.1 x io.cri-containerd.image=managed,io.cri-containerd.pinned=pinned\n"
	assert.Assert(t, holds(t, m, checkImages))

	m.join.Containerd.PauseImage = "registry.example.org/pause:1"
	held, detail, err := checkImages(context.Background(), m.context)
	assert.NilError(t, err)
	assert.Assert(t, held)
	assert.Assert(t, strings.Contains(detail, "pulled when it is first needed"), detail)

	// The user's own images bring it later, and then it is pinned as well.
	listed += "registry.example.org/pause:1 x io.cri-containerd.image=managed\nregistry.example.org/pause:10 x -\n"
	assert.Assert(t, !holds(t, m, checkImages))
	m.programs.calls = nil
	apply(t, m, applyImages)
	assert.Assert(t, strings.HasSuffix(m.programs.calls[len(m.programs.calls)-1],
		"images label registry.example.org/pause:1 "+pinned))
	assert.Assert(t, !m.programs.called("ctr --address "+m.host.Path(layout.ContainerdSocket)+" --namespace k8s.io "+
		"images import"))

	// containerd knows an image with tag and digest by its digest.
	digest := "@sha256:" + strings.Repeat("0a", 32)
	m.join.Containerd.PauseImage = "docker.io/pause:1" + digest
	listed += "docker.io/library/pause" + digest + " x " + pinned + "\n"
	_, detail, err = checkImages(context.Background(), m.context)
	assert.NilError(t, err)
	assert.Equal(t, detail, "docker.io/library/pause"+digest+" is there and pinned")
}

func TestImagesAreUnpackedForTheSnapshotterOfTheOwner(t *testing.T) {
	const v3 = "[plugins.'io.containerd.cri.v1.images']\nsnapshotter = '"
	const v2 = "[plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = '"
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"none":           {nil, ""},
		"a drop-in":      {map[string]string{"conf.d/50-native.toml": v3 + "native'\n"}, "--snapshotter native "},
		"containerd 1.x": {map[string]string{"conf.d/50-zfs.toml": v2 + "zfs'\n"}, "--snapshotter zfs "},
		"the last drop-in": {
			map[string]string{"conf.d/1.toml": v3 + "a'\n", "conf.d/2.toml": v3 + "b'\n"},
			"--snapshotter b ",
		},
		"the owner's file": {map[string]string{"config.toml": v3 + "btrfs'\n"}, "--snapshotter btrfs "},
		"a drop-in over the owner's file": {
			map[string]string{
				"config.toml": v3 + "btrfs'\n",
				"conf.d/1.toml": "[plugins.'io.containerd.cri.v1.images']\n" +
					"snapshotter = 'overlayfs'\n",
			}, "--snapshotter overlayfs ",
		},
		"a file that cannot be read": {map[string]string{"conf.d/1.toml": v3}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t).withBundle()
			m.socket()
			for file, content := range test.files {
				m.write(layout.ContainerdDir+"/"+file, content)
			}
			m.programs.calls = nil
			apply(t, m, applyImages)
			begin := "ctr --address " + m.host.Path(layout.ContainerdSocket) + " --namespace k8s.io images import "
			assert.Assert(t, m.programs.called(begin+test.want+"--label "), "%q", m.programs.calls)
		})
	}
}

// A power cut leaves images with empty files, which containerd takes for whole, unless the file system was flushed.
func TestThePauseImageIsOnTheDisk(t *testing.T) {
	for name, help := range map[string]string{"a client that flushes": "--local --sync-fs", "an old client": ""} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t).withBundle()
			m.socket()
			m.programs.answers["ctr"] = func(argv []string) (string, error) {
				if slices.Contains(argv, "--help") {
					return help, nil
				}
				return "", nil
			}
			m.programs.calls = nil
			apply(t, m, applyImages)
			calls := strings.Join(m.programs.calls, "\n")
			assert.Equal(t, strings.Contains(calls, " images import --local --sync-fs --label "), help != "", calls)
			assert.Equal(t, strings.Contains(calls, "\nsync"), help == "", calls)
		})
	}
}

func TestUsersImagesAreImportedBesideThePauseImage(t *testing.T) {
	m := newMachine(t).withBundle()
	m.socket()
	m.write("/usr/local/bin/ctr", "ctr")
	assert.NilError(t, os.Chmod(m.host.Path("/usr/local/bin/ctr"), 0o755))
	pinnedPause := "registry.k8s.io/pause:3.10.1 x sha256:01 io.cri-containerd.pinned=pinned\n"
	listed := pinnedPause
	m.programs.answers["ctr"] = func(argv []string) (string, error) {
		if slices.Contains(argv, "list") {
			return listed, nil
		}
		return "", nil
	}
	m.join.ImportImages = []spec.ImageSource{{Name: "/images", Path: "/images"}}
	archive := archivetest.Image{Name: "registry.example.org/app:v1", Size: 100}
	var content bytes.Buffer
	digest, err := archive.WriteLayout(&content)
	assert.NilError(t, err)
	m.write("/images/app.tar", content.String())

	_, detail, err := checkImages(t.Context(), m.context)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(detail, "1 of 1 archives to import: /images/app.tar"), detail)
	_, err = applyImages(t.Context(), m.context)
	assert.ErrorContains(t, err, "the runtime has no image registry.example.org/app:v1")
	listed += "registry.example.org/app:v1 x " + digest + " 1 KiB\n"
	detail, err = applyImages(t.Context(), m.context)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(detail, "1 of 1 archives imported"), detail)
	assert.Assert(t, holds(t, m, checkImages))
}

func TestTheKubeletsUnitIsInstalledAndNotStarted(t *testing.T) {
	m := newMachine(t).withBundle()
	assert.Assert(t, !holds(t, m, checkKubelet))
	m.programs.calls = nil
	apply(t, m, applyKubelet)
	assert.Assert(t, holds(t, m, checkKubelet))
	assert.Equal(t, len(m.programs.calls), 0)
	assert.Assert(t, inspect.Kubelet(m.host, nil, nil).Ours)

	m.write(layout.KubeletConfig, "")
	m.write(layout.UnitsDir+"/kubelet.service", "changed")
	apply(t, m, applyKubelet)
	assert.Assert(t, m.programs.called("systemctl try-restart kubelet.service"),
		"a kubelet that runs gets the new unit")
}

// kubeadmJoins is a kubeadm with the effects of the real one on the machine.
func (m *machine) kubeadmJoins() {
	m.programs.answers["kubeadm"] = func(argv []string) (string, error) {
		configuration := m.read(strings.TrimPrefix(argv[3], m.host.Root))
		assert.Assert(m.t, strings.Contains(configuration, testToken))
		info, err := os.Stat(argv[3])
		assert.NilError(m.t, err)
		assert.Equal(m.t, info.Mode(), os.FileMode(0o600))
		for _, name := range []string{inspect.KubeletConf, layout.BootstrapConf, layout.ClusterCA} {
			assert.Assert(m.t, !m.host.Exists(name), "%s is in kubeadm's way", name)
		}
		m.joined(m.ca, m.join.Server, "m1", time.Now().Add(time.Hour))
		m.write(layout.KubeletConfig, "kind: KubeletConfiguration\n")
		m.write(layout.KubeletFlags, "KUBELET_KUBEADM_ARGS=\"--hostname-override=m1\"\n")
		return "This node has joined the cluster\n", nil
	}
}

func TestKubeadmJoinsAndNothingSecretStays(t *testing.T) {
	for name, before := range map[string]func(m *machine){
		"a clean machine": func(*machine) {},
		"an unfinished join": func(m *machine) {
			m.write(layout.BootstrapConf, "token: old")
			m.write(layout.ClusterCA, m.join.CACert)
		},
		"an expired node": func(m *machine) { m.joined(m.ca, m.join.Server, "m1", time.Now().Add(-time.Hour)) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			assert.NilError(t, m.context.Store.Prepare("op"))
			assert.NilError(t, m.context.Store.WriteOperation(m.context.Operation))
			before(m)
			m.kubeadmJoins()
			assert.Assert(t, !holds(t, m, checkKubeadm))
			apply(t, m, applyKubeadm)
			assert.Assert(t, holds(t, m, checkKubeadm))
			assert.DeepEqual(t, m.below("/var/lib/argosy/ops/op"), []string{"spec.json"})
			assert.Assert(t, !strings.Contains(m.read("/var/lib/argosy/ops/op/spec.json"), testToken))
		})
	}
}

func TestJoinInterruptedAfterCredentialsIsOnlyFinished(t *testing.T) {
	m := newMachine(t)
	m.joined(m.ca, m.join.Server, "m1", time.Now().Add(time.Hour))
	m.write(layout.BootstrapConf, testToken)
	assert.Assert(t, !holds(t, m, checkKubeadm))
	m.context.Operation.Secrets = spec.Secrets{}
	apply(t, m, applyKubeadm)
	assert.Assert(t, holds(t, m, checkKubeadm))
	assert.Equal(t, len(m.programs.calls), 0)
}

func TestANodeIsHealthyWhenTheInstalledKubeletSaysSo(t *testing.T) {
	m := newMachine(t).withBundle()
	apply(t, m, applyBinaries)
	healthz := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, r.URL.Path, "/healthz")
	}))
	defer healthz.Close()
	_, port, err := net.SplitHostPort(healthz.Listener.Addr().String())
	assert.NilError(t, err)
	m.write(layout.KubeletConfig, "healthzPort: "+port+"\n")
	assert.Assert(t, !holds(t, m, checkHealthy), "no kubelet runs")
	m.write("/proc/812/comm", "kubelet\n")
	// As in /proc, this is the file itself and not its name.
	assert.NilError(t, os.Link(m.host.Path("/usr/local/bin/kubelet"), m.host.Path("/proc/812/exe")))
	assert.Assert(t, !holds(t, m, checkHealthy), "there is no record yet")
	apply(t, m, applyHealthy)
	assert.Assert(t, holds(t, m, checkHealthy))
	record, err := m.context.Store.Record()
	assert.NilError(t, err)
	assert.Equal(t, record.NodeName, "m1")
	assert.Equal(t, record.Bundle, m.join.Bundle.SHA256)

	m.remove("/usr/local/bin/kubelet")
	m.write("/usr/local/bin/kubelet", "another one")
	assert.Assert(t, !holds(t, m, checkHealthy), "the kubelet that runs is not the one installed")
}

func TestAKubeletThatCannotStartIsNotWaitedFor(t *testing.T) {
	for name, test := range map[string]struct {
		counts []string // what systemd says, the last from then on
		says   string
		calls  int
	}{
		"it starts again and again": {
			counts: []string{"7", "12"}, says: "systemd had to start it 5 times anew",
			calls: 2,
		},
		"it was started by hand between": {
			counts: []string{"7", "1", "6"},
			says:   "systemd had to start it 5 times anew", calls: 3,
		},
		"it had started often before": {counts: []string{"7", "11"}, says: "context deadline exceeded", calls: 3},
		"systemd does not say":        {counts: []string{"", "9"}, says: "context deadline exceeded", calls: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t).withBundle()
			apply(t, m, applyBinaries)
			m.write(layout.KubeletConfig, "")
			asked := 0
			m.programs.answers["systemctl"] = func(argv []string) (string, error) {
				if argv[1] != "show" {
					return "", nil
				}
				count := test.counts[min(asked, len(test.counts)-1)]
				asked++
				return "NRestarts=" + count + "\n", nil
			}
			m.programs.answers["journalctl"] = func([]string) (string, error) { return "kubelet: unknown flag\n", nil }
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			_, err := applyHealthy(ctx, m.context)
			assert.ErrorContains(t, errors.Join(err, ctx.Err()), test.says)
			var failure *node.Failure
			assert.Assert(t, errors.As(err, &failure))
			assert.DeepEqual(t, failure.Tail, []string{"kubelet: unknown flag"})
			assert.Equal(t, asked, test.calls, "it is asked once a second")
		})
	}
}

func TestKubeletFromAnotherFileIsRestarted(t *testing.T) {
	for name, test := range map[string]struct {
		before func(m *machine)
		verb   string
	}{
		"none runs, or is only just starting": {func(*machine) {}, "start"},
		"another one runs": {func(m *machine) {
			m.write("/proc/812/comm", "kubelet\n")
			m.write("/proc/812/exe", "another one")
		}, "restart"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t).withBundle()
			apply(t, m, applyBinaries)
			m.write(layout.KubeletConfig, "healthzPort: 0\n")
			test.before(m)
			m.programs.calls = nil
			m.programs.answers["systemctl"] = func([]string) (string, error) {
				_ = m.host.Remove("/proc/812/exe")
				m.write("/proc/812/comm", "kubelet\n")
				return "", os.Link(m.host.Path("/usr/local/bin/kubelet"), m.host.Path("/proc/812/exe"))
			}
			apply(t, m, applyHealthy)
			assert.DeepEqual(t, m.programs.calls, []string{"systemctl " + test.verb + " kubelet.service"})
		})
	}
}

func TestKubeadmDoesNotRunBeforeTheJoinIsAdmitted(t *testing.T) {
	m := newMachine(t)
	assert.NilError(t, m.context.Store.Prepare("op"))
	m.context.Operation.Admission = true
	ctx, stop := context.WithCancelCause(context.Background())
	stop(errors.New("stopped"))
	_, err := applyKubeadm(ctx, m.context)
	assert.ErrorContains(t, err, "waiting to be admitted to the API server: stopped")
	assert.Equal(t, len(m.programs.calls), 0)
	assert.Equal(t, m.context.Operation.Secrets.BootstrapToken, testToken)
}
