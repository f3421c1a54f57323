package join

import (
	"context"
	"errors"
	"fmt"
	"regexp"
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
	err := withJournal(ctx, c, "kubelet.service", errKubeletRestarts)
	var failure *node.Failure
	if !errors.As(err, &failure) {
		return err
	}
	cause := lastKubeletError(failure.Tail)
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

var (
	// klogLine is a line of a component: "E0102 15:04:05.678901    1234 run.go:72] "…"".
	klogLine = regexp.MustCompile(`^([EF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [^ \]]+\] (.*)$`)
	// klogError is the value of err in such a line.
	klogError = regexp.MustCompile(`\berr=("(?:[^"\\]|\\.)*")`)
)

// lastKubeletError returns the last error in lines of the kubelet's journal; "" if there is none.
func lastKubeletError(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		if match := klogLine.FindStringSubmatch(line); match != nil {
			if quoted := klogError.FindStringSubmatch(match[2]); quoted != nil {
				if text, err := strconv.Unquote(quoted[1]); err == nil {
					return text
				}
			}
			return match[2]
		}
		if strings.HasPrefix(line, "Error: ") || strings.HasPrefix(line, "panic: ") {
			return line
		}
	}
	return ""
}
