//go:build browser

package report_test

import (
	"bytes"
	"flag"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/report"
	"argosy.dev/argosy/test/browser"
)

var pictures = flag.String("pictures", "", "folder to write the pictures of pages to, such as docs/images")

// layout is a page as the browser laid it out.
type layout struct {
	// Scroll is how many pixels the page is wider than its window, Height its height.
	Scroll, Height int
	// Cut names elements that reach beyond the window.
	Cut []string
	// Narrow holds texts of several words in a column of a few letters.
	Narrow []string
	// Smallest text in pixels, and Lowest contrast of text with its background.
	Smallest, Lowest float64
	// Page is the luminance of the background, from 0 (black) to 1.
	Page float64
	// Bars is the width of the picture's paths on the screen, in pixels.
	Bars float64
}

const measure = `(() => {
	const rgb = c => (c.match(/[\d.]+/g) || []).map(Number);
	const part = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 };
	const luminance = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
	const behind = e => {
		for (; e; e = e.parentElement) {
			const c = rgb(getComputedStyle(e).backgroundColor);
			if (c.length === 3 || c[3] > 0) return luminance(c);
		}
		return 1;
	};
	const wide = document.documentElement.clientWidth;
	let smallest = 99, lowest = 99;
	const cut = [], narrow = [];
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const e = walker.currentNode.parentElement;
		if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest("thead, svg")) continue;
		const style = getComputedStyle(e), text = luminance(rgb(style.color)), back = behind(e);
		smallest = Math.min(smallest, parseFloat(style.fontSize));
		lowest = Math.min(lowest, (Math.max(text, back) + .05) / (Math.min(text, back) + .05));
		const box = e.getBoundingClientRect();
		if (walker.currentNode.data.trim().length > 20 && box.width < 100) narrow.push(walker.currentNode.data.trim());
		if (box.right > wide + 1 || box.left < -1) cut.push(e.tagName + " " + walker.currentNode.data.trim());
	}
	let bars = 0;
	for (const path of document.querySelectorAll(".rows path")) bars += path.getBoundingClientRect().width;
	return {
		Scroll: document.documentElement.scrollWidth - wide, Height: document.documentElement.scrollHeight, Cut: cut,
		Narrow: narrow,
		Smallest: smallest, Lowest: lowest, Bars: bars,
		Page: luminance(rgb(getComputedStyle(document.body).backgroundColor)),
	};
})()`

// writePage writes the page of a report into a file.
func writePage(t *testing.T, made *report.Report) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	assert.NilError(t, os.WriteFile(file, []byte(pageOf(t, made)), 0o600))
	return file
}

// open shows a file at a width in pixels, in the scheme "light" or "dark".
func open(b *browser.Browser, file, scheme string, width int) {
	b.Open("file://"+file, browser.View{Scheme: scheme, Width: width, Height: 900})
}

// Each page in light and dark, on a phone and on a large screen.
func TestAPageIsReadableInABrowser(t *testing.T) {
	b := browser.Start(t)
	for name, made := range map[string]*report.Report{
		"join": report.Of(sampleJoin(t), noMembers), "upgrade": report.Of(sampleUpgrade(t), noMembers),
	} {
		file := writePage(t, made)
		for _, width := range []int{360, 1600} {
			for _, scheme := range []string{"light", "dark"} {
				t.Run(fmt.Sprintf("%s-%s-%d", name, scheme, width), func(t *testing.T) {
					b.T = t
					open(b, file, scheme, width)
					checkLayout(t, b, made, scheme, width)
					if *pictures != "" {
						savePicture(t, b, fmt.Sprintf("report-%s-%s-%d.png", name, scheme, width), width)
					}
				})
			}
		}
	}
	b.T = t
}

func checkLayout(t *testing.T, b *browser.Browser, made *report.Report, scheme string, width int) {
	t.Helper()
	var seen layout
	b.Evaluate(measure, &seen)
	assert.Equal(t, seen.Scroll, 0, "the page is wider than its window")
	assert.Equal(t, len(seen.Cut), 0, "%q", seen.Cut)
	assert.Equal(t, len(seen.Narrow), 0, "%q", seen.Narrow)
	assert.Assert(t, seen.Smallest >= 12, "text of %v pixels", seen.Smallest)
	assert.Assert(t, seen.Lowest >= 4.5, "a contrast of %v", seen.Lowest)
	assert.Equal(t, seen.Page < 0.2, scheme == "dark", "luminance %v", seen.Page)
	assert.Assert(t, seen.Bars > float64(width)/2, "bars are %v pixels wide", seen.Bars)
	assert.Equal(t, len(b.Complaints), 0, "%q", b.Complaints)
	for _, url := range b.Requests {
		assert.Assert(t, strings.HasPrefix(url, "file://") && strings.HasSuffix(url, "/report.html"), "%s", url)
	}
	roles := b.Roles()
	assert.Equal(t, roles["table"], 3, "%v", roles)
	assert.Assert(t, roles["row"] > len(made.Machines)*2, "%v", roles)
	assert.Assert(t, roles["rowheader"] > len(made.Machines), "%v", roles)
	assert.Assert(t, roles["image"]+roles["img"] == 1, "%v", roles)
	assert.Assert(t, roles["heading"] >= 5, "%v", roles)
	assert.Assert(t, roles["main"] == 1 && roles["banner"] == 1, "%v", roles)
}

// savePicture writes a picture of the top of a page for the documentation.
func savePicture(t *testing.T, b *browser.Browser, name string, width int) {
	t.Helper()
	height := 900
	if width < height {
		height = 1500 // as far as the timeline
	}
	picture := b.Screenshot(width, height)
	_, err := png.DecodeConfig(bytes.NewReader(picture))
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(filepath.Join(*pictures, name), picture, 0o644))
}

func TestAPageOfAThousandMachinesOpensInABrowser(t *testing.T) {
	b := browser.Start(t)
	open(b, writePage(t, report.Of(sampleThousand(t), noMembers)), "light", 1600)
	var seen layout
	b.Evaluate(measure, &seen)
	assert.Equal(t, seen.Scroll, 0)
	assert.Assert(t, seen.Bars > 800)
	var elements int
	b.Evaluate("document.querySelectorAll('*').length", &elements)
	assert.Assert(t, elements < 12000, "%d elements", elements)
}

// A browser that shows a page with a script, or with a picture of another server, refuses both.
func TestThePolicyOfAPageHoldsInABrowser(t *testing.T) {
	page := pageOf(t, report.Of(sampleJoin(t), noMembers))
	foreign := `<main><img src="http://127.0.0.1:9/x.png"><script>document.title="run"</script>`
	page = strings.Replace(page, "<main>", foreign, 1)
	file := filepath.Join(t.TempDir(), "report.html")
	assert.NilError(t, os.WriteFile(file, []byte(page), 0o600))
	b := browser.Start(t)
	open(b, file, "light", 1600)
	var title string
	b.Evaluate("document.title", &title)
	assert.Assert(t, strings.HasPrefix(title, "join "), "%s", title)
	assert.Assert(t, len(b.Complaints) >= 2, "%q", b.Complaints)
}
