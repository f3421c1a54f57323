package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
)

// Runtime is the container runtime that images are imported into. Only containerd can import them, by its client ctr.
type Runtime struct {
	// BinariesPath is where a join installs ctr.
	BinariesPath string
	// CRISocket as the kubelet names it, "unix:///run/containerd/containerd.sock"; empty for Argosy's containerd.
	CRISocket string
}

func (r Runtime) socket() string {
	if path := strings.TrimPrefix(r.CRISocket, "unix://"); path != "" {
		return path
	}
	return layout.ContainerdSocket
}

// ctr returns the path of containerd's client: where a join installs it, where programs usually are, or in the bundle
// of the join. "" when there is none.
func (r Runtime) ctr(h *host.Host) string {
	for _, dir := range []string{
		r.BinariesPath, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin",
		"/bin", "/opt/bin",
	} {
		if file := h.Path(filepath.Join(dir, "ctr")); isProgram(file) {
			return file
		}
	}
	bundled, _ := filepath.Glob(h.Path(filepath.Join(layout.Store(r.BinariesPath), "*", "release", "ctr")))
	if at := slices.IndexFunc(bundled, isProgram); at >= 0 {
		return bundled[at]
	}
	return ""
}

func isProgram(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// answers reports whether the runtime answers and has a client.
func (r Runtime) answers(ctx context.Context, h *host.Host) bool {
	return r.ctr(h) != "" && inspect.Answers(ctx, h, r.socket()) == nil
}

// command returns a command of ctr in the kubelet's namespace.
func (r Runtime) command(c *node.Context, args ...string) host.Command {
	argv := []string{r.ctr(c.Host), "--address", c.Host.Path(r.socket()), "--namespace", "k8s.io"}
	path := "PATH=" + r.BinariesPath + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	return host.Command{Argv: append(argv, args...), Env: []string{path}, Log: c.Log}
}

// digests returns the digests of the images with these names that the runtime has.
func (r Runtime) digests(ctx context.Context, c *node.Context, names []string) (map[string]string, error) {
	found := map[string]string{}
	if len(names) == 0 {
		return found, nil
	}
	args := []string{"images", "list"}
	for _, name := range names {
		args = append(args, "name=="+strconv.Quote(name))
	}
	output, err := c.Host.Runner.Run(ctx, r.command(c, args...))
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	for line := range strings.Lines(string(output)) {
		// REF TYPE DIGEST SIZE PLATFORMS LABELS, with spaces between and, from SIZE on, within.
		if fields := strings.Fields(line); len(fields) >= 3 && strings.HasPrefix(fields[2], "sha256:") {
			found[fields[0]] = fields[2]
		}
	}
	return found, nil
}

// errRuntime is the error when the runtime ended before it had read the whole archive. Its client's error has the
// cause.
var errRuntime = errors.New("the container runtime stopped reading")

const (
	// localFlag has ctr unpack the archive itself. Without it the runtime gets the archive in pieces of 32 KiB, which
	// takes twice as long.
	localFlag = "--local"
	// syncFlag has ctr flush the file system before an image counts as unpacked. Without it a power cut leaves an image
	// that containerd takes for whole and whose files are empty. The client has it beside localFlag alone.
	syncFlag = "--sync-fs"
)

// ImportArgs returns the arguments of an import without the archive, for a ctr that is called with "--help".
func ImportArgs(ctx context.Context, h *host.Host, help host.Command) []string {
	help.Log = nil
	flags, _ := h.Runner.Run(ctx, help)
	args := append([]string{"images", "import"}, snapshotterArgs(h)...)
	for _, flag := range []string{localFlag, syncFlag} {
		if strings.Contains(string(flags), flag) {
			args = append(args, flag)
		}
	}
	return args
}

// Flush flushes all file systems after an import with these arguments, where ctr has not done so.
func Flush(ctx context.Context, h *host.Host, args []string) error {
	if slices.Contains(args, syncFlag) {
		return nil
	}
	_, err := h.Runner.Run(ctx, host.Command{Argv: []string{"sync"}})
	return err
}

// snapshotterArgs returns the arguments by which ctr unpacks images for the snapshotter of the CRI plugin, where the
// configuration names one. Without them ctr unpacks for its own default, overlayfs, which may not work on the machine.
func snapshotterArgs(h *host.Host) []string {
	if name := inspect.Snapshotter(h); name != "" {
		return []string{"--snapshotter", name}
	}
	return nil
}

// importStream runs ctr with these arguments and the archive that write writes, which is not stored in between. An
// error of write is the import's error, unless it is errRuntime.
func (r Runtime) importStream(
	ctx context.Context, c *node.Context, args []string, write func(w io.Writer) error,
) error {
	reading, writing, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	feed.Widen(writing)
	command := r.command(c, args...)
	command.Stdin = reading
	ran := make(chan error, 1)
	go func() {
		_, err := c.Host.Runner.Run(ctx, command)
		_ = reading.Close() // whoever still writes learns that nobody reads
		ran <- err
	}()
	wrote := write(writing)
	_ = writing.Close()
	err = <-ran
	if wrote != nil && !errors.Is(wrote, errRuntime) {
		return wrote
	}
	if err != nil {
		return err
	}
	return wrote
}

// removeImages removes images that a failed import left: their content may be incomplete.
func (r Runtime) removeImages(ctx context.Context, c *node.Context, names []string) {
	if len(names) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	if _, err := c.Host.Runner.Run(ctx, r.command(c, append([]string{"images", "remove"}, names...)...)); err != nil {
		_, _ = fmt.Fprintf(c.Log, "removing what a failed import left: %v\n", err)
	}
}

// removeTimeout bounds the removal of images.
const removeTimeout = 10 * time.Second
