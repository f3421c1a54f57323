package join

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/images"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/node/spread"
)

// stallTimeout is the time without new bytes after which receiving a bundle fails; the next start continues it.
const stallTimeout = 60 * time.Second

// checkBundle holds when the bundle was unpacked whole and its files are as they were then.
func checkBundle(ctx context.Context, c *node.Context) (bool, string, error) {
	j := c.Operation.Join
	dir := c.Host.Path(bundleDir(j))
	manifest, err := bundle.ReadManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Sprintf("bundle %s has to be received", j.Bundle.Name), nil
	}
	if err == nil {
		err = manifest.Verify(dir, bootID(c.Host))
	}
	if err != nil {
		return false, fmt.Sprintf("bundle %s has to be received again: %v", j.Bundle.Name, err), nil
	}
	if lacks := missingFiles(manifest, j); len(lacks) > 0 {
		return false, "", errclass.Errorf(errclass.Permanent, "examining bundle %q: it lacks %s", j.Bundle.Name,
			strings.Join(lacks, ", "))
	}
	if err := checkSkipped(ctx, c); err != nil {
		return false, "", err
	}
	remark, err := checkAccepted(ctx, c)
	if err != nil {
		return false, "", err
	}
	return true, withRemark(fmt.Sprintf("bundle %s is unpacked", j.Bundle.Name), remark), nil
}

// missingFiles returns the files that a bundle lacks. One that is on the machine already may have been received when
// the machine had a container runtime of its own.
func missingFiles(manifest *bundle.Manifest, j *spec.Join) []string {
	var lacks []string
	for _, name := range required(j) {
		if digestOf(manifest, "release/"+name) == "" {
			lacks = append(lacks, "release/"+name)
		}
	}
	return lacks
}

// applyBundle receives the bundle, unpacking and hashing it while it arrives, into a folder that gets its name only
// when the digest is right and the programs in it are for this machine. Nothing in it is executed before.
func applyBundle(ctx context.Context, c *node.Context) (string, error) {
	j := c.Operation.Join
	// The parts received and unpacked so far are in files of their own, so stopping here is safe.
	ctx, cancel := c.Interruptible(ctx)
	defer cancel()
	unpacked := filepath.Join(layout.Store(j.BinariesPath), ".unpack-"+j.Bundle.SHA256)
	temp := c.Host.Path(unpacked)
	defer func() { _ = os.RemoveAll(temp) }()

	began := time.Now()
	files, err := receive(ctx, c, unpacked)
	if err != nil {
		return "", fmt.Errorf("receiving bundle %q: %w", j.Bundle.Name, c.Host.Explain(unpacked, err))
	}
	// Meanwhile the programs in it are asked for their versions.
	synced := make(chan error, 1)
	go func() { synced <- syncBundle(c.Host, unpacked, files) }()
	manifest := &bundle.Manifest{SHA256: j.Bundle.SHA256, Files: files, BootID: bootID(c.Host), Synced: true}
	manifest.Versions, err = inspectBundle(ctx, c, temp)
	if failed := <-synced; failed != nil {
		return "", fmt.Errorf("syncing bundle %q: %w", j.Bundle.Name, failed)
	}
	if err != nil {
		return "", fmt.Errorf("examining bundle %q: %w", j.Bundle.Name, err)
	}
	if err := nameBundle(c.Host, unpacked, bundleDir(j), manifest); err != nil {
		return "", err
	}
	if err := checkSkipped(ctx, c); err != nil {
		return "", err
	}
	remark, err := checkAccepted(ctx, c)
	if err != nil {
		return "", err
	}
	return withRemark(fmt.Sprintf("bundle %s in %.1fs", j.Bundle.Name, time.Since(began).Seconds()), remark),
		noteAccepted(c, remark)
}

// withRemark adds a remark to a detail, if there is one.
func withRemark(detail, remark string) string {
	if remark == "" {
		return detail
	}
	return detail + "; " + remark
}

