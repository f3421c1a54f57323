package workflows_test

import (
	"os"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	"sigs.k8s.io/yaml"
)

// sensor is the part of a Sensor of Argo Events that Argosy has a say in; the Workflow is Argo's own type.
type sensor struct {
	Spec struct {
		Dependencies []struct{ EventSourceName, EventName string }
		Triggers     []struct {
			Template struct {
				K8s struct {
					Operation string
					Source    struct{ Resource map[string]any }
				}
			}
		}
	}
}

// planOnChange decodes a file of the example.
func planOnChange[T any](t *testing.T, file string) T {
	t.Helper()
	text, err := os.ReadFile("../examples/plan-on-change/" + file)
	assert.NilError(t, err)
	var object T
	assert.NilError(t, yaml.Unmarshal(text, &object))
	return object
}

// planned is the Workflow that the Sensor creates.
func planned(t *testing.T) wfv1.Workflow {
	t.Helper()
	trigger := planOnChange[sensor](t, "sensor.yaml").Spec.Triggers[0].Template.K8s
	assert.Equal(t, trigger.Operation, "create")
	text, err := yaml.Marshal(trigger.Source.Resource)
	assert.NilError(t, err)
	var workflow wfv1.Workflow
	assert.NilError(t, yaml.UnmarshalStrict(text, &workflow))
	return workflow
}

func TestTheSensorWaitsForTheDocumentsOfItsCluster(t *testing.T) {
	type source struct {
		Metadata struct{ Name string }
		Spec     struct {
			Resource map[string]struct {
				Namespace, Resource string
				Filter              struct {
					Fields []struct{ Key, Operation, Value string }
				}
			}
		}
	}
	events := planOnChange[source](t, "eventsource.yaml")
	waits := planOnChange[sensor](t, "sensor.yaml").Spec.Dependencies[0]
	assert.Equal(t, waits.EventSourceName, events.Metadata.Name)
	watched, found := events.Spec.Resource[waits.EventName]
	assert.Assert(t, found, waits.EventName)
	workflow := planned(t)
	assert.Equal(t, watched.Resource, "configmaps")
	assert.Equal(t, watched.Namespace, workflow.Namespace)
	assert.Equal(t, watched.Filter.Fields[0].Key, "metadata.name")
	assert.Equal(t, watched.Filter.Fields[0].Value,
		workflow.Spec.Arguments.GetParameterByName("cluster").Value.String())
}

// The workflow of the Sensor runs as Argo runs it, with the plugin's own steps.
func TestAPlanThatAChangeStartsTouchesNoMachine(t *testing.T) {
	fleet := newFleet(t, 3, true, newVersion)
	for _, machine := range fleet.machines {
		machine.differs = true
	}
	asked, with := planned(t).Spec, map[string]string{}
	for _, parameter := range asked.Arguments.Parameters {
		with[parameter.Name] = parameter.Value.String()
	}
	argo := start(t, asked.WorkflowTemplateRef.Name, fleet, with)
	assert.Equal(t, argo.run(), wfv1.NodeSucceeded)
	assert.Equal(t, len(fleet.started), 0, "%v", fleet.started)
	assert.Assert(t, strings.HasPrefix(argo.node("plan").Message, "3 of 3 machines differ"), argo.node("plan").Message)
}
