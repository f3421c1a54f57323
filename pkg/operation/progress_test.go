package operation_test

import (
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

func TestAnEventShowsPhaseAndTransfer(t *testing.T) {
	began := time.Unix(0, 0)
	for want, status := range map[string]spec.Status{
		"[starting] starting": {Message: "starting"},
		"[5/11 containerd] starting containerd · 12s": {
			Phase: "containerd", Index: 5,
			Message: "starting containerd", Updated: began.Add(12 * time.Second),
		},
		"[2/11 bundle] 214 of 398 MB, 96 MB/s": {
			Phase: "bundle", Index: 2,
			Progress: &spec.Progress{Done: 214e6, Total: 398e6, Rate: 96e6},
		},
		"[2/11 bundle] receiving · 1s": {
			Phase: "bundle", Index: 2, Message: "receiving",
			Updated: began.Add(time.Second), Progress: &spec.Progress{Done: 214e6},
		},
		"[6/11 images] app.tar (2 of 5): 214 of 398 MB, 96 MB/s": {
			Phase: "images", Index: 6,
			Progress: &spec.Progress{Done: 214e6, Total: 398e6, Rate: 96e6, What: "app.tar (2 of 5)"},
		},
		"[6/11 images] app.tar: 214 MB, 96 MB/s": {
			Phase: "images", Index: 6,
			Progress: &spec.Progress{Done: 214e6, Rate: 96e6, What: "app.tar"},
		},
	} {
		status.Total, status.Started = 9, began
		if status.Updated.IsZero() {
			status.Updated = began
		}
		phases := operation.Phases{operation.MachinePhases, "ready", "labels"}
		assert.Equal(t, phases.OfMachine(status).String(), want)
	}
}
