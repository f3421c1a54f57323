package count_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/count"
)

func TestANounFollowsItsNumber(t *testing.T) {
	for want, got := range map[string]string{
		"1 machine":     count.Of(1, "machine"),
		"0 machines":    count.Of(0, "machine"),
		"12 machines":   count.Of(12, "machine"),
		"1 registry":    count.Of(1, "registry"),
		"2 registries":  count.Of(2, "registry"),
		"2 keys":        count.Of(2, "key"),
		"3 processes":   count.Of(int64(3), "process"),
		"2 boxes":       count.Of(int32(2), "box"),
		"2 switches":    count.Of(2, "switch"),
		"1 more line":   count.Of(1, "more line"),
		"40 more lines": count.Of(40, "more line"),
	} {
		assert.Equal(t, got, want)
	}
}

// counted is a number right before a plural noun or its verb. "1 of 3 machines" is none: that noun goes with the whole.
var counted = regexp.MustCompile(`(.{0,3})%d ([a-z]+s|are|have|were|wait)\b`)

// notNouns end in an s.
var notNouns = []string{"as", "is", "has", "was"}

// always are texts whose number is never 1, by their place in the code.
var always = []string{
	"%d bytes", "%d seconds", "%d levels", "%d values", "%d letters", "%d minor versions", "%d times",
	"%d binaries", "%d attempts", "%d problems", "%d others", "%d entries", "%d nodes, each",
	"%d rounds", "%d printable letters", "%d members", "%d files: %w", "lists %d machines",
}

func TestNoMessageCountsByItself(t *testing.T) {
	for _, root := range []string{"../../cmd", "../../internal", "../../pkg"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(node ast.Node) bool {
				text, ok := literal(node)
				if !ok {
					return true
				}
				for _, exception := range always {
					text = strings.ReplaceAll(text, exception, "")
				}
				for _, found := range counted.FindAllStringSubmatch(text, -1) {
					if found[1] != "of " && !slices.Contains(notNouns, found[2]) {
						t.Errorf("%s: %q has a number and a plural: use count.Of", fset.Position(node.Pos()), text)
					}
				}
				return false
			})
			return nil
		})
		assert.NilError(t, err)
	}
}

// literal returns the text of a string, and of strings with a plus between.
func literal(node ast.Node) (string, bool) {
	switch node := node.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(node.Value)
		return text, err == nil && node.Kind == token.STRING
	case *ast.BinaryExpr:
		left, isLeft := literal(node.X)
		right, isRight := literal(node.Y)
		return left + right, isLeft && isRight && node.Op == token.ADD
	}
	return "", false
}
