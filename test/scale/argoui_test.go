//go:build browser

package scale

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/test/browser"
)

var pictures = flag.String("pictures", "", "folder to write the pictures of Argo's UI to, such as docs/images")

// view is the window that people have who look at a workflow: Argo's lists have room for few words in a smaller one.
var view = browser.View{Scheme: "light", Width: 1600, Height: 1000}

// ui is Argo's UI with workflows of a fleet of five machines, of which m1 is the canary and m4 fails its upgrade.
type ui struct {
	t     *testing.T
	a     *api
	b     *browser.Browser
	url   string
	fleet *fleet
}

func TestWorkflowsAreReadableInArgosUI(t *testing.T) {
	u := startUI(t)
	for _, part := range []struct {
		name string
		test func(*ui)
	}{
		{"templates", (*ui).templates},
		{"parameters", (*ui).parameters},
		{"workflows", (*ui).workflows},
		{"join", (*ui).join},
		{"upgrade", (*ui).upgrade},
	} {
		t.Run(part.name, func(t *testing.T) {
			u.t, u.b.T = t, t
			part.test(u)
		})
	}
	u.b.T = t
	assert.DeepEqual(t, u.fleet.violated(), []string(nil))
}

func startUI(t *testing.T) *ui {
	t.Helper()
	a := startAPI(t, t.TempDir())
	a.startArgo()
	a.startKubelet()
	u := &ui{t: t, a: a, fleet: newFleet(t, a, 5)}
	for i, machine := range u.fleet.machines {
		machine.name, machine.rack, machine.fails, machine.boots = fmt.Sprintf("m%d", i+1), "r01", i == 3, false
	}
	u.fleet.machines[0].rack = "r00"
	a.documents(u.fleet, repository(t))
	u.widen()
	for name := range templates(t) {
		a.apply("", filepath.Join("workflows", name+".yaml"))
	}
	u.url = a.startPages()
	u.b = browser.Start(t)
	return u
}

// widen has the rollout take all machines after the canary in one wave, and go on after one failure.
func (u *ui) widen() {
	u.t.Helper()
	documents := u.a.client.CoreV1().ConfigMaps(namespace)
	found, err := documents.Get(u.t.Context(), "fleet", metav1.GetOptions{})
	assert.NilError(u.t, err)
	text := found.Data["argosy.yaml"]
	for from, to := range map[string]string{
		"waveSize: 20%": "waveSize: 100%", "failureBudget: 10%": "failureBudget: 2",
		"maxUnavailable: 5%": "maxUnavailable: 2",
	} {
		assert.Assert(u.t, strings.Contains(text, from), "%s is not in %s", from, text)
		text = strings.Replace(text, from, to, 1)
	}
	found.Data["argosy.yaml"] = text
	_, err = documents.Update(u.t.Context(), found, metav1.UpdateOptions{})
	assert.NilError(u.t, err)
}

// templates returns the workflow templates of the repository by name.
func templates(t *testing.T) map[string]*wfv1.WorkflowTemplate {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "workflows", "*.yaml"))
	assert.NilError(t, err)
	all := map[string]*wfv1.WorkflowTemplate{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		assert.NilError(t, err)
		var template wfv1.WorkflowTemplate
		if yaml.Unmarshal(text, &template) == nil && template.Kind == "WorkflowTemplate" {
			all[template.Name] = &template
		}
	}
	assert.Assert(t, len(all) > 8, "%d templates", len(all))
	return all
}

// open shows a page of the UI.
func (u *ui) open(path string) {
	u.t.Helper()
	u.b.Open(u.url+path, view)
}

// save writes a picture of the window for the documentation.
func (u *ui) save(name string) {
	u.t.Helper()
	if *pictures == "" {
		return
	}
	time.Sleep(time.Second) // panels slide
	picture := u.b.Screenshot(view.Width, view.Height)
	assert.NilError(u.t, os.WriteFile(filepath.Join(*pictures, name), picture, 0o644))
}

// A list shows a line for the title and one for the description, and cuts both where the column ends.
func (u *ui) templates() {
	u.open("/workflow-templates/" + namespace)
	for name, template := range templates(u.t) {
		row := fmt.Sprintf(`document.querySelector('a[href$="/workflow-templates/%s/%s"]')`, namespace, name)
		u.readable(row, template.Annotations["workflows.argoproj.io/title"],
			firstSentence(template.Annotations["workflows.argoproj.io/description"]))
	}
	u.save("templates-in-argo-ui.png")
}

