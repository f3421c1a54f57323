package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// varying stands in the constant parts of the code for a value that is not known.
const varying = "\x00"

// text returns the string of an expression; the values of verbs and of expressions that are no literals vary.
func text(expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return varying
		}
		value, err := strconv.Unquote(e.Value)
		if err != nil {
			return varying
		}
		return regexp.MustCompile(`%(\[\d+\])?[-+# 0-9.]*[a-zA-Z]`).ReplaceAllString(value, varying)
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return text(e.X) + text(e.Y)
		}
	case *ast.ParenExpr:
		return text(e.X)
	}
	return varying
}

// messagesOfCode returns the constant texts of the programs, one a line.
func messagesOfCode(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, root := range []string{"../cmd", "../internal", "../pkg"} {
		assert.NilError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir():
				return skip(path, entry)
			case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(node ast.Node) bool {
				switch e := node.(type) {
				case *ast.BasicLit:
					all.WriteString(text(e) + "\n")
				case *ast.BinaryExpr:
					if e.Op == token.ADD {
						all.WriteString(text(e) + "\n")
						return false
					}
				}
				return true
			})
			return nil
		}))
	}
	return all.String()
}

// constantParts returns the parts of a quoted message between its ellipses, without the quotes around a value.
func constantParts(message string) (parts []string) {
	for part := range strings.SplitSeq(message, "…") {
		if part = strings.Trim(part, `": `); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// A message in a page that the programs do not print any more is never found by its reader.
func TestMessagesThatPagesQuoteAreInTheCode(t *testing.T) {
	code := messagesOfCode(t)
	table := regexp.MustCompile(`(?m)^\| message \|.*\n\|[-|]+\n((?:\|.*\n?)+)`)
	found := 0
	for _, page := range pages(t) {
		content := read(t, filepath.Join("..", page.Path))
		for _, match := range table.FindAllStringSubmatch(content, -1) {
			for row := range strings.Lines(match[1]) {
				cell := strings.SplitN(row, "|", 3)[1]
				for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
					found++
					for _, part := range constantParts(quoted[1]) {
						assert.Check(t, strings.Contains(code, part), "%s: no message has %q, of %q", page.Path, part,
							quoted[1])
					}
				}
			}
		}
	}
	assert.Assert(t, found > 150, "only %d messages are quoted", found)
}

func TestConstantPartsOfAMessageLeaveOutItsValues(t *testing.T) {
	assert.DeepEqual(t, constantParts(`node "…" stays cordoned: …`), []string{"node", "stays cordoned"})
}
