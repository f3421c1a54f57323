// Package report tells of one run of a workflow: when each machine was in which phase, the changes there, why it
// failed, and the versions before and after. It reads a Workflow and the reports of its steps, and writes JSON and a
// page of HTML that needs no other file.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// APIVersion of Report's JSON.
const APIVersion = "report.argosy.dev/v1alpha1"

// Report is a run of a workflow. All times of phases are seconds after Started.
type Report struct {
	APIVersion string `json:"apiVersion"`
	Workflow   string `json:"workflow"`
	Namespace  string `json:"namespace"`
	Cluster    string `json:"cluster,omitempty"`
	// Operation is the workflow's template, e.g. "join".
	Operation string `json:"operation,omitempty"`
	// Result is Argo's phase: Succeeded, Failed, Error or Running.
	Result  string    `json:"result"`
	Started time.Time `json:"started"`
	// Ended is the end of the last step that has ended.
	Ended time.Time `json:"ended"`
	// Steps are those on the cluster as a whole, in the order in which they began.
	Steps []Step `json:"steps,omitempty"`
	// Machines in the order in which they began.
	Machines []Machine `json:"machines,omitempty"`
	// Notes name the gaps of the report.
	Notes []string `json:"notes,omitempty"`
}

// Step is a step on the cluster as a whole.
type Step struct {
	Name    string  `json:"name"`
	Result  string  `json:"result"`
	Start   float64 `json:"start"`
	Seconds float64 `json:"seconds"`
	Message string  `json:"message,omitempty"`
}

// Machine is all work of a run on one machine, or on a group of them where nothing is known of its machines.
type Machine struct {
	Name string `json:"name"`
	Node string `json:"node,omitempty"`
	// Result of the last step on the machine.
	Result string `json:"result"`
	// From and Version are the node's versions before and after; either is empty where it was not reported.
	From    string  `json:"from,omitempty"`
	Version string  `json:"version,omitempty"`
	Start   float64 `json:"start"`
	Seconds float64 `json:"seconds"`
	// Attempts is how many times Argo began a step on the machine, where that is more than the number of its steps.
	Attempts int  `json:"attempts,omitempty"`
	Changed  bool `json:"changed"`
	// RolledBack is true where the upgrade failed and the machine was restored to the version before.
	RolledBack bool `json:"rolledBack,omitempty"`
	// Done lists the changes in words.
	Done []string `json:"done,omitempty"`
	// Message of the last step.
	Message string `json:"message,omitempty"`
	// Failure on the machine; nil for none, and where the work failed elsewhere, which Message tells.
	Failure *spec.Error `json:"failure,omitempty"`
	Phases  []Phase     `json:"phases,omitempty"`
}

// Phase is one phase of work on a machine.
type Phase struct {
	Name    string  `json:"name"`
	Start   float64 `json:"start"`
	Seconds float64 `json:"seconds"`
}

// Failed reports whether the work on the machine ended without success.
func (m Machine) Failed() bool { return failed(m.Result) }

func failed(result string) bool { return result == "Failed" || result == "Error" }

// Seconds from the begin of the run to its end.
func (r *Report) Seconds() float64 { return seconds(r.Ended.Sub(r.Started)) }

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// Read decodes the JSON of a report.
func Read(text []byte) (*Report, error) {
	var read Report
	if err := json.Unmarshal(text, &read); err != nil {
		return nil, fmt.Errorf("decoding the report: %w", err)
	}
	if read.APIVersion != APIVersion {
		return nil, fmt.Errorf("decoding the report: apiVersion is %q: give one of %q, as `argosy report --output "+
			"json` writes it", read.APIVersion, APIVersion)
	}
	return &read, nil
}

// JSON writes the report for programs.
func (r *Report) JSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

// stepReport holds the fields of output "report" of the steps on machines.
type stepReport struct {
	Node       string              `json:"node"`
	From       string              `json:"from"`
	Version    string              `json:"version"`
	Changed    bool                `json:"changed"`
	Done       texts               `json:"done"`
	Remarks    texts               `json:"remarks"`
	Proof      string              `json:"proof"`
	Left       string              `json:"left"`
	RolledBack bool                `json:"rolledBack"`
	Timeline   *operation.Timeline `json:"timeline"`
	Failure    *spec.Error         `json:"failure"`
}

// texts are a list of texts, or a single one.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = nil
		if one != "" {
			*t = texts{one}
		}
		return nil
	}
	var several []string
	if err := json.Unmarshal(data, &several); err != nil {
		return fmt.Errorf("decoding a list of texts: %w", err)
	}
	*t = several
	return nil
}

// changes returns the effects of the step in words.
func (s stepReport) changes() []string {
	var all []string
	for _, text := range slices.Concat(s.Done, s.Remarks, texts{s.Proof}) {
		if text = strings.TrimSpace(text); text != "" {
			all = append(all, text)
		}
	}
	return all
}
