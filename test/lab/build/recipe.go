package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// revision is raised when this package lays out or fills its cache entries in another way, so that older entries are
// not taken for new ones.
const revision = 1

// recipe describes how programs are built from one of the nested modules beneath modules/. Together with the files it
// names, it determines the result.
type recipe struct {
	// Component is the folder in the cache, Module the folder beneath modules/.
	Component, Module string
	// Version is the version of the program, as the module asks for it: "v1.34.4".
	Version string
	// Programs are the packages to build, by the name that the program gets.
	Programs map[string]string
	// Tags are build tags, LinkFlags are for the linker, beside those that every build gets.
	Tags, LinkFlags []string
	// Cgo is for programs with C in them. All are linked statically.
	Cgo bool
	// CFlags are for the C compiler.
	CFlags []string `json:",omitempty"`
	// Packages are the Debian packages that the build needs beside Go.
	Packages []string
	// Patched is the dependency, named by its path, that is built from a copy with the files of Patches laid over it:
	// file in the dependency, file beneath overlay/.
	Patched string
	Patches map[string]string
	// Official are the names under which pkg/bundle/release has the programs, of the same version; empty where it has
	// them not. They decide nothing about what is compiled, and are no part of its key.
	Official []string `json:"-"`
	// Versions are calls of the programs whose output must hold the text given, or the build counts as failed.
	Versions []versionCheck
}

// versionCheck calls a program: its name, then its arguments.
type versionCheck struct {
	Call  []string
	Holds string
}

// key digests all inputs of the recipe: itself, every file of its module, its patches, the Go version and the machine.
func (b *Builder) key(ctx context.Context, r recipe) (string, error) {
	goVersion, err := b.goCommand(ctx, r, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	files := map[string]string{}
	if err := digestTree(os.DirFS(b.moduleFolder(r)), "module", files); err != nil {
		return "", fmt.Errorf("reading module %q: %w", r.Module, err)
	}
	for _, own := range r.Patches {
		content, err := os.ReadFile(filepath.Join(b.Source, "overlay", own))
		if err != nil {
			return "", fmt.Errorf("reading patch %q: %w", own, err)
		}
		files["overlay/"+own] = digest(content)
	}
	return inputsKey(r, files, strings.TrimSpace(string(goVersion)), runtime.GOARCH)
}

// inputsKey is 16 hexadecimal digits; json.Marshal sorts the keys of maps, so equal inputs give equal keys.
func inputsKey(r recipe, files map[string]string, goVersion, arch string) (string, error) {
	text, err := json.Marshal(struct {
		Revision        int
		Recipe          recipe
		Files           map[string]string
		GoVersion, Arch string
	}{revision, r, files, goVersion, arch})
	if err != nil {
		return "", fmt.Errorf("writing the inputs of %q: %w", r.Component, err)
	}
	return digest(text)[:16], nil
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// digestTree adds every file's digest under its name beneath prefix.
func digestTree(tree fs.FS, prefix string, into map[string]string) error {
	return fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(tree, path)
		if err != nil {
			return err
		}
		into[prefix+"/"+path] = digest(content)
		return nil
	})
}

func (b *Builder) moduleFolder(r recipe) string {
	return filepath.Join(b.Source, "modules", r.Module)
}

// required is the version at which the module in that folder requires the dependency.
func (b *Builder) required(ctx context.Context, module, dependency string) (string, error) {
	out, err := b.goCommand(ctx, recipe{Module: module}, "mod", "edit", "-json")
	if err != nil {
		return "", err
	}
	var file struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(out, &file); err != nil {
		return "", fmt.Errorf("reading the requirements of module %q: %w", module, err)
	}
	for _, require := range file.Require {
		if require.Path == dependency {
			return require.Version, nil
		}
	}
	return "", fmt.Errorf("looking up %q in module %q: it is not required there", dependency, module)
}

// goCommand returns the standard output of a go command that runs in the recipe's module.
func (b *Builder) goCommand(ctx context.Context, r recipe, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.moduleFolder(r)
	cmd.Env = goEnvironment(r)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, &commandError{Folder: cmd.Dir, Args: cmd.Args, Output: lastLines(stderr.String(), 20), Err: err}
	}
	return out, nil
}

// goEnvironment is the caller's, without settings that would change the result: a workspace around the checkout and
// flags of the caller's own. A compiler that collects its garbage less often takes a quarter less of the processors.
func goEnvironment(r recipe) []string {
	cgo := "CGO_ENABLED=0"
	if r.Cgo {
		cgo = "CGO_ENABLED=1"
	}
	return append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOGC=800", "GOOS=linux", "GOARCH="+runtime.GOARCH, cgo,
		"CGO_CFLAGS="+strings.Join(append([]string{"-O2", "-g"}, r.CFlags...), " "))
}
