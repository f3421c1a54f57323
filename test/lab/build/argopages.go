package build

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// pages describes how the web pages of Argo's UI are built. Its sources are in Argo's module, and its dependencies in
// the npm registry at the versions of Argo's own yarn.lock. One is different: Argo takes the library argo-ui from a
// commit of its repository, which a machine without a way there cannot have, and these pages take the release of the
// same library in the registry. It is older; pages look as Argo's own do but for details of buttons and tabs.
type pages struct {
	Revision int
	// Argo is the version of Argo, Yarn that of the package manager that Argo uses.
	Argo, Yarn string
	// Pinned are versions of packages that Argo's yarn.lock lacks.
	Pinned map[string]string
	// Tools are the development dependencies that a build needs. The others are for Argo's tests.
	Tools []string
	// Edits make files work with that release of the library.
	Edits []pageEdit
}

// pageEdit replaces text in the files that match a pattern beneath the folder of the pages.
type pageEdit struct{ Files, From, To string }

var argoPages = pages{
	Revision: 1,
	Argo:     "v4.1.4",
	Yarn:     "1.22.22",
	Pinned: map[string]string{
		"argo-ui/@fortawesome/fontawesome-free": "5.15.4", "argo-ui/@tippy.js/react": "2.2.3",
		"argo-ui/moment": "2.31.0", "argo-ui/react-autocomplete": "1.8.1", "argo-ui/react-toastify": "5.5.0",
		"argo-ui/rxjs": "6.6.7",
	},
	Tools: []string{
		"@fortawesome/fontawesome-free", "copy-webpack-plugin", "esbuild-loader", "html-webpack-plugin",
		"monaco-editor-webpack-plugin", "raw-loader", "sass", "sass-loader", "style-loader", "webpack", "webpack-cli",
	},
	Edits: []pageEdit{
		// The index of the release needs a package that it does not ask for.
		{"src/cron-workflows/cron-workflow-row.tsx", "'argo-ui/src/index'", "'argo-ui/src/components/ticker'"},
		{
			"node_modules/argo-ui/src/components/logs-viewer/logs-viewer.scss", "node_modules/xterm/dist",
			"node_modules/argo-ui/node_modules/xterm/dist",
		},
		// The release was compiled by a compiler that lets functions be imported as namespaces.
		{libraryFiles, "import * as classNames from", "import classNames from"},
		{libraryFiles, "import * as moment from", "import moment from"},
		{libraryFiles, "import * as ReactAutocomplete from", "import ReactAutocomplete from"},
	},
}

const (
	libraryFiles   = "node_modules/argo-ui/src/components/*.tsx node_modules/argo-ui/src/components/*/*.tsx"
	libraryRelease = "1.0.0"
)

// ArgoPages returns the folder with the web pages of Argo's UI, index.html and what it asks for. It needs Node.js and
// npm, and an npm registry that npm is set up for.
func (b *Builder) ArgoPages(ctx context.Context) (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("building Argo's pages: program %q is missing; "+
				"`test/packages.sh argo-pages` installs it on Debian", program)
		}
	}
	inputs, err := json.Marshal(argoPages)
	if err != nil {
		return "", fmt.Errorf("writing the inputs of Argo's pages: %w", err)
	}
	entry := filepath.Join("argo-pages", argoPages.Argo+"-"+digest(inputs)[:16])
	return b.ensure(ctx, entry, "Argo's pages "+argoPages.Argo, func(folder string, _ *progress) error {
		return b.fillPages(ctx, folder)
	})
}

// fillPages builds in a folder beneath the entry's, which has half a gigabyte until it is removed.
func (b *Builder) fillPages(ctx context.Context, folder string) error {
	work := filepath.Join(folder, "work")
	defer os.RemoveAll(work)
	source := argoSources[argoPages.Argo]
	module, err := b.dependencyFolder(ctx, recipe{Module: source.folder}, source.module)
	if err != nil {
		return err
	}
	for _, part := range []string{"ui/src", "api/openapi-spec", "api/jsonschema"} {
		if err := os.CopyFS(filepath.Join(work, part), os.DirFS(filepath.Join(module, part))); err != nil {
			return fmt.Errorf("copying %q of Argo: %w", part, err)
		}
	}
	ui := filepath.Join(work, "ui")
	for _, name := range []string{"package.json", "tsconfig.json", "webpack.config.js", "yarn.lock"} {
		if err := copyFile(filepath.Join(module, "ui", name), filepath.Join(ui, name), 0o644); err != nil {
			return err
		}
	}
	if err := writable(ui); err != nil {
		return err
	}
	if err := argoPages.install(ctx, ui); err != nil {
		return err
	}
	for _, edit := range argoPages.Edits {
		if err := edit.apply(ui); err != nil {
			return err
		}
	}
	err = runWith(ctx, ui, []string{"NODE_ENV=production", "VERSION=" + argoPages.Argo},
		"node_modules/.bin/webpack", "--mode", "production", "--no-devtool")
	if err != nil {
		return err
	}
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(ui, "dist/app"))); err != nil {
		return fmt.Errorf("keeping Argo's pages: %w", err)
	}
	if _, err := os.Stat(filepath.Join(folder, "index.html")); err != nil {
		return fmt.Errorf("looking for the first page: %w", err)
	}
	return nil
}

