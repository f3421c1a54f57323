package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/pkg/node/images/archivetest"
	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// importSize is how much an image archive holds.
const importSize = 400 << 20

// imported is the image that both sides import. It holds other bytes in each round, so that nothing is there already.
const imported = "registry.example.org/bench/imported:v1"

func (b *bench) importOne(ctx context.Context) error { return b.imports(ctx, "import-1", "m1") }

func (b *bench) importThree(ctx context.Context) error {
	return b.imports(ctx, "import-3", "m1", "m2", "m5")
}

// imports compares our import into machines that are nodes already with ssh piped into ctr. Ours downloads the archive
// for each machine from the lab's web server, and the floor reads it from the disk. The second figure has ours verify
// the archive's digest too, which the floor does not.
func (b *bench) imports(ctx context.Context, name string, machines ...string) error {
	if err := b.joined(ctx, machines); err != nil {
		return err
	}
	folder := filepath.Join(b.site.Lab.HTTPDir(), "bench")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := b.plainHTTP(ctx); err != nil {
		return err
	}
	run := &importing{
		bench: b, machines: machines, path: filepath.Join(folder, "image.tar"),
		address: lab.RepositoryURL + "/bench/image.tar",
	}
	for _, figure := range []struct {
		name     string
		verified bool
	}{{name, false}, {name + "-verified", true}} {
		err := b.pair(figure.name,
			func() (time.Duration, error) {
				return run.timed(ctx, func(ctx context.Context) error { return run.ours(ctx, figure.verified) })
			},
			func() (time.Duration, error) { return run.timed(ctx, run.floor) })
		if err != nil {
			return err
		}
	}
	return run.forget(ctx)
}

// joined makes machines nodes, which costs nothing where they are.
func (b *bench) joined(ctx context.Context, machines []string) error {
	if err := b.clean(ctx, machines); err != nil {
		return err
	}
	return b.ours(ctx, machines)
}

// plainHTTP has the plugin download from the lab's web server, which speaks no TLS.
func (b *bench) plainHTTP(ctx context.Context) error {
	config, err := b.site.ConfigMap(site.Overrides{Document: func(document map[string]any) {
		site.Set(document, "registries.plainHTTP", []string{lab.RepositoryURL[len("http://"):]})
	}})
	if err != nil {
		return err
	}
	return b.site.Apply(ctx, []any{config})
}

// importing is one comparison.
type importing struct {
	*bench
	machines      []string
	path, address string
	digest        string
}

// timed makes a new archive, has machines forget the one before, and returns how long work took.
func (i *importing) timed(ctx context.Context, work func(context.Context) error) (time.Duration, error) {
	if err := i.forget(ctx); err != nil {
		return 0, err
	}
	if err := i.renew(); err != nil {
		return 0, err
	}
	started := time.Now()
	err := work(ctx)
	return time.Since(started), err
}

func (i *importing) renew() error {
	image := archivetest.Image{Name: imported, Size: importSize}
	if _, err := rand.Read(image.Seed[:]); err != nil {
		return fmt.Errorf("making random bytes: %w", err)
	}
	file, err := os.Create(i.path)
	if err != nil {
		return fmt.Errorf("making an archive: %w", err)
	}
	sum := sha256.New()
	if _, err := image.WriteLayout(io.MultiWriter(file, sum)); err != nil {
		_ = file.Close()
		return fmt.Errorf("making an archive: %w", err)
	}
	i.digest = hex.EncodeToString(sum.Sum(nil))
	// Dirty pages would otherwise be written to this disk while the first side runs.
	if err := file.Sync(); err != nil {
		_ = file.Close()
		return fmt.Errorf("making an archive: %w", err)
	}
	return file.Close()
}

func (i *importing) forget(ctx context.Context) error {
	for _, machine := range i.machines {
		script := `ctr -n k8s.io images rm --sync "$1" >/dev/null 2>&1; ctr -n k8s.io content prune references >/dev/null 2>&1; sync`
		if _, err := i.site.Lab.Exec(ctx, machine, "sh", "-c", script, "sh", imported); err != nil {
			return fmt.Errorf("removing the image from %s: %w", machine, err)
		}
	}
	return nil
}

// ours is the command by hand, from its start to its end: Argo asks a step that runs only once a second whether it has
// ended.
func (i *importing) ours(ctx context.Context, verified bool) error {
	source := i.address
	if verified {
		source += "#sha256=" + i.digest
	}
	out, err := i.site.Argosy(ctx, "images", "import", "--namespace", site.TeamA, "--cluster", site.TeamA,
		"--machines", strings.Join(i.machines, ","), "--concurrency", strconv.Itoa(len(i.machines)), source)
	if err != nil {
		return fmt.Errorf("importing by the plugin: %w\n%s", err, out)
	}
	return nil
}

// floor pipes the file into ctr on every machine at once.
func (i *importing) floor(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range i.machines {
		machine, err := i.site.Lab.Spec(name)
		if err != nil {
			return err
		}
		group.Go(func() error {
			file, err := os.Open(i.path)
			if err != nil {
				return fmt.Errorf("opening the archive: %w", err)
			}
			defer file.Close()
			args := []string{
				"-o", "BatchMode=yes", "-o", "UserKnownHostsFile=" + i.site.Lab.KnownHostsPath(), "-i",
				i.site.Lab.KeyPath(), machine.Login + "@" + machine.Address,
			}
			if machine.Login != "root" {
				args = append(args, "sudo")
			}
			command := exec.CommandContext(ctx, "ssh", append(args, "ctr", "--namespace", "k8s.io", "images", "import",
				"-")...)
			command.Stdin = file
			if out, err := command.CombinedOutput(); err != nil {
				return fmt.Errorf("importing on %s by ssh: %w\n%s", name, err, out)
			}
			return nil
		})
	}
	return group.Wait()
}
