package operation

import (
	"fmt"
	"time"

	"argosy.dev/argosy/pkg/node/spec"
)

// Message is the line that the Argo UI shows while a machine works; further phases follow the machine's own in the
// cluster.
//
//	[5/11 containerd] starting containerd · 12s
//	[2/11 bundle] 214 of 398 MB, 96 MB/s
//	[2/2 images] app.tar (2 of 5): 214 of 398 MB, 96 MB/s
//	[2/2 images] app.tar (2 of 5): 214 MB, 96 MB/s
func Message(status spec.Status, further int) string {
	place := fmt.Sprintf("[%d/%d %s]", status.Index, status.Total+further, status.Phase)
	if status.Phase == "" {
		place = "[starting]"
	}
	if progress := status.Progress; progress != nil && (progress.Total > 0 || progress.What != "") {
		return place + " " + transferred(*progress)
	}
	age := status.Updated.Sub(status.Started).Round(time.Second)
	return fmt.Sprintf("%s %s · %s", place, status.Message, age)
}

func transferred(p spec.Progress) string {
	what := ""
	if p.What != "" {
		what = p.What + ": "
	}
	if p.Total == 0 {
		return fmt.Sprintf("%s%d MB, %d MB/s", what, p.Done/1e6, p.Rate/1e6)
	}
	return fmt.Sprintf("%s%d of %d MB, %d MB/s", what, p.Done/1e6, p.Total/1e6, p.Rate/1e6)
}