// writable lets the owner write: files of a module may only be read.
func writable(folder string) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if entry.IsDir() {
			mode = 0o755
		}
		return os.Chmod(path, mode)
	})
}

// install fetches the packages that the pages are built from. No script of a package is run.
func (p pages) install(ctx context.Context, ui string) error {
	if err := p.choosePackages(filepath.Join(ui, "package.json")); err != nil {
		return err
	}
	registry, err := exec.CommandContext(ctx, "npm", "config", "get", "registry").Output()
	if err != nil {
		return fmt.Errorf("asking npm for its registry: %w", err)
	}
	lock := filepath.Join(ui, "yarn.lock")
	text, err := os.ReadFile(lock)
	if err != nil {
		return fmt.Errorf("reading Argo's lock: %w", err)
	}
	text = fromRegistry(text, strings.TrimSpace(string(registry)))
	if err := os.WriteFile(lock, text, 0o644); err != nil {
		return fmt.Errorf("writing Argo's lock: %w", err)
	}
	return runWith(ctx, ui, nil, "npm", "exec", "--yes", "yarn@"+p.Yarn, "--", "install", "--ignore-scripts",
		"--ignore-engines", "--non-interactive", "--no-progress")
}

// resolved matches the beginning of a package's URL in a lock.
var resolved = regexp.MustCompile(`(?m)^( +resolved ")https://[^/"]+/`)

// fromRegistry has a lock, which holds whole URLs, take its packages from a registry. The digests beside the URLs hold
// for all registries.
func fromRegistry(lock []byte, registry string) []byte {
	return resolved.ReplaceAll(lock, []byte("${1}"+strings.TrimSuffix(registry, "/")+"/"))
}

// choosePackages writes into package.json which packages a build needs.
func (p pages) choosePackages(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading Argo's packages: %w", err)
	}
	var asked struct {
		Name            string            `json:"name"`
		Version         string            `json:"version"`
		License         string            `json:"license"`
		Dependencies    map[string]string `json:"dependencies"`
		DevDependencies map[string]string `json:"devDependencies"`
		Resolutions     map[string]string `json:"resolutions"`
	}
	if err := json.Unmarshal(text, &asked); err != nil {
		return fmt.Errorf("reading Argo's packages: %w", err)
	}
	asked.Dependencies["argo-ui"] = libraryRelease
	tools := map[string]string{}
	for _, name := range p.Tools {
		tools[name] = asked.DevDependencies[name]
	}
	asked.DevDependencies = tools
	for name, version := range p.Pinned {
		asked.Resolutions[name] = version
	}
	if text, err = json.Marshal(asked); err != nil {
		return fmt.Errorf("writing Argo's packages: %w", err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("writing Argo's packages: %w", err)
	}
	return nil
}

// apply replaces the text, which must be there.
func (e pageEdit) apply(folder string) error {
	found := false
	for _, pattern := range strings.Fields(e.Files) {
		files, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return fmt.Errorf("looking for %q: %w", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("editing a page: %w", err)
			}
			if !bytes.Contains(text, []byte(e.From)) {
				continue
			}
			found = true
			text = bytes.ReplaceAll(text, []byte(e.From), []byte(e.To))
			if err := os.WriteFile(file, text, 0o644); err != nil {
				return fmt.Errorf("editing a page: %w", err)
			}
		}
	}
	if !found {
		return fmt.Errorf("editing %q: there is no %q", e.Files, e.From)
	}
	return nil
}

// runWith runs a command with more variables in its environment.
func runWith(ctx context.Context, folder string, environment []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), environment...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return &commandError{Folder: folder, Args: cmd.Args, Output: lastLines(string(out), 30), Err: err}
	}
	return nil
}
