package join

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/layout"
)

// errKubeletRestarts ends the context of a kubeadm that waits for a kubelet which cannot start.
var errKubeletRestarts = errors.New("the kubelet cannot start")

// whileKubeletStarts runs kubeadm and ends it when systemd had to restart the kubelet maxRestarts times: kubeadm would
// wait minutes for a kubelet that never starts. It returns whether it did so, and run's error.
func whileKubeletStarts(
	ctx context.Context, c *node.Context, run func(context.Context) error,
) (ended bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		starts := &crashLoop{unit: "kubelet.service", first: -1}
		for ctx.Err() == nil {
			// Before kubeadm has written this file, it has not started the kubelet.
			if c.Host.Exists(layout.BootstrapConf) && starts.detected(ctx, c.Host) {
				cancel(errKubeletRestarts)
			}
			select {
			case <-ctx.Done():
			case <-time.After(restartsInterval):
			}
		}
	}()
	err = run(ctx)
	ended = errors.Is(context.Cause(ctx), errKubeletRestarts)
	cancel(nil)
	<-watched
	return err != nil && ended, err
}

// kubeletFailed returns the error of a join whose kubelet cannot start, with the kubelet's own words as the cause.
func kubeletFailed(ctx context.Context, c *node.Context) error {
	journal := journalOf(ctx, c, "kubelet.service", restartsLines)
	failure := journalFailure("kubelet.service", journal, errKubeletRestarts)
	cause := lastKubeletError(journal)
	class := errclass.Permanent
	if isNetwork(cause) {
		class = errclass.Transient
	}
	if cause == "" {
		cause = "its journal has no error"
	}
	failure.Err = errclass.With(class, fmt.Errorf("joining %q: the kubelet cannot start, systemd restarted it %d "+
		"times: %s",
		c.Operation.Join.Server, maxRestarts, cause))
	return failure
}

// restartsLines are enough for several starts of a kubelet, which prints its configuration, one value a line.
const restartsLines = 2000

var (
	// klogLine is a line of a component: "E0102 15:04:05.678901    1234 run.go:72] "…"".
	klogLine = regexp.MustCompile(`^([EF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ([^ \]]+)\] (.*)$`)
	// klogError is the value of err in such a line.
	klogError = regexp.MustCompile(`\berr=("(?:[^"\\]|\\.)*")`)
)

// lastKubeletError returns the error with which a kubelet ended last, by lines of its journal; where none tells that it
// ended, the last error; "" if there is none. A kubelet that has just started again has errors before its last one.
func lastKubeletError(lines []string) string {
	last := ""
	for _, line := range slices.Backward(lines) {
		text, ends := kubeletError(strings.TrimSpace(line))
		if ends {
			return text
		}
		last = cmp.Or(last, text)
	}
	return last
}

// kubeletError returns the error in a line, or "", and whether the kubelet ended with it: components print that from
// the run.go of their command line, or as a fatal line.
func kubeletError(line string) (text string, ends bool) {
	match := klogLine.FindStringSubmatch(line)
	if match == nil {
		if strings.HasPrefix(line, "Error: ") || strings.HasPrefix(line, "panic: ") {
			return line, true
		}
		return "", false
	}
	text, ends = match[3], match[1] == "F" || strings.HasPrefix(match[2], "run.go:")
	if quoted := klogError.FindStringSubmatch(text); quoted != nil {
		if unquoted, err := strconv.Unquote(quoted[1]); err == nil {
			return unquoted, ends
		}
	}
	return text, ends
}
