package docstest

import (
	"testing"

	"gotest.tools/v3/assert"
)

const page = "# Joining `machines`, twice\n\nSee [here](a.md#b).\n\n" +
	"<!-- run -->\n```sh\nargosy validate\n```\n\n" +
	"<!-- not run: needs\nmachines -->\n```sh\nargosy join\n```\n\n" +
	"Text ![picture](b.svg).\n\n```text\nno marker\n```\n\n" +
	"    no fence\n"

func TestAPageHasItsBlocksWithMarkersLinksAndHeadings(t *testing.T) {
	got := Parse("a.md", []byte(page))
	assert.DeepEqual(t, got, Page{
		Path: "a.md",
		Blocks: []Block{
			{Language: "sh", Marker: "run", Text: "argosy validate\n", Line: 7},
			{Language: "sh", Marker: "not run: needs\nmachines", Text: "argosy join\n", Line: 13},
			{Language: "text", Text: "no marker\n", Line: 19},
			{Text: "no fence\n", Line: 22},
		},
		Links:    []string{"a.md#b", "b.svg"},
		Headings: map[string]bool{"joining-machines-twice": true},
	})
}

func TestContinuedCommandsAreOneAndCommentsNone(t *testing.T) {
	block := Block{Text: "# first\nargosy join \\\n  -n a   # at night\n\nargosy plan -n a\n"}
	assert.DeepEqual(t, block.Commands(), []string{"argosy join   -n a", "argosy plan -n a"})
}