// receive unpacks the bundle into temp while it arrives. When the sender begins again, so does receive.
func receive(ctx context.Context, c *node.Context, temp string) ([]bundle.File, error) {
	for {
		if err := errors.Join(c.Host.RemoveAll(temp), c.Host.MkdirAll(temp, 0o755)); err != nil {
			return nil, fmt.Errorf("emptying %q: %w", temp, err)
		}
		files, err := receiveOnce(ctx, c, temp)
		if !errors.Is(err, bundle.ErrRestarted) {
			return files, err
		}
		fmt.Fprintln(c.Log, err)
	}
}

func receiveOnce(ctx context.Context, c *node.Context, temp string) ([]bundle.File, error) {
	wanted := c.Operation.Join.Bundle
	format, err := bundle.FormatOf(wanted.Name)
	if err != nil {
		return nil, err
	}
	if c.Spread != nil && wanted.URL == "" && wanted.Size > 0 {
		return receiveFromOthers(ctx, c, temp, format)
	}
	archive := archiveName(c.Host, wanted, format)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var resumed bool
	ended := func() {}
	if wanted.URL != "" {
		resumed = exists(archive+".partial") || exists(archive)
		var downloading sync.WaitGroup
		downloading.Go(func() {
			if err := download(ctx, c, archive); err != nil {
				cancel(err)
			}
		})
		// The follower below ends with the error of the download as its cause.
		ended = func() { cancel(nil); downloading.Wait() }
		defer ended()
	}
	follower := bundle.Follow(ctx, archive+".partial", archive, wanted.Size, stallTimeout)
	defer follower.Close()
	c.SetMessage("receiving %s", wanted.Name)
	// The follower may wait for more of the archive.
	hooks := unpackHooks(c, temp, cancel)
	files, err := bundle.Receive(ctx, node.ProgressReader(c, follower, wanted.Size, ""), format, wanted.SHA256,
		c.Host.Path(temp), hooks)
	// The download must not rename the archive from here on.
	ended()

	var mismatch *bundle.DigestError
	if errors.As(err, &mismatch) {
		err = errors.Join(err, removeArchive(archive))
		if resumed {
			// The part from an earlier attempt may be of another file at the same address, so it is downloaded again.
			return nil, fmt.Errorf("%w: %w", bundle.ErrRestarted, err)
		}
		return nil, err
	}
	if err != nil {
		return nil, classifyArchiveError(err)
	}
	// A sender may still be about to give it its final name.
	c.Defer(func() { _ = removeArchive(archive) })
	if wanted.URL != "" || exists(archive) {
		return files, removeArchive(archive)
	}
	return files, nil
}

// receiveFromOthers unpacks the bundle while its pieces arrive.
func receiveFromOthers(ctx context.Context, c *node.Context, temp string, format bundle.Format) ([]bundle.File, error) {
	wanted := c.Operation.Join.Bundle
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.SetMessage("receiving %s", wanted.Name)
	content, err := images.FromOthers(ctx, c, spread.File{Key: spread.BundleKey(wanted.SHA256), Size: wanted.Size})
	if err != nil {
		return nil, err
	}
	defer content.Close()
	files, err := bundle.Receive(ctx, node.ProgressReader(c, content, wanted.Size, ""), format, wanted.SHA256,
		c.Host.Path(temp), unpackHooks(c, temp, cancel))
	return files, classifyArchiveError(err)
}

// unpackHooks tell the host of changes; failed ends the transfer of the archive.
func unpackHooks(c *node.Context, temp string, failed func(error)) bundle.Hooks {
	return bundle.Hooks{
		Before: func(name string) error { return c.Host.Changing(host.OpWrite, filepath.Join(temp, name)) },
		Failed: failed,
	}
}

// classifyArchiveError makes the error of a damaged or hostile archive permanent; others keep their class.
func classifyArchiveError(err error) error {
	var entry *bundle.RefusedError
	if errors.As(err, &entry) {
		return errclass.With(errclass.Permanent, err)
	}
	return err
}

