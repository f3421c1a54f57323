package join

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
)

// kubeadmReport is the failure that kubeadm's output tells of. kubeadm ends with advice of its own, so the last lines
// are not the cause.
type kubeadmReport struct {
	// phase that failed, as --skip-phases has it; "" when kubeadm names none.
	phase string
	// causes are the checks that failed in phase preflight, or else one sentence.
	causes []string
	// checks reports whether the causes are checks. Those of a worker are about the machine alone.
	checks bool
}

// phaseFailed begins the error of a phase: "error execution phase kubelet-start: …".
var phaseFailed = regexp.MustCompile(`^(?:error: )?error execution phase ([a-z/-]+): ?(.*)$`)

// readKubeadm reads the output of a kubeadm that failed.
func readKubeadm(output []byte) kubeadmReport {
	var report kubeadmReport
	var sentence, checks []string
	inPhase, inCheck := false, false
	for line := range strings.Lines(string(output)) {
		line = strings.TrimSpace(line)
		match := phaseFailed.FindStringSubmatch(line)
		switch {
		case match != nil:
			report.phase, sentence, inPhase, inCheck = match[1], []string{match[2]}, true, false
		case strings.HasPrefix(line, "[ERROR "):
			checks, inCheck = append(checks, line), true
		case isAdvice(line):
			inPhase, inCheck = false, false
		case inCheck && line != "":
			// The text of a check may have more than one line.
			checks[len(checks)-1] += " " + line
		case inPhase && line != "":
			sentence = append(sentence, line)
		}
	}
	switch {
	case len(checks) > 0:
		report.causes, report.checks = checks, true
	case len(sentence) > 0:
		report.causes = []string{strings.TrimSpace(strings.Join(sentence, " "))}
	default:
		report.causes = lastWords(output)
	}
	return report
}

// isAdvice reports whether kubeadm prints a line beside every failure.
func isAdvice(line string) bool {
	for _, start := range []string{
		"To see the stack trace of this error", "[preflight] If you know what you are doing",
		"[preflight] Some fatal errors occurred", "If you are on a systemd-powered system",
		"Unfortunately, an error has occurred", "This error is likely caused by", "- The kubelet is",
		"- 'systemctl status kubelet'", "- 'journalctl -xeu kubelet'",
	} {
		if strings.HasPrefix(line, start) {
			return true
		}
	}
	return false
}

// lastWords returns the line with which a program in Go crashed, else the last line that is neither advice nor a report
// of progress, if there is one: errors before the first phase have no form, and a kubeadm that was killed has none.
func lastWords(output []byte) []string {
	lines := host.Tail(output, len(output))
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return []string{line}
		}
	}
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		if strings.HasPrefix(line, "[") {
			return nil
		}
		if !isAdvice(line) {
			return []string{strings.TrimPrefix(line, "error: ")}
		}
	}
	return nil
}

// headline is an error whose text is the cause; the command that failed is in its chain.
type headline struct {
	text string
	err  error
}

func (h *headline) Error() string { return h.text }
func (h *headline) Unwrap() error { return h.err }

// kubeadmFailed returns the error of a kubeadm that failed: the cause first, and the hint of its phase. doing is the
// work that it was run for, e.g. `joining "https://192.0.2.1:6443": kubeadm join`; server is the API server's address.
func kubeadmFailed(doing, server string, err error) error {
	var failed *host.CommandError
	if !errors.As(err, &failed) {
		return errclass.With(errclass.Permanent, fmt.Errorf("%s: %w", doing, err))
	}
	report := readKubeadm(failed.Output)
	text := doing
	if report.phase != "" {
		text += ", phase " + report.phase
	}
	if len(report.causes) == 0 {
		text += fmt.Sprintf(": %v", failed.Err)
	} else {
		text += ": " + strings.Join(report.causes, "; ")
	}
	failure := &node.Failure{
		Err:  errclass.With(report.class(), &headline{text, err}),
		Hint: report.hint(server),
	}
	if len(report.causes) > 1 {
		failure.Problems = report.causes
	}
	return failure
}

// hint returns the next thing to do.
func (r kubeadmReport) hint(server string) string {
	text := strings.Join(r.causes, " ")
	switch {
	case strings.Contains(text, "already exists in the cluster"):
		return "give the machine another nodeName in argosy.yaml, or delete that node if its machine is gone"
	case isUnregistered(text):
		return "see journalctl --unit kubelet on the machine: the kubelet has not registered its node yet"
	case r.checks:
		return "correct it on the machine, or name the check in joinNode.nodeRegistration.ignorePreflightErrors"
	case isNetwork(text):
		return fmt.Sprintf("see on the machine why %s does not answer", server)
	case strings.Contains(text, "nauthorized") || strings.Contains(text, "orbidden"):
		return "the bootstrap token was refused: see whether it is still there and may bootstrap nodes"
	case r.phase == "kubelet-start" || r.phase == "kubelet-wait-bootstrap":
		return "see journalctl --unit kubelet on the machine"
	}
	return "see kubeadm's last lines"
}

// class returns Transient when the phase failed because the API server did not answer, which may be gone at the next
// attempt, else Permanent.
func (r kubeadmReport) class() errclass.Class {
	text := strings.Join(r.causes, " ")
	if !r.checks && (isNetwork(text) || isUnregistered(text)) {
		return errclass.Transient
	}
	return errclass.Permanent
}

// isUnregistered reports whether a cause is that a kubelet with credentials has not made its Node yet: one that could
// not start is started again by systemd, and makes it then.
func isUnregistered(cause string) bool {
	return strings.Contains(cause, "failed to get corresponding node: nodes ") && strings.Contains(cause, "not found")
}

// isNetwork reports whether a cause is that the API server did not answer. The kubelet's own health endpoint is on the
// machine: that it does not answer is no cause of the network.
//
//	Get "https://…": context deadline exceeded                         yes
//	context deadline exceeded                                          no: a wait for something on the machine
//	Get "http://127.0.0.1:10248/healthz": … connection refused         no
func isNetwork(cause string) bool {
	if strings.Contains(cause, "/healthz") {
		return false
	}
	if strings.Contains(cause, "context deadline exceeded") && strings.Contains(cause, "https://") {
		return true
	}
	for _, sign := range []string{
		"connection refused", "connection reset", "i/o timeout", "no route to host", "network is unreachable",
		"TLS handshake timeout", "etcdserver:", "Service Unavailable", "the server is currently unable",
	} {
		if strings.Contains(cause, sign) {
			return true
		}
	}
	return false
}
