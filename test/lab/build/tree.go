package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// debianTree returns a folder with the Debian packages and all that they depend on unpacked, and with a link in /bin
// for each command of busybox, which must be among them. No script of a package runs: links replace what one would set
// up.
func (b *Builder) debianTree(ctx context.Context, title string, names []string, links map[string]string) (string,
	error,
) {
	tree, err := b.unpackedTree(ctx, title, names, links)
	if err == nil {
		return tree, nil
	}
	// The lists may be absent or too old for the mirror.
	if err := b.aptGet(ctx, []string{"update"}); err != nil {
		return "", err
	}
	return b.unpackedTree(ctx, title, names, links)
}

func (b *Builder) unpackedTree(ctx context.Context, title string, names []string, links map[string]string) (string,
	error,
) {
	packages, err := resolvePackages(ctx, names)
	if err != nil {
		return "", err
	}
	inputs, err := json.Marshal(struct {
		Revision int
		Packages []string
		Links    map[string]string
	}{revision, packages, links})
	if err != nil {
		return "", fmt.Errorf("writing the inputs of %s: %w", title, err)
	}
	entry := filepath.Join("debian", title+"-"+digest(inputs)[:16])
	return b.ensure(ctx, entry, "Debian's "+title, func(folder string, _ *progress) error {
		if err := unpackPackages(ctx, folder, packages); err != nil {
			return err
		}
		if err := linkAll(folder, links); err != nil {
			return err
		}
		return linkBusybox(ctx, folder)
	})
}

// installLine is apt's line on a package that it would install: "Inst NAME (VERSION ...", with "[OLD VERSION]" before
// the parenthesis where one is there.
var installLine = regexp.MustCompile(`(?m)^Inst (\S+) (?:\[\S+\] )?\((\S+) `)

// resolvePackages gives "name=version" of the packages and of all that they depend on, as on a system without any
// package, in the order in which apt would install them.
func resolvePackages(ctx context.Context, names []string) ([]string, error) {
	args := append([]string{
		"--simulate", "--no-install-recommends", "--option", "Dir::State::status=/dev/null",
		"install",
	},
		names...)
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, &commandError{Folder: "/", Args: cmd.Args, Output: lastLines(string(out), 20), Err: err}
	}
	packages := installs(string(out))
	if len(packages) < len(names) {
		return nil, fmt.Errorf("asking apt what %q depend on: it says %q", names, lastLines(string(out), 20))
	}
	return packages, nil
}

// installs returns "name=version" of the packages that apt would install.
func installs(said string) []string {
	var packages []string
	for _, match := range installLine.FindAllStringSubmatch(said, -1) {
		packages = append(packages, match[1]+"="+match[2])
	}
	return packages
}

// unpackPackages downloads into a folder beside the tree, which is gone in the end.
func unpackPackages(ctx context.Context, folder string, packages []string) error {
	archives, err := os.MkdirTemp(folder, ".archives-")
	if err != nil {
		return fmt.Errorf("making a folder for packages: %w", err)
	}
	defer os.RemoveAll(archives)
	// As root, apt would download as another user, who may not write here.
	args := append([]string{"--option", "APT::Sandbox::User=root", "download"}, packages...)
	if err := runIn(ctx, archives, "apt-get", args...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil {
		return fmt.Errorf("looking for packages in %q: %w", archives, err)
	}
	if len(files) != len(packages) {
		return fmt.Errorf("downloading %q: only %q arrived", packages, files)
	}
	return unpackArchives(ctx, folder, files)
}

// unpackArchives leaves out files that no image needs: documentation, and tables of character sets.
func unpackArchives(ctx context.Context, folder string, files []string) error {
	for _, file := range files {
		if err := runIn(ctx, folder, "dpkg-deb", "--extract", file, folder); err != nil {
			return err
		}
	}
	surplus, err := filepath.Glob(filepath.Join(folder, "usr/lib/*/gconv"))
	if err != nil {
		return fmt.Errorf("looking for character sets in %q: %w", folder, err)
	}
	for _, path := range append(surplus, filepath.Join(folder, "usr/share")) {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("removing %q: %w", path, err)
		}
	}
	return nil
}

// linkBusybox adds busybox's commands where no package has a program of that name.
func linkBusybox(ctx context.Context, folder string) error {
	busybox := filepath.Join(folder, "bin/busybox")
	out, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("asking %q for its commands: %w", busybox, err)
	}
	links := map[string]string{}
	for _, name := range strings.Fields(string(out)) {
		if !hasCommand(folder, name) {
			links["bin/"+name] = "busybox"
		}
	}
	return linkAll(folder, links)
}

func hasCommand(folder, name string) bool {
	for _, bin := range []string{"bin", "sbin", "usr/bin", "usr/sbin"} {
		if _, err := os.Lstat(filepath.Join(folder, bin, name)); err == nil {
			return true
		}
	}
	return false
}

// linkAll makes symbolic links: path beneath the folder to target.
func linkAll(folder string, links map[string]string) error {
	for path, target := range links {
		path = filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("making the folder of %q: %w", path, err)
		}
		if err := os.Symlink(target, path); err != nil {
			return fmt.Errorf("linking %q: %w", path, err)
		}
	}
	return nil
}

func runIn(ctx context.Context, folder, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	if err != nil {
		return &commandError{Folder: folder, Args: cmd.Args, Output: lastLines(string(out), 20), Err: err}
	}
	return nil
}
