// Command curves draws what a run of package scale has measured: it reads JSON and prints SVG.
//
//	go run ./test/scale/cmd/curves docs/images/scale.json > docs/images/scale.svg
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "curves:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("reading %q: one file with measurements is expected", args)
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return fmt.Errorf("reading the measurements: %w", err)
	}
	var measured measurements
	if err := json.Unmarshal(text, &measured); err != nil {
		return fmt.Errorf("reading the measurements in %q: %w", args[0], err)
	}
	_, err = os.Stdout.WriteString(draw(measured))
	return err
}

// measurements are the part of a run's JSON that is drawn.
type measurements struct {
	Machines int    `json:"machines"`
	Pods     int    `json:"pods"`
	Measured string `json:"measured"`
	Events   []struct {
		Seconds float64 `json:"seconds"`
		Name    string  `json:"name"`
	} `json:"events"`
	Samples []sample `json:"samples"`
}

type sample struct {
	Seconds  float64 `json:"seconds"`
	Memory   float64 `json:"memory"`
	Cluster  float64 `json:"cluster"`
	Host     float64 `json:"host"`
	TaskSet  float64 `json:"taskSet"`
	Workflow float64 `json:"workflow"`
	Nodes    float64 `json:"nodes"`
	Out      float64 `json:"out"`
	Upgraded float64 `json:"upgraded"`
}