func archiveName(h *host.Host, wanted spec.Bundle, format bundle.Format) string {
	return h.Path(filepath.Join(spec.BundlesDir, wanted.SHA256+"."+string(format)))
}

func removeArchive(archive string) error {
	for _, name := range []string{archive, archive + ".partial"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing archive %q: %w", name, err)
		}
	}
	return nil
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// required returns the files without which a bundle cannot make a node.
func required(j *spec.Join) []string {
	if j.Containerd.External {
		return []string{"kubeadm", "kubelet"}
	}
	return slices.Concat([]string{"kubeadm", "kubelet"}, runtimePrograms, []string{"pause-image.txt"})
}

// inspectBundle checks that an unpacked bundle, whose digest is right, is complete, for this architecture and of the
// wanted version. It returns the versions of its programs.
func inspectBundle(ctx context.Context, c *node.Context, dir string) (map[string]string, error) {
	var missing []string
	for _, name := range required(c.Operation.Join) {
		if !exists(filepath.Join(dir, "release", name)) {
			missing = append(missing, "release/"+name)
		}
	}
	if len(missing) > 0 {
		return nil, errclass.Errorf(errclass.Permanent, "it lacks %s", strings.Join(missing, ", "))
	}
	asked := []string{"kubelet"}
	for _, name := range []string{"kubelet", "containerd", "runc"} {
		program := filepath.Join(dir, "release", name)
		if c.Operation.Join.Containerd.External && !exists(program) {
			continue
		}
		if err := bundle.CheckMachine(program, runtime.GOARCH); err != nil {
			return nil, err
		}
		if name == "containerd" {
			asked = append(asked, name)
		}
	}
	versions := map[string]string{}
	var mu sync.Mutex
	var asking sync.WaitGroup
	var errs []error
	for _, name := range asked {
		asking.Go(func() {
			output, err := c.Host.Runner.Run(ctx, host.Command{Argv: []string{
				filepath.Join(dir, "release", name),
				"--version",
			}})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("asking the bundle's %s for its version: %w", name, err))
			}
			versions[name] = inspect.ParseVersion(string(output))
		})
	}
	asking.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if want := c.Operation.Join.KubernetesVersion; versions["kubelet"] != want {
		return nil, errclass.Errorf(errclass.Permanent, "its kubelet is %s, but %s was asked for", versions["kubelet"],
			want)
	}
	return versions, nil
}

// nameBundle writes the manifest of an unpacked bundle, whose files are synced, and renames its folder.
func nameBundle(h *host.Host, unpacked, dir string, manifest *bundle.Manifest) error {
	data, err := manifest.Encode()
	if err != nil {
		return err
	}
	if _, err := h.WriteFile(filepath.Join(unpacked, bundle.CompleteFile), data, 0o644); err != nil {
		return err
	}
	if err := errors.Join(h.SyncFolders(), h.RemoveAll(dir)); err != nil {
		return fmt.Errorf("replacing bundle folder %q: %w", dir, err)
	}
	if err := h.Rename(unpacked, dir); err != nil {
		return fmt.Errorf("naming bundle folder %q: %w", dir, err)
	}
	return nil
}

// syncBundle syncs the files of an unpacked bundle. Most of their content is on the disk already, see bundle.Unpack. A
// sync of the whole file system would also wait for writes of other programs.
func syncBundle(h *host.Host, dir string, files []bundle.File) error {
	folders := []string{dir}
	for _, file := range files {
		name := filepath.Join(dir, file.Path)
		if err := h.Sync(name); err != nil {
			return err
		}
		for above := filepath.Dir(name); !slices.Contains(folders, above); above = filepath.Dir(above) {
			folders = append(folders, above)
		}
	}
	return h.Sync(folders...)
}

func bootID(h *host.Host) string { return h.ReadLine("/proc/sys/kernel/random/boot_id") }
