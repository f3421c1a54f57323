package join

import (
	"cmp"
	"context"
	"os"
	"strconv"
	"strings"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// sessionsCheck is the name by which ignorePreflightErrors ignores an sshd with too few sessions; kubeadm has no such
// check.
const sessionsCheck = "MaxSessions"

// minSessions is how many sessions of one SSH connection are used at once: the operation is followed on one, and the
// bundle and images are sent, or the operation is cancelled, on another.
const minSessions = 2

// checkSessions finds an sshd that admits fewer sessions of a connection than are used, by its effective settings for
// the user who logged in. An sshd that does not tell them is tried.
func checkSessions(ctx context.Context, h *host.Host, _ *spec.Join, f *findings) {
	program := ""
	for _, file := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"} {
		if h.Exists(file) {
			program = h.Path(file)
			break
		}
	}
	if program == "" {
		return
	}
	client, _, _ := strings.Cut(os.Getenv("SSH_CONNECTION"), " ")
	connection := "user=" + cmp.Or(os.Getenv("SUDO_USER"), "root") + ",host=localhost,addr=" + cmp.Or(client, "0.0.0.0")
	output, err := h.Runner.Run(ctx, host.Command{Argv: []string{program, "-T", "-C", connection}})
	if err != nil {
		return
	}
	for line := range strings.Lines(string(output)) {
		value, is := strings.CutPrefix(strings.TrimSpace(line), "maxsessions ")
		if number, err := strconv.Atoi(value); is && err == nil && number < minSessions {
			f.problem("The machine's sshd admits %s of a connection (MaxSessions), and a join needs %d; "+
				"raise it in /etc/ssh/sshd_config or its folder sshd_config.d, where 10 is the default, and reload "+
				"sshd.", count.Of(number, "session"), minSessions)
		}
	}
}
