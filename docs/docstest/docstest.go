// Package docstest reads the pages of the documentation for tests: their blocks of code, links and headings. It changes
// no page.
package docstest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// Page is a page in Markdown.
type Page struct {
	Path     string // below the root of the repository, with slashes
	Blocks   []Block
	Links    []string        // as they are written, of pictures too
	Headings map[string]bool // anchors
}

// Block is a block of code.
type Block struct {
	Language string // first word behind the fence; empty for a block without a fence
	Marker   string // content of the comment right above the fence: "run", "output" or "not run: REASON"
	Text     string
	Line     int // of the block's first line, from 1
}

// Pages returns README.md and every page below docs, in order of their paths. root is the repository's root.
func Pages(root string) ([]Page, error) {
	paths := []string{"README.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ".md" {
			var below string
			below, err = filepath.Rel(root, path)
			paths = append(paths, filepath.ToSlash(below))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the pages below %q: %w", root, err)
	}
	pages := make([]Page, 0, len(paths))
	for _, path := range paths {
		content, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return nil, fmt.Errorf("reading page %q: %w", path, err)
		}
		pages = append(pages, Parse(path, content))
	}
	return pages, nil
}

// Parse returns the page with this content.
func Parse(path string, content []byte) Page {
	page := Page{Path: path, Headings: map[string]bool{}}
	markdown := goldmark.New(goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	root := markdown.Parser().Parse(text.NewReader(content))
	_ = ast.Walk(root, func(node ast.Node, entering bool) (ast.WalkStatus, error) { // the function returns no error
		if entering {
			page.add(node, content)
		}
		return ast.WalkContinue, nil
	})
	return page
}

func (p *Page) add(node ast.Node, content []byte) {
	switch node := node.(type) {
	case *ast.Heading:
		if id, ok := node.AttributeString("id"); ok {
			p.Headings[string(id.([]byte))] = true
		}
	case *ast.Link:
		p.Links = append(p.Links, string(node.Destination))
	case *ast.Image:
		p.Links = append(p.Links, string(node.Destination))
	case *ast.FencedCodeBlock:
		block := blockOf(node, content)
		block.Language = string(node.Language(content))
		block.Marker = markerAbove(node, content)
		p.Blocks = append(p.Blocks, block)
	case *ast.CodeBlock:
		p.Blocks = append(p.Blocks, blockOf(node, content))
	}
}

func blockOf(node ast.Node, content []byte) Block {
	lines := node.Lines()
	if lines.Len() == 0 {
		return Block{}
	}
	return Block{
		Text: string(lines.Value(content)),
		Line: 1 + strings.Count(string(content[:lines.At(0).Start]), "\n"),
	}
}

// markerAbove returns the content of an HTML comment that is the node before.
func markerAbove(node ast.Node, content []byte) string {
	comment, ok := node.PreviousSibling().(*ast.HTMLBlock)
	if !ok {
		return ""
	}
	html := string(comment.Lines().Value(content))
	if comment.HasClosure() {
		html += string(comment.ClosureLine.Value(content))
	}
	html, opened := strings.CutPrefix(strings.TrimSpace(html), "<!--")
	html, closed := strings.CutSuffix(html, "-->")
	if !opened || !closed {
		return ""
	}
	return strings.TrimSpace(html)
}

// Commands returns the commands of a block, one a line: continued lines are joined, comments and empty lines left out.
func (b Block) Commands() []string {
	var commands []string
	for line := range strings.Lines(strings.ReplaceAll(b.Text, "\\\n", "")) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			commands = append(commands, line)
		}
	}
	return commands
}
