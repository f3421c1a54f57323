// Package docs_test checks the pages against the tree: that lists are whole, and that the order of imports is as told.
package docs_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

const module = "argosy.dev/argosy/"

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	assert.NilError(t, err)
	return string(content)
}

func matching(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	assert.NilError(t, err)
	assert.Assert(t, len(names) > 0, "no file matches %s", pattern)
	return names
}

func TestEveryPageOpensWithItsTitleAndAParagraph(t *testing.T) {
	opening := regexp.MustCompile(`^# \S[^\n]*\n\n[A-Z][a-z]`)
	for _, page := range append(matching(t, "*.md"), "decisions/README.md") {
		assert.Check(t, opening.MatchString(read(t, page)), page)
	}
}

// A number is never used twice, so that a new decision has to be the next one.
func TestTheIndexListsEveryDecisionInOrderWithoutGaps(t *testing.T) {
	var want []string
	for i, name := range matching(t, "decisions/[0-9]*.md") {
		number, title := i+1, ""
		name = filepath.Base(name)
		assert.Check(t, strings.HasPrefix(name, fmt.Sprintf("%04d-", number)), "%s is decision %d", name, number)
		first, _, _ := strings.Cut(read(t, filepath.Join("decisions", name)), "\n")
		title, found := strings.CutPrefix(first, fmt.Sprintf("# %d. ", number))
		assert.Check(t, found, "%s begins with %q", name, first)
		want = append(want, fmt.Sprintf("| [%04d](%s) | %s |", number, name, title))
	}
	index := regexp.MustCompile(`(?m)^\| \[.*$`).FindAllString(read(t, "decisions/README.md"), -1)
	assert.DeepEqual(t, index, want)
}

// A test that was renamed or removed no longer shows anything.
func TestTestsThatPagesNameExist(t *testing.T) {
	declared := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	for _, file := range matching(t, "../test/*/*_test.go") {
		for _, match := range declaration.FindAllStringSubmatch(read(t, file), -1) {
			declared[match[1]] = true
		}
	}
	named := regexp.MustCompile("`(Test[A-Z]\\w+)`")
	found := named.FindAllStringSubmatch(read(t, "supported.md"), -1)
	assert.Assert(t, len(found) > 0)
	for _, match := range found {
		assert.Check(t, declared[match[1]], "%s is no end-to-end test", match[1])
	}
}

// Each cell of a table by version names the test that showed it, or that there is none.
func TestCellsOfSupportedSystemsNameATest(t *testing.T) {
	const test = "(1\\.[0-9]+: )?`Test[A-Z]\\w+`"
	column := regexp.MustCompile(`^([0-9.]+( to [0-9.]+)?|test)$`)
	cell := regexp.MustCompile("^(" + test + "(, " + test + ")*|not shown|the same|no next one|refused(: .*)?)$")
	cells := 0
	var header []string
	for line := range strings.Lines(read(t, "supported.md")) {
		row := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		switch {
		case !strings.HasPrefix(line, "|"):
			header = nil
			continue
		case header == nil:
			header = row
			continue
		case strings.HasPrefix(line, "|--"):
			continue
		}
		assert.Equal(t, len(row), len(header), line)
		for i, text := range row {
			if column.MatchString(strings.TrimSpace(header[i])) {
				cells++
				assert.Check(t, cell.MatchString(strings.TrimSpace(text)), "%q in %s", text, line)
			}
		}
	}
	assert.Assert(t, cells > 40, "only %d cells", cells)
}

// A page that names a test which is gone promises too much.
func TestTestsOfTheThreatModelExist(t *testing.T) {
	declared := declaredTests(t)
	found := regexp.MustCompile("`(Test[A-Z]\\w+)`").FindAllStringSubmatch(read(t, "security.md"), -1)
	assert.Assert(t, len(found) > 20, "only %d tests are named", len(found))
	for _, match := range found {
		assert.Check(t, declared[match[1]], "%s is no test", match[1])
	}
}

// declaredTests returns the names of all tests of the repository.
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	declared := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	assert.NilError(t, filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return skip(path, entry)
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		for _, match := range declaration.FindAllStringSubmatch(read(t, path), -1) {
			declared[match[1]] = true
		}
		return nil
	}))
	return declared
}

// goPackages returns the folders of the repository with Go files, and the packages of this module that they import.
// Tests do not count, nor do testdata and other modules.
func goPackages(t *testing.T) map[string][]string {
	t.Helper()
	packages := map[string][]string{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return skip(path, entry)
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		folder := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), "../"))
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		if packages[folder] == nil {
			packages[folder] = []string{}
		}
		for _, spec := range file.Imports {
			if imported, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module); ours {
				packages[folder] = append(packages[folder], imported)
			}
		}
		return nil
	})
	assert.NilError(t, err)
	assert.Assert(t, len(packages) > 50, "only %d packages are found", len(packages))
	return packages
}

