//go:build browser

package report_test

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

	"gotest.tools/v3/assert"
)

// browser is a headless Chromium, spoken to by its DevTools protocol over two pipes. It shows one page at a time.
type browser struct {
	t       *testing.T
	in      io.Writer
	out     *bufio.Reader
	last    int
	session string
	// requests are the URLs that the page asked for, complaints the browser's log.
	requests, complaints []string
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

// startBrowser starts a browser. Where there is none, the test fails and names the package: a page that no browser
// has shown is not tested.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("program chromium is missing: `test/packages.sh browser` installs it on Debian")
	}
	theirIn, in, err := os.Pipe()
	assert.NilError(t, err)
	out, theirOut, err := os.Pipe()
	assert.NilError(t, err)
	profile, err := os.MkdirTemp("", "report-browser-")
	assert.NilError(t, err)
	command := exec.CommandContext(t.Context(), program, "--headless=new", "--no-sandbox", "--disable-gpu",
		"--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--hide-scrollbars", "--user-data-dir="+profile, "--remote-debugging-pipe")
	command.ExtraFiles = []*os.File{theirIn, theirOut}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	assert.NilError(t, command.Start())
	assert.NilError(t, theirIn.Close())
	assert.NilError(t, theirOut.Close())
	b := &browser{t: t, in: in, out: bufio.NewReaderSize(out, 1<<20)}
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

func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	assert.NilError(b.t, b.send(method, params, result), "%s", method)
}

// send calls a method and decodes its result.
func (b *browser) send(method string, params, result any) error {
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
func (b *browser) read() (message, error) {
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
		b.requests = append(b.requests, read.Params.Request.URL)
	case "Log.entryAdded":
		b.complaints = append(b.complaints, read.Params.Entry.Text)
	}
	return read.message, nil
}

// open shows a file at a width in pixels, in the scheme "light" or "dark".
func (b *browser) open(file, scheme string, width int) {
	b.t.Helper()
	b.requests, b.complaints = nil, nil
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false,
	}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}},
	}, nil)
	b.call("Page.navigate", map[string]any{"url": "file://" + file}, nil)
	for {
		event, err := b.read()
		assert.NilError(b.t, err)
		if event.Method == "Page.loadEventFired" {
			return
		}
	}
}

// evaluate decodes the value of a JavaScript expression in the page.
func (b *browser) evaluate(expression string, into any) {
	b.t.Helper()
	var answer struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception json.RawMessage `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &answer)
	assert.Assert(b.t, answer.Exception == nil, "%s: %s", expression, answer.Exception)
	assert.NilError(b.t, json.Unmarshal(answer.Result.Value, into))
}

// roles counts the nodes of the accessibility tree, which a screen reader reads, by their roles.
func (b *browser) roles() map[string]int {
	b.t.Helper()
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

// screenshot returns the page as PNG, down to a height in pixels.
func (b *browser) screenshot(width, height int) []byte {
	b.t.Helper()
	var picture struct {
		Data string `json:"data"`
	}
	b.call("Page.captureScreenshot", map[string]any{
		"format": "png", "captureBeyondViewport": true,
		"clip": map[string]any{"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
	}, &picture)
	text, err := base64.StdEncoding.DecodeString(picture.Data)
	assert.NilError(b.t, err)
	return text
}
