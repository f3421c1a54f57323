// Package browser shows pages in a headless Chromium to tests, which look at them and click as a user does.
package browser

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

// Browser is a headless Chromium, spoken to by its DevTools protocol over two pipes. It shows one page at a time.
type Browser struct {
	// T is the test that fails where the browser does not do as it is told.
	T testing.TB
	// Requests are the URLs that the page asked for, Complaints the browser's log.
	Requests, Complaints []string

	in      io.Writer
	out     *bufio.Reader
	last    int
	session string
}

// View is how a page is shown.
type View struct {
	// Scheme is "light" or "dark".
	Scheme string
	// Width and Height of the window in pixels.
	Width, Height int
}

// message is one message of the protocol.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   json.RawMessage `json:"error,omitempty"`
}

// Start starts a browser for the length of a test. Where there is none, the test fails and names the package: a page
// that no browser has shown is not tested.
func Start(t testing.TB) *Browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("program chromium is missing: `test/packages.sh browser` installs it on Debian")
	}
	theirIn, in, err := os.Pipe()
	assert.NilError(t, err)
	out, theirOut, err := os.Pipe()
	assert.NilError(t, err)
	profile, err := os.MkdirTemp("", "argosy-browser-")
	assert.NilError(t, err)
	command := exec.CommandContext(t.Context(), program, "--headless=new", "--no-sandbox", "--disable-gpu",
		"--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--hide-scrollbars", "--user-data-dir="+profile, "--remote-debugging-pipe")
	command.ExtraFiles = []*os.File{theirIn, theirOut}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	assert.NilError(t, command.Start())
	assert.NilError(t, theirIn.Close())
	assert.NilError(t, theirOut.Close())
	b := &Browser{T: t, in: in, out: bufio.NewReaderSize(out, 1<<20)}
	t.Cleanup(func() {
		_ = b.send("Browser.close", nil, nil)
		_ = in.Close()
		_ = command.Wait()
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // its children, which write into the profile
		_ = out.Close()
		_ = os.RemoveAll(profile)
	})
	var target struct {
		TargetID string `json:"targetId"`
	}
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Network", "Log", "Runtime", "Accessibility"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

func (b *Browser) call(method string, params, result any) {
	b.T.Helper()
	assert.NilError(b.T, b.send(method, params, result), "%s", method)
}

// send calls a method and decodes its result.
func (b *Browser) send(method string, params, result any) error {
	b.last++
	id := b.last
	text, err := json.Marshal(message{ID: id, Session: b.session, Method: method, Params: params})
	if err != nil {
		return fmt.Errorf("encoding %s: %w", method, err)
	}
	if _, err := b.in.Write(append(text, 0)); err != nil {
		return fmt.Errorf("calling %s: %w", method, err)
	}
	for {
		answer, err := b.read()
		switch {
		case err != nil:
			return err
		case answer.ID != id:
			continue
		case answer.Error != nil:
			return fmt.Errorf("%s: %s", method, answer.Error)
		case result == nil:
			return nil
		}
		return json.Unmarshal(answer.Result, result)
	}
}

// read reads the next message, and notes an event.
func (b *Browser) read() (message, error) {
	text, err := b.out.ReadBytes(0)
	if err != nil {
		return message{}, fmt.Errorf("reading from the browser: %w", err)
	}
	var read struct {
		message
		Params struct {
			Request struct {
				URL string `json:"url"`
			} `json:"request"`
			Entry struct {
				Text string `json:"text"`
			} `json:"entry"`
		} `json:"params"`
	}
	if err := json.Unmarshal(text[:len(text)-1], &read); err != nil {
		return message{}, fmt.Errorf("decoding a message of the browser: %w", err)
	}
	switch read.Method {
	case "Network.requestWillBeSent":
		b.Requests = append(b.Requests, read.Params.Request.URL)
	case "Log.entryAdded":
		b.Complaints = append(b.Complaints, read.Params.Entry.Text)
	}
	return read.message, nil
}

// Open shows the page at a URL and returns when it is loaded.
func (b *Browser) Open(url string, view View) {
	b.T.Helper()
	b.Requests, b.Complaints = nil, nil
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": view.Width, "height": view.Height, "deviceScaleFactor": 1, "mobile": false,
	}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": view.Scheme}},
	}, nil)
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	for {
		event, err := b.read()
		assert.NilError(b.T, err)
		if event.Method == "Page.loadEventFired" {
			return
		}
	}
}

// Evaluate decodes the value of a JavaScript expression in the page.
func (b *Browser) Evaluate(expression string, into any) {
	b.T.Helper()
	var answer struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception json.RawMessage `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &answer)
	assert.Assert(b.T, answer.Exception == nil, "%s: %s", expression, answer.Exception)
	assert.NilError(b.T, json.Unmarshal(answer.Result.Value, into))
}

// Roles counts the nodes of the accessibility tree, which a screen reader reads, by their roles.
func (b *Browser) Roles() map[string]int {
	b.T.Helper()
	var tree struct {
		Nodes []struct {
			Ignored bool `json:"ignored"`
			Role    struct {
				Value string `json:"value"`
			} `json:"role"`
		} `json:"nodes"`
	}
	b.call("Accessibility.getFullAXTree", nil, &tree)
	counts := map[string]int{}
	for _, node := range tree.Nodes {
		if !node.Ignored {
			counts[node.Role.Value]++
		}
	}
	return counts
}

// Screenshot returns the page as PNG, down to a height in pixels.
func (b *Browser) Screenshot(width, height int) []byte {
	b.T.Helper()
	var picture struct {
		Data string `json:"data"`
	}
	b.call("Page.captureScreenshot", map[string]any{
		"format": "png", "captureBeyondViewport": true,
		"clip": map[string]any{"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
	}, &picture)
	text, err := base64.StdEncoding.DecodeString(picture.Data)
	assert.NilError(b.T, err)
	return text
}

// Await returns when a JavaScript expression is true in the page; after a minute without that, the test fails with the
// page's text.
func (b *Browser) Await(expression string) {
	b.T.Helper()
	limit := time.Now().Add(time.Minute)
	for {
		var is bool
		b.Evaluate("!!("+expression+")", &is)
		if is {
			return
		}
		if time.Now().After(limit) {
			var text string
			b.Evaluate("document.body.innerText", &text)
			b.T.Fatalf("waiting for %s in a page that reads:\n%s\n%q", expression, text, b.Complaints)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Click clicks with the mouse into the middle of the element that a JavaScript expression returns.
func (b *Browser) Click(element string) {
	b.T.Helper()
	b.Await(element)
	var at struct{ X, Y float64 }
	b.Evaluate(`(e => {
		e.scrollIntoView({block: "center", inline: "center", behavior: "instant"});
		const box = e.getBoundingClientRect();
		return {X: box.x + box.width / 2, Y: box.y + box.height / 2};
	})(`+element+`)`, &at)
	for _, event := range []string{"mouseMoved", "mousePressed", "mouseReleased"} {
		b.call("Input.dispatchMouseEvent", map[string]any{
			"type": event, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1,
		}, nil)
	}
}
