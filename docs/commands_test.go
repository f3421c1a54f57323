package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/docs/docstest"
)

func pages(t *testing.T) []docstest.Page {
	t.Helper()
	pages, err := docstest.Pages("..")
	assert.NilError(t, err)
	assert.Assert(t, len(pages) > 80, "only %d pages are found", len(pages))
	return pages
}

// commands returns the pages' lines of sh blocks, continued lines joined, each with its place.
func commands(t *testing.T) map[string]string {
	t.Helper()
	lines := map[string]string{}
	for _, page := range pages(t) {
		for _, block := range page.Blocks {
			if block.Language != "sh" {
				continue
			}
			for _, command := range block.Commands() {
				lines[page.Path+": "+command] = command
			}
		}
	}
	assert.Assert(t, len(lines) > 50, "only %d commands are found", len(lines))
	return lines
}

// languages are those of blocks that may stand in a page. Only sh holds commands.
var languages = []string{"sh", "text", "yaml", "go", "diff", "toml", "json"}

// The marker stands above a block of commands, as <!-- run --> or <!-- not run: needs machines -->. A test of
// cmd/argosy runs the former.
func TestEveryCommandBlockIsRunOrMarkedAsNotRun(t *testing.T) {
	marker := regexp.MustCompile(`^(run|not run: \S[^\n]+)$`)
	for _, page := range pages(t) {
		for _, block := range page.Blocks {
			assert.Check(t, slices.Contains(languages, block.Language),
				"%s:%d: a block has a fence with one of %q, not %q", page.Path, block.Line, languages, block.Language)
			if block.Language == "sh" {
				assert.Check(t, marker.MatchString(block.Marker), "%s:%d: %q is no marker run or not run: REASON",
					page.Path, block.Line, block.Marker)
			}
		}
	}
}

// A marker may name the test on the lab that runs the block.
func TestTestsThatMarkersNameExist(t *testing.T) {
	declared := declaredTests(t)
	name := regexp.MustCompile(`\bTest[A-Z]\w+`)
	for _, page := range pages(t) {
		for _, block := range page.Blocks {
			for _, test := range name.FindAllString(block.Marker, -1) {
				assert.Check(t, declared[test], "%s:%d: %s is no test", page.Path, block.Line, test)
			}
		}
	}
}

// A link to a folder has no page in the site.
func TestLinksOfPagesLeadToFilesAndHeadings(t *testing.T) {
	headings := map[string]map[string]bool{}
	all := pages(t)
	for _, page := range all {
		headings[page.Path] = page.Headings
	}
	for _, page := range all {
		for _, link := range page.Links {
			if strings.Contains(link, ":") {
				continue
			}
			path, anchor, _ := strings.Cut(link, "#")
			target := page.Path
			if path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page.Path), path))
			}
			info, err := os.Stat(filepath.Join("..", target))
			if !assert.Check(t, err == nil, "%s: %s leads nowhere", page.Path, link) {
				continue
			}
			inSite := strings.HasPrefix(target, "docs/") && strings.HasPrefix(page.Path, "docs/")
			assert.Check(t, !info.IsDir() || !inSite, "%s: %s leads to a folder: name a page of it", page.Path, link)
			if anchor != "" {
				assert.Check(t, headings[target][anchor], "%s: %s has no heading for %q", page.Path, target, anchor)
			}
		}
	}
}

// A page that the navigation lacks is found by its links alone.
func TestNavigationHasEveryPageOnceAndNoOther(t *testing.T) {
	_, nav, found := strings.Cut(read(t, "../mkdocs.yml"), "\nnav:\n")
	assert.Assert(t, found)
	listed := map[string]int{}
	for _, entry := range regexp.MustCompile(`(?m)^ *- (?:[^:\n]+: )?([a-z0-9/*.-]+)$`).FindAllStringSubmatch(nav, -1) {
		pattern := entry[1]
		if strings.HasSuffix(pattern, "/") {
			pattern += "*.md"
		}
		for _, page := range matching(t, pattern) {
			listed[page]++
		}
	}
	for _, page := range pages(t) {
		if name, inSite := strings.CutPrefix(page.Path, "docs/"); inSite {
			assert.Check(t, listed[name] == 1, "%s is listed %d times", name, listed[name])
			delete(listed, name)
		}
	}
	assert.Equal(t, len(listed), 0, "%v", listed)
}

// parametersOf returns the parameters of each workflow template.
func parametersOf(t *testing.T) map[string][]string {
	t.Helper()
	templates := map[string][]string{}
	for _, file := range matching(t, "../workflows/*.yaml") {
		var template struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     struct {
				Arguments struct{ Parameters []struct{ Name string } }
			}
		}
		assert.NilError(t, yaml.Unmarshal([]byte(read(t, file)), &template), file)
		if template.Kind != "WorkflowTemplate" {
			continue
		}
		names := []string{}
		for _, parameter := range template.Spec.Arguments.Parameters {
			names = append(names, parameter.Name)
		}
		templates[template.Metadata.Name] = names
	}
	return templates
}

func TestSubmittedTemplatesAndTheirParametersExist(t *testing.T) {
	templates := parametersOf(t)
	submit := regexp.MustCompile(`argo submit .*--from workflowtemplate/(\S+)`)
	parameter := regexp.MustCompile(` -p ([A-Za-z]+)=`)
	found := 0
	for place, command := range commands(t) {
		match := submit.FindStringSubmatch(command)
		if match == nil {
			continue
		}
		found++
		known, exists := templates[match[1]]
		assert.Check(t, exists, "%s: there is no such template", place)
		for _, given := range parameter.FindAllStringSubmatch(command, -1) {
			assert.Check(t, slices.Contains(known, given[1]), "%s: no parameter %s, only %q", place, given[1], known)
		}
	}
	assert.Assert(t, found > 15, "only %d submits are found", found)
}

func TestAppliedFoldersAndMadeTargetsExist(t *testing.T) {
	makefile := read(t, "../Makefile")
	applied := regexp.MustCompile(`kubectl apply .*-[fk] ((?:install|examples|workflows|charts)\S*)`)
	made := regexp.MustCompile(`^make (?:-s )?([a-z][a-z0-9-]*)`)
	for place, command := range commands(t) {
		if match := applied.FindStringSubmatch(command); match != nil {
			_, err := os.Stat(filepath.Join("..", match[1]))
			assert.Check(t, err, place)
		}
		if match := made.FindStringSubmatch(command); match != nil {
			target := regexp.MustCompile(`(?m)^([a-z0-9 -]+ )?` + match[1] + `( [a-z0-9 -]+)?:`)
			assert.Check(t, target.MatchString(makefile), "%s: the Makefile has no such target", place)
		}
	}
}