func firstSentence(text string) string {
	first, _, _ := strings.Cut(strings.ReplaceAll(text, "\n", " "), ". ")
	return strings.TrimSuffix(strings.TrimSpace(first), ".")
}

// plain takes out of Markdown its marks.
func plain(markdown string) string { return strings.NewReplacer("**", "", "`", "").Replace(markdown) }

// seen are texts of an element as they are drawn.
type seen struct {
	Text, Visible string
}

// readable checks that a row shows a title and the beginning of a description, both rendered from Markdown and uncut.
func (u *ui) readable(row, title, beginning string) {
	u.t.Helper()
	u.b.Await(fmt.Sprintf("%s?.textContent.includes(%q)", row, title))
	var s seen
	u.b.Evaluate(`(row => {
		const right = row.querySelector("div").getBoundingClientRect().right;
		const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
		let visible = "";
		while (walker.nextNode()) {
			const text = walker.currentNode, range = document.createRange();
			for (let i = 0; i < text.length; i++) {
				range.setStart(text, i);
				range.setEnd(text, i + 1);
				if (range.getBoundingClientRect().right <= right) visible += text.data[i];
			}
		}
		return {Text: row.textContent, Visible: visible};
	})(`+row+`)`, &s)
	assert.Check(u.t, !strings.ContainsAny(s.Text, "*`"), "marks of Markdown in %q", s.Text)
	assert.Check(u.t, strings.Contains(s.Visible, title), "title %q is cut: %q", title, s.Visible)
	assert.Check(u.t, strings.Contains(s.Visible, plain(beginning)), "%q is cut: %q", plain(beginning), s.Visible)
}

// A parameter with few values is chosen from a list, and each one explains itself.
func (u *ui) parameters() {
	for name, template := range templates(u.t) {
		u.open("/workflow-templates/" + namespace + "/" + name + "?sidePanel=submit")
		for _, parameter := range template.Spec.Arguments.Parameters {
			field := fmt.Sprintf(`[...document.querySelectorAll(".sliding-panel label")]
				.find(label => label.textContent === %q)?.parentElement`, parameter.Name)
			u.b.Await(field)
			var lists, explained int
			u.b.Evaluate(field+`.querySelectorAll(".select").length`, &lists)
			u.b.Evaluate(field+`.querySelectorAll(".fa-question-circle").length`, &explained)
			assert.Check(u.t, (lists == 1) == (len(parameter.Enum) > 0), "%s, %s: %d lists", name, parameter.Name,
				lists)
			assert.Check(u.t, explained == 1, "%s, %s is not explained", name, parameter.Name)
			// The values of `true` and `false` are few.
			if value := parameter.Value; value != nil && (*value == "true" || *value == "false") {
				assert.Check(u.t, len(parameter.Enum) > 1, "%s, %s has no list of its values", name, parameter.Name)
			}
		}
	}
	u.open("/workflow-templates/" + namespace + "/upgrade?sidePanel=submit")
	u.b.Await(`document.querySelector(".sliding-panel .select")`)
	u.save("submit-in-argo-ui.png")
}

// await returns a workflow that is as wanted.
func (u *ui) await(name string, is func(*wfv1.Workflow) bool) *wfv1.Workflow {
	u.t.Helper()
	var found *wfv1.Workflow
	await(u.t, "workflow "+name, 5*time.Minute, func() error {
		workflow, _, err := u.a.workflow(name)
		if err == nil && !is(workflow) {
			err = fmt.Errorf("it is %s: %s", workflow.Status.Phase, workflow.Status.Message)
		}
		found = workflow
		return err
	})
	return found
}

// The list of workflows tells of each one the cluster, and whether it changes anything.
func (u *ui) workflows() {
	all := u.a.argo.ArgoprojV1alpha1().Workflows(namespace)
	var made []*wfv1.Workflow
	for name, template := range templates(u.t) {
		metadata := template.Spec.WorkflowMetadata
		values := map[string]string{"cluster": "team-b", "user": "alice"}
		for _, parameter := range template.Spec.Arguments.Parameters {
			if parameter.Value != nil {
				values[parameter.Name] = parameter.Value.String()
			}
		}
		workflow := &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{
			Name: "listed-" + name, Namespace: namespace, Annotations: map[string]string{},
			// The controller leaves it alone, as one that has ended.
			Labels: map[string]string{"workflows.argoproj.io/completed": "true"},
		}, Spec: wfv1.WorkflowSpec{WorkflowTemplateRef: &wfv1.WorkflowTemplateRef{Name: name}}}
		for key, text := range metadata.Annotations {
			for parameter, value := range values {
				text = strings.ReplaceAll(text, "{{workflow.parameters."+parameter+"}}", value)
			}
			workflow.Annotations[key] = text
		}
		_, err := all.Create(u.t.Context(), workflow, metav1.CreateOptions{})
		assert.NilError(u.t, err)
		made = append(made, workflow)
	}
	u.open("/workflows/" + namespace)
	for _, workflow := range made {
		u.listed(workflow)
	}
	u.save("workflows-in-argo-ui.png")
	for _, workflow := range made {
		assert.NilError(u.t, all.Delete(u.t.Context(), workflow.Name, metav1.DeleteOptions{}))
	}
}

