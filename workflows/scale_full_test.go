//go:build full

package workflows_test

import "testing"

// The largest numbers, which take minutes.
func TestObjectsOfWorkflowsStaySmallWith5000Machines(t *testing.T) {
	for _, test := range scaled {
		number := 5000
		if test.template == "upgrade" {
			number = 1000
		}
		t.Run(test.template, func(t *testing.T) { test.run(t, number) })
	}
}