// skip leaves out testdata, hidden folders and those of other modules.
func skip(path string, entry fs.DirEntry) error {
	if path == ".." {
		return nil
	}
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	if name := entry.Name(); err == nil || name == "testdata" || strings.HasPrefix(name, ".") {
		return filepath.SkipDir
	}
	return nil
}

// section returns the part of architecture.md below a heading.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(read(t, "architecture.md"), "\n"+heading+"\n")
	assert.Assert(t, found, "there is no %q", heading)
	text, _, _ = strings.Cut(text, "\n#")
	return text
}

func TestArchitectureNamesEveryPackageThatExistsAndNoOther(t *testing.T) {
	text := section(t, "## Packages")
	packages := goPackages(t)
	for _, folder := range slices.Sorted(maps.Keys(packages)) {
		listed := regexp.MustCompile("(?m)(^|`)" + folder + "/[ `]")
		assert.Check(t, forUsers(folder) || listed.MatchString(text), "%s/ has no line", folder)
	}
	folders := regexp.MustCompile("(?m)(?:^|`)((?:cmd|internal|pkg|docs|test)/[a-z0-9/-]*)")
	for _, named := range folders.FindAllStringSubmatch(text, -1) {
		info, err := os.Stat(filepath.Join("..", named[1]))
		assert.Check(t, err == nil && info.IsDir(), "%s is named and does not exist", named[1])
	}
}

func TestPackagesImportOnlyThoseOfLowerLines(t *testing.T) {
	lines := strings.Split(strings.Split(section(t, "### Imports"), "```")[1], "\n")[1:] // without the language
	rank, packages := map[string]int{}, goPackages(t)
	for i, line := range lines {
		for _, name := range strings.Fields(line) {
			for _, root := range []string{"internal/", "pkg/"} {
				if packages[root+name] != nil {
					name = root + name
				}
			}
			assert.Check(t, packages[name] != nil, "%s does not exist", name)
			assert.Check(t, rank[name] == 0, "%s is there twice", name)
			rank[name] = len(lines) - i
		}
	}
	for folder, imports := range packages {
		if forTests(folder) || forUsers(folder) {
			continue
		}
		assert.Check(t, rank[folder] > 0, "%s has no line", folder)
		for _, imported := range imports {
			assert.Check(t, rank[folder] > rank[imported], "%s imports %s", folder, imported)
		}
	}
}

// declares fails unless one of the files has the function or method, which may be named with its type or package.
func declares(t *testing.T, function string, files ...string) {
	t.Helper()
	name := function[strings.LastIndex(function, ".")+1:]
	declaration := regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + name + `[\[(]`)
	assert.Check(t, slices.ContainsFunc(files, func(file string) bool {
		return declaration.MatchString(read(t, filepath.Join("..", file)))
	}), "%s is not in %q", function, files)
}

func TestTheFunctionsOfAJoinAreInTheFilesNamed(t *testing.T) {
	pairs := regexp.MustCompile("`([A-Za-z.]+)`, `([a-z0-9/]+\\.go)`").
		FindAllStringSubmatch(section(t, "## One join, from the first call to the node"), -1)
	assert.Assert(t, len(pairs) > 15, "only %d functions are found", len(pairs))
	for _, pair := range pairs {
		if strings.Contains(pair[2], "/") {
			declares(t, pair[1], pair[2])
		}
	}
}

func TestTheFunctionsOfAnUpgradeAreInTheFilesNamed(t *testing.T) {
	rows := regexp.MustCompile(`(?m)^\| \d+ \|([^|]*)\|([^|]*)\|`).
		FindAllStringSubmatch(section(t, "## One upgrade, from the first call to the node"), -1)
	assert.Assert(t, len(rows) > 15, "only %d rows are found", len(rows))
	quoted := regexp.MustCompile("`([^`]+)`")
	for _, row := range rows {
		var files []string
		for _, file := range quoted.FindAllStringSubmatch(row[2], -1) {
			name := file[1]
			if !strings.Contains(name, "/") {
				name = filepath.Join(filepath.Dir(files[0]), name)
			}
			files = append(files, name)
		}
		for _, function := range quoted.FindAllStringSubmatch(row[1], -1) {
			declares(t, function[1], files...)
		}
	}
}

// forUsers reports whether a folder is one of those that users copy or apply from.
func forUsers(folder string) bool {
	top, _, _ := strings.Cut(folder, "/")
	return slices.Contains([]string{"install", "charts", "examples", "workflows"}, top)
}

// forTests reports whether a folder is part of a test, and not of the product.
func forTests(folder string) bool {
	return strings.HasPrefix(folder, "test/") || strings.HasSuffix(folder, "test") ||
		strings.Contains(folder, "/nodetest/")
}
