package build

import (
	"bufio"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// commandError is a command that failed, with all that is needed to run it again.
type commandError struct {
	// Folder is the working directory of the command, Args its words.
	Folder string
	Args   []string
	// Output is the end of its output.
	Output string
	Err    error
}

func (e *commandError) Error() string {
	return fmt.Sprintf("running %q in %q: %v\n%s", strings.Join(e.Args, " "), e.Folder, e.Err, e.Output)
}

func (e *commandError) Unwrap() error { return e.Err }

// programs returns the folder with the recipe's programs. After compiling, extra may add files to it.
func (b *Builder) programs(ctx context.Context, r recipe, extra func(folder string) error) (string, error) {
	key, err := b.key(ctx, r)
	if err != nil {
		return "", err
	}
	title := r.Component + " " + r.Version
	entry := filepath.Join(r.Component, r.Version+"-"+key)
	if b.Official != nil && len(r.Official) > 0 && !isFolder(filepath.Join(b.Cache, entry)) {
		folder, err := b.officialPrograms(ctx, r, extra)
		if !errors.Is(err, errCompile) {
			return folder, err
		}
	}
	return b.ensure(ctx, entry, title, func(folder string, p *progress) error {
		if err := b.requirePackages(ctx, r.Packages); err != nil {
			return err
		}
		if err := b.compile(ctx, r, folder, p); err != nil {
			return err
		}
		if err := checkStatic(r, folder); err != nil {
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
}

// compile puts the recipe's programs into the folder.
func (b *Builder) compile(ctx context.Context, r recipe, folder string, p *progress) error {
	args := []string{
		"build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-v",
		"-tags", strings.Join(r.Tags, ","),
		"-ldflags", strings.Join(append([]string{"-s", "-w"}, r.LinkFlags...), " "),
		"-o", folder + string(filepath.Separator),
	}
	if r.Patched != "" {
		modFile, cleanUp, err := b.patch(ctx, r, folder)
		if err != nil {
			return fmt.Errorf("patching %q: %w", r.Patched, err)
		}
		defer cleanUp()
		args = append(args, "-modfile="+modFile)
	}
	for _, pkg := range r.Programs {
		args = append(args, pkg)
	}
	slices.Sort(args[len(args)-len(r.Programs):])
	if err := b.goBuild(ctx, r, args, p); err != nil {
		return err
	}
	return renamePrograms(r, folder)
}

// goBuild runs go build and counts the packages that -v tells of.
func (b *Builder) goBuild(ctx context.Context, r recipe, args []string, p *progress) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.moduleFolder(r)
	cmd.Env = goEnvironment(r)
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	said := make(chan string)
	go func() { said <- countPackages(reader, p) }()
	err := cmd.Run()
	writer.Close()
	output := <-said
	if err != nil {
		return &commandError{Folder: cmd.Dir, Args: cmd.Args, Output: output, Err: err}
	}
	return nil
}

var packagePath = regexp.MustCompile(`^[a-z0-9][\w.~-]*(/[\w.~-]+)*$`)

// countPackages reads to the end, counts lines that name a package, and gives the last lines of the others.
func countPackages(reader io.Reader, p *progress) string {
	var others []string
	scanner := bufio.NewScanner(reader)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		switch {
		case packagePath.MatchString(line):
			p.packages.Add(1)
		case !strings.HasPrefix(line, "go: downloading "):
			others = append(others, line)
		}
	}
	// A line beyond the scanner's buffer must not stop the writer on the other side.
	_, _ = io.Copy(io.Discard, reader)
	return lastLines(strings.Join(others, "\n"), 30)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// renamePrograms gives the programs the names that the recipe wants instead of those that go build chose.
func renamePrograms(r recipe, folder string) error {
	for name, pkg := range r.Programs {
		built := path.Base(pkg)
		if majorVersion.MatchString(built) {
			built = path.Base(path.Dir(pkg))
		}
		if built == name {
			continue
		}
		if err := os.Rename(filepath.Join(folder, built), filepath.Join(folder, name)); err != nil {
			return fmt.Errorf("naming program %q: %w", name, err)
		}
	}
	return nil
}

// checkStatic refuses programs that need a dynamic linker: such a program runs here, and then not in an image without
// one or on a machine with an older C library. The kubelet of a release is one, and runs on machines alone.
func checkStatic(r recipe, folder string, except ...string) error {
	for name := range r.Programs {
		if slices.Contains(except, name) {
			continue
		}
		program, err := elf.Open(filepath.Join(folder, name))
		if err != nil {
			return fmt.Errorf("checking how %q is linked: %w", name, err)
		}
		dynamic := slices.ContainsFunc(program.Progs, func(part *elf.Prog) bool { return part.Type == elf.PT_INTERP })
		program.Close()
		if dynamic {
			return fmt.Errorf("checking how %q is linked: it is not static", name)
		}
	}
	return nil
}

// checkVersions runs the programs: only those that run and have the required version may enter the cache.
func checkVersions(ctx context.Context, r recipe, folder string) error {
	for _, check := range r.Versions {
		cmd := exec.CommandContext(ctx, filepath.Join(folder, check.Call[0]), check.Call[1:]...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return &commandError{Folder: folder, Args: check.Call, Output: lastLines(string(out), 20), Err: err}
		}
		if !strings.Contains(string(out), check.Holds) {
			return fmt.Errorf("checking %q: it says %q, without %q", strings.Join(check.Call, " "), out, check.Holds)
		}
	}
	return nil
}

// patch copies the patched dependency beside the folder, lays the recipe's own files over the copy, and writes a go.mod
// that uses it. A plain -overlay will not do: the go command refuses one for files in its module cache.
func (b *Builder) patch(ctx context.Context, r recipe, folder string) (modFile string, cleanUp func(), err error) {
	work := filepath.Join(folder, "patched")
	cleanUp = func() { os.RemoveAll(work) }
	defer func() {
		if err != nil {
			cleanUp()
		}
	}()
	original, err := b.dependencyFolder(ctx, r, r.Patched)
	if err != nil {
		return "", nil, err
	}
	copied := filepath.Join(work, "source")
	if err := os.CopyFS(copied, os.DirFS(original)); err != nil {
		return "", nil, fmt.Errorf("copying %q: %w", original, err)
	}
	for target, own := range r.Patches {
		if err := copyFile(filepath.Join(b.Source, "overlay", own), filepath.Join(copied, target), 0o644); err != nil {
			return "", nil, err
		}
	}
	modFile = filepath.Join(work, "go.mod")
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := copyFile(filepath.Join(b.moduleFolder(r), name), filepath.Join(work, name), 0o644); err != nil {
			return "", nil, err
		}
	}
	_, err = b.goCommand(ctx, r, "mod", "edit", "-replace="+r.Patched+"="+copied, modFile)
	return modFile, cleanUp, err
}

// dependencyFolder is where the go command keeps the dependency, fetched and verified against go.sum if need be.
func (b *Builder) dependencyFolder(ctx context.Context, r recipe, dependency string) (string, error) {
	out, err := b.goCommand(ctx, r, "mod", "download", "-json", dependency)
	if err != nil {
		return "", err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", fmt.Errorf("reading where %q lies: %w", dependency, err)
	}
	return module.Dir, nil
}

// copyFile makes the target's folders too. The copy has the mode given whatever the original had.
func copyFile(from, to string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("making the folder of %q: %w", to, err)
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copying %q: %w", from, err)
	}
	if err := os.WriteFile(to, content, mode); err != nil {
		return fmt.Errorf("copying to %q: %w", to, err)
	}
	return nil
}