func (u *ui) join() {
	name := u.a.submit("join", map[string]string{"cluster": "fleet"})
	workflow := u.await(name, func(w *wfv1.Workflow) bool { return w.Status.Phase.Completed() })
	assert.Equal(u.t, workflow.Status.Phase, wfv1.WorkflowSucceeded, workflow.Status.Message)
	u.open("/workflows/" + namespace)
	u.listed(workflow)
	u.drawn(workflow)
	u.once("join")
	u.choose("join", "m2")
	u.save("join-in-argo-ui.png")
}

// listed checks the row of a workflow in the list of workflows, which is open.
func (u *ui) listed(workflow *wfv1.Workflow) {
	u.t.Helper()
	row := fmt.Sprintf(`document.querySelector('a[href*="/workflows/%s/%s?"]')`, namespace, workflow.Name)
	first, _, _ := strings.Cut(workflow.Annotations["workflows.argoproj.io/description"], ",")
	u.readable(row, workflow.Annotations["workflows.argoproj.io/title"], first)
}

// node is a node of the graph, as a JavaScript expression, by the end of its title.
func node(title string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(".graph svg g > title")]
		.find(title => title.textContent.endsWith(%q))?.parentElement`, title)
}

// drawn checks the graph of a workflow: each node is there with its whole name, and its message can be read.
func (u *ui) drawn(workflow *wfv1.Workflow) {
	u.t.Helper()
	u.open("/workflows/" + namespace + "/" + workflow.Name)
	u.b.Await(`document.querySelector(".graph svg g > title")`)
	u.expand()
	for id, of := range workflow.Status.Nodes {
		if of.Type == wfv1.NodeTypeStepGroup {
			continue
		}
		var label string
		of.Name = id + " (" + of.DisplayName + ")" // waves have steps of the same names
		u.b.Await(node(of.Name))
		u.b.Evaluate(`(e => [...e.querySelectorAll(".node-label tspan")].map(line => line.textContent).join(""))(`+
			node(of.Name)+`)`, &label)
		assert.Check(u.t, label == of.DisplayName, "%s is drawn as %q", of.DisplayName, label)
		if of.Message == "" || of.Type != wfv1.NodeTypePlugin {
			continue
		}
		u.press(node(of.Name) + `.querySelector("g.node")`)
		u.message(of)
	}
}

// expand shows all nodes of a fan-out, of which the graph shows the first and the last.
func (u *ui) expand() {
	u.t.Helper()
	const hidden = `document.querySelector(".graph svg g.Collapsed")`
	u.b.Await(`document.querySelector(".graph svg g > title")`)
	for range 20 {
		var collapsed bool
		u.b.Evaluate(`!!`+hidden, &collapsed)
		if !collapsed {
			return
		}
		u.press(hidden)
	}
	u.t.Fatal("nodes are still hidden")
}

// press clicks on an element, wherever it is in the window or beyond.
func (u *ui) press(element string) {
	u.t.Helper()
	var done bool
	u.b.Evaluate(`(`+element+`).dispatchEvent(new MouseEvent("click", {bubbles: true})), true`, &done)
}

// message checks that the whole message of the selected node can be read.
func (u *ui) message(of wfv1.NodeStatus) {
	u.t.Helper()
	const panel = `document.querySelector(".workflow-node-info")`
	u.b.Await(fmt.Sprintf(`%s?.innerText.includes(%q)`, panel, of.ID))
	var shown struct {
		Text string
		Over int
	}
	u.b.Evaluate(`(e => ({Text: e?.innerText ?? "", Over: e ? e.scrollWidth - e.clientWidth : 0}))(`+panel+
		`.querySelector("span.workflow-node-info__multi-line"))`, &shown)
	flat := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	assert.Check(u.t, flat(shown.Text) == flat(of.Message), "%s: message %q is shown as %q", of.DisplayName, of.Message,
		shown.Text)
	assert.Check(u.t, shown.Over <= 0, "%s: message %q is %d pixels wider than its place", of.DisplayName, of.Message,
		shown.Over)
}

// once checks that each machine has one node in the graph where the user filters out the nodes of retries.
func (u *ui) once(step string) {
	u.t.Helper()
	toggle := func() {
		u.press(`document.querySelector(".graph-options-panel .top-bar__filter")`)
		const retries = `document.querySelector('input[id$="_Retry"]')`
		u.b.Await(retries)
		u.press(retries)
	}
	count := func(machine string) string {
		return fmt.Sprintf(`[...document.querySelectorAll(".graph svg g > title")].filter(title =>
			/\(%s\(\d+:%s\)/.test(title.textContent)).length`, step, machine)
	}
	for _, machine := range u.fleet.machines {
		u.b.Await(count(machine.name) + " === 2")
	}
	toggle()
	for _, machine := range u.fleet.machines {
		u.b.Await(count(machine.name) + " === 1")
	}
	toggle()
	u.b.Await(count("m1") + " === 2")
}

// choose selects the step of a machine with the mouse.
func (u *ui) choose(step, machine string) {
	u.t.Helper()
	u.expand()
	u.b.Click(fmt.Sprintf(`[...document.querySelectorAll(".graph svg g > title")].find(title =>
		/ \(%s\(\d+:%s\)\(0\)\)$/.test(title.textContent))?.parentElement.querySelector("g.node")`, step, machine))
	u.b.Await(`document.querySelector(".workflow-node-info__multi-line")`)
}

func (u *ui) upgrade() {
	name := u.a.submit("upgrade", map[string]string{"cluster": "fleet", "version": newVersion, "backup": "false"})
	u.await(name, func(w *wfv1.Workflow) bool {
		assert.Assert(u.t, !w.Status.Phase.Completed(), "%s: %s", w.Status.Phase, w.Status.Message)
		for _, node := range w.Status.Nodes {
			if node.DisplayName == "approve" && node.Phase == wfv1.NodeRunning {
				return true
			}
		}
		return false
	})
	u.approve(name)
	workflow := u.await(name, func(w *wfv1.Workflow) bool { return w.Status.Phase.Completed() })
	assert.Equal(u.t, workflow.Status.Phase, wfv1.WorkflowFailed, "m4 fails")
	for _, node := range workflow.Status.Nodes {
		if node.Type == wfv1.NodeTypeSuspend && node.TemplateName == "approve" {
			assert.Assert(u.t, node.Outputs != nil && len(node.Outputs.Parameters) == 1)
			assert.Equal(u.t, node.Outputs.Parameters[0].Value.String(), "go on")
		}
	}
	u.open("/workflows/" + namespace)
	u.listed(workflow)
	u.drawn(workflow)
	u.choose("upgrade", "m4")
	u.save("failure-in-argo-ui.png")
}

// approve lets the rollout go on after the canary, as a person does: by clicks on the step, its button, and OK.
func (u *ui) approve(name string) {
	u.t.Helper()
	u.open("/workflows/" + namespace + "/" + name)
	u.b.Await(node(" (approve)"))
	u.b.Click(node(" (approve)") + `?.querySelector("g.node")`)
	// The button of the same name above the graph resumes all of the workflow, without a question.
	const panel = ".workflow-node-info"
	button := func(inside, text string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("%s button")].find(e => e.innerText.trim() === %q)`, inside,
			text)
	}
	u.b.Await(button(panel, "RESUME"))
	u.save("upgrade-in-argo-ui.png")
	u.b.Click(button(panel, "RESUME"))
	u.b.Await(`document.querySelector(".popup-container .select")`)
	u.save("approve-in-argo-ui.png")
	const list = `document.querySelector(".popup-container .select__options")`
	var choices []string
	u.b.Evaluate(`[...`+list+`.querySelectorAll(".select__option")].map(e => e.textContent.trim())`, &choices)
	assert.DeepEqual(u.t, choices, []string{"go on", "stop"})
	u.b.Click(button(".popup-container", "OK"))
	u.b.Await(`!document.querySelector(".popup-container")`)
	u.await(name, func(w *wfv1.Workflow) bool {
		for _, node := range w.Status.Nodes {
			if node.DisplayName == "approve" && node.Phase == wfv1.NodeSucceeded {
				return true
			}
		}
		return false
	})
}
