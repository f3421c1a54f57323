package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/plugins/executor"
	kjson "sigs.k8s.io/json"
)

// ObjectKey is the one key of a template's plugin object that makes it ours.
const ObjectKey = "argosy"

// Workflow identifies the workflow that a call comes from.
type Workflow struct {
	Name      string
	Namespace string
	UID       string
}

// Call is one call of Argo about one step.
type Call struct {
	Workflow Workflow
	// Template is the name of the template.
	Template string
	// Step is the field "step": which Step is asked for.
	Step string
	// Node is the field "node", which templates set to "{{node.name}}"; Argo tells a plugin nothing of the node itself.
	Node string
	// Attempt is the field "attempt", which templates with a retryStrategy set to "{{retries}}"; otherwise empty.
	Attempt string
	// APIVersion is the field "apiVersion"; templates that are older than the field leave it out.
	APIVersion string

	// release is the plugin's own, which messages name.
	release string
	inputs  map[string]json.RawMessage
	// declared has the names of the template's outputs.
	declared []string
}

// NewCall decodes the object below the key "argosy" into a call.
func NewCall(workflow Workflow, template string, object []byte) (Call, error) {
	call := Call{Workflow: workflow, Template: template}
	if err := unmarshalStrict(object, &call.inputs); err != nil {
		return Call{}, fmt.Errorf("decoding the plugin object of template %q: %w", template, err)
	}
	own := []struct {
		key  string
		into *string
	}{{"step", &call.Step}, {"node", &call.Node}, {"attempt", &call.Attempt}, {"apiVersion", &call.APIVersion}}
	for _, field := range own {
		raw, given := call.inputs[field.key]
		if !given {
			continue
		}
		if err := json.Unmarshal(raw, field.into); err != nil {
			return Call{}, fmt.Errorf("decoding %q in the plugin object of template %q: %w", field.key, template, err)
		}
		delete(call.inputs, field.key)
	}
	return call, nil
}

// Decode decodes the inputs (the plugin object without step, node, attempt and apiVersion) into a struct with json
// tags. Unknown inputs, repeated ones and those whose case differs are errors.
func (c Call) Decode(into any) error {
	inputs := c.inputs
	if inputs == nil {
		inputs = map[string]json.RawMessage{}
	}
	data, err := json.Marshal(inputs)
	if err != nil {
		return fmt.Errorf("encoding the inputs of step %q: %w", c.Step, err)
	}
	if err := unmarshalStrict(data, into); err != nil {
		return fmt.Errorf("decoding the inputs of step %q: %w; %s", c.Step, err, c.otherRelease())
	}
	return nil
}

// Input returns an input that is a text; empty where there is none.
func (c Call) Input(name string) string {
	var value string
	if json.Unmarshal(c.inputs[name], &value) != nil {
		return ""
	}
	return value
}

// attributes returns the fields of every log line about the call.
func (c Call) attributes() []any {
	attributes := []any{
		slog.String("workflow", c.Workflow.Name),
		slog.String("namespace", c.Workflow.Namespace),
		slog.String("node", c.Node),
		slog.String("step", c.Step),
	}
	for _, key := range []string{"cluster", "machine"} {
		if value := c.Input(key); value != "" {
			attributes = append(attributes, slog.String(key, value))
		}
	}
	return attributes
}

// request is the part of Argo's ExecuteTemplateArgs that we read. The whole Template is not decoded: its other fields
// change between Argo's versions, and none of them should be able to fail a step.
type request struct {
	Workflow *executor.Workflow `json:"workflow"`
	Template *struct {
		Name    string       `json:"name"`
		Plugin  *wfv1.Plugin `json:"plugin"`
		Outputs struct {
			Parameters []struct {
				Name string `json:"name"`
			} `json:"parameters"`
		} `json:"outputs"`
	} `json:"template"`
}

// decodeCall decodes the body of a request. ours is false when the step belongs to another plugin. Where the plugin
// object cannot be decoded, the call has at least the outputs that the template declares.
func decodeCall(body []byte) (call Call, ours bool, err error) {
	var asked request
	if err := json.Unmarshal(body, &asked); err != nil {
		return Call{}, false, fmt.Errorf("decoding the call: %w", err)
	}
	if asked.Template == nil {
		return Call{}, false, errors.New("decoding the call: it has no template")
	}
	if asked.Template.Plugin == nil {
		return Call{}, false, nil
	}
	object, err := pluginObject(asked.Template.Plugin)
	if err != nil || object == nil {
		return Call{}, false, err
	}
	if asked.Workflow == nil {
		return Call{}, false, errors.New("decoding the call: it has no workflow")
	}
	meta := asked.Workflow.ObjectMeta
	call, err = NewCall(Workflow{Name: meta.Name, Namespace: meta.Namespace, UID: meta.UID}, asked.Template.Name,
		object)
	for _, output := range asked.Template.Outputs.Parameters {
		call.declared = append(call.declared, output.Name)
	}
	return call, err == nil, err
}

// pluginObject returns the object below our key, or nil when the plugin object is another plugin's.
func pluginObject(plugin *wfv1.Plugin) (json.RawMessage, error) {
	var byKey map[string]json.RawMessage
	if err := json.Unmarshal(plugin.Value, &byKey); err != nil {
		return nil, fmt.Errorf("decoding the plugin object: %w", err)
	}
	return byKey[ObjectKey], nil
}

// unmarshalStrict refuses input that encoding/json accepts: unknown and repeated keys, and keys in another case.
func unmarshalStrict(data []byte, into any) error {
	lenient, err := kjson.UnmarshalStrict(data, into)
	if err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	return errors.Join(lenient...)
}
