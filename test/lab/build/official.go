package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/bundle/release"
)

// first is the server that is asked first. Without it there is no internet, and no other one is asked.
const first = "dl.k8s.io"

// Official has a Builder take programs from the releases of their projects, where these can be had, in place of
// compiling them. Each is compared with its published checksum; pkg/bundle/release has the table. One Official is for
// all Builders of a process: it asks each server once whether it is there.
type Official struct {
	// Mirrors stand for the servers of the projects.
	Mirrors release.Mirrors

	// patience bounds the time in which a server has to answer. Default 3s.
	patience time.Duration

	mu    sync.Mutex
	asked map[string]error
}

// errCompile tells that programs of a recipe are to be compiled.
var errCompile = errors.New("it is compiled instead")

// officialPrograms returns the folder with the recipe's programs, of their project's release. errCompile is among its
// errors where they cannot be had, which was told then.
func (b *Builder) officialPrograms(ctx context.Context, r recipe, extra func(folder string) error) (string, error) {
	inputs, err := json.Marshal(struct {
		Revision int
		Names    []string
		Programs map[string]string
		Versions []versionCheck
	}{revision, r.Official, r.Programs, r.Versions})
	if err != nil {
		return "", fmt.Errorf("writing the inputs of %q: %w", r.Component, err)
	}
	title := r.Component + " " + r.Version
	entry := filepath.Join(r.Component, r.Version+"-"+runtime.GOARCH+"-official-"+digest(inputs)[:16])
	if isFolder(filepath.Join(b.Cache, entry)) {
		return filepath.Join(b.Cache, entry), nil
	}
	if err := b.reachable(ctx, first); err != nil {
		return "", errors.Join(errCompile, err)
	}
	folder, err := b.ensureBy(ctx, fetching, entry, title, func(folder string, _ *progress) error {
		if err := b.takeRelease(ctx, r, title, folder); err != nil {
			return err
		}
		if err := checkVersions(ctx, r, folder); err != nil {
			return err
		}
		if extra == nil {
			return nil
		}
		return extra(folder)
	})
	if err == nil || ctx.Err() != nil {
		return folder, err
	}
	fmt.Fprintf(b.Log, "%s: its release is not used, %v: %v\n", title, errCompile, err)
	return "", errors.Join(errCompile, err)
}

// takeRelease puts the recipe's programs into the folder.
func (b *Builder) takeRelease(ctx context.Context, r recipe, title, folder string) error {
	for _, host := range release.Hosts(r.Official) {
		if err := b.reachable(ctx, host); err != nil {
			return err
		}
	}
	work := filepath.Join(folder, ".release")
	if err := os.Mkdir(work, 0o755); err != nil {
		return fmt.Errorf("making %q: %w", work, err)
	}
	defer os.RemoveAll(work)
	plan := release.Plan{
		Arches: []string{runtime.GOARCH}, Mirrors: b.Official.Mirrors, Cache: filepath.Join(b.Cache, "downloads"),
		Report: func(line string) { fmt.Fprintf(b.Log, "%s: %s\n", title, line) },
	}
	number := strings.TrimPrefix(r.Version, "v")
	if err := release.FetchPrograms(ctx, plan, r.Official, number, work); err != nil {
		return err
	}
	for name := range r.Programs {
		from := filepath.Join(work, runtime.GOARCH, name)
		if plugin := filepath.Join(work, runtime.GOARCH, "cni/bin", name); isFile(plugin) {
			from = plugin
		}
		if err := copyFile(from, filepath.Join(folder, name), 0o755); err != nil {
			return err
		}
	}
	return checkStatic(r, folder, "kubelet")
}

// reachable reports in time whether a server answers, whatever it answers. It asks once, and tells the result.
func (b *Builder) reachable(ctx context.Context, host string) error {
	o := b.Official
	o.mu.Lock()
	defer o.mu.Unlock()
	if err, known := o.asked[host]; known {
		return err
	}
	if o.patience == 0 {
		o.patience = 3 * time.Second
	}
	fmt.Fprintf(b.Log, "official releases: asking %s, for %s at most\n", host, o.patience)
	err := o.ask(ctx, host)
	if ctx.Err() != nil {
		return err
	}
	if o.asked == nil {
		o.asked = map[string]error{}
	}
	o.asked[host] = err
	switch {
	case err == nil:
		fmt.Fprintf(b.Log, "official releases: %s answers, programs are taken from it\n", host)
	case host == first:
		fmt.Fprintf(b.Log, "official releases: %s does not answer: %v\n"+
			"official releases: without the internet all is compiled; on two cores that takes a quarter of an hour\n",
			host, err)
	default:
		fmt.Fprintf(b.Log, "official releases: %s does not answer, what it has is compiled: %v\n", host, err)
	}
	return err
}

func (o *Official) ask(ctx context.Context, host string) error {
	address := "https://" + host + "/"
	if mirror, there := o.Mirrors[host]; there {
		address = mirror
	}
	ctx, cancel := context.WithTimeout(ctx, o.patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return fmt.Errorf("asking %q: %w", host, err)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking %q: %w", host, err)
	}
	return response.Body.Close()
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
