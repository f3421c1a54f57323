package conduct

import (
	"fmt"
	"time"

	"argosy.dev/argosy/pkg/node/spec"
)

// Message is the line that the Argo UI shows while a machine works; further phases follow the machine's own in the cluster.
//
//	[5/11 containerd] starting containerd · 12s
//	[2/11 bundle] 214 of 398 MB, 96 MB/s
func Message(status spec.Status, further int) string {
	place := fmt.Sprintf("[%d/%d %s]", status.Index, status.Total+further, status.Phase)
	if status.Phase == "" {
		place = "[starting]"
	}
	if progress := status.Progress; progress != nil && progress.Total > 0 {
		return fmt.Sprintf("%s %d of %d MB, %d MB/s", place, progress.Done/1e6, progress.Total/1e6, progress.Rate/1e6)
	}
	age := status.Updated.Sub(status.Started).Round(time.Second)
	return fmt.Sprintf("%s %s · %s", place, status.Message, age)
}
