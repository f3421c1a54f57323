package join

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/spec"
)

// The stages, each a phase of its own.
const (
	// preInstall comes before anything is installed.
	preInstall = "pre-install"
	// preJoin comes right before kubeadm.
	preJoin = "pre-join"
	// postJoin comes when the node is healthy.
	postJoin = "post-join"
)

// commandTimeout bounds a command for which the operation names no bound.
const commandTimeout = 5 * time.Minute

// shownLines is the number of lines of a failed command's output in its message.
const shownLines = 20

// stage is a point of the join at which the user's own commands run.
//
// A command is run by /bin/sh -e from a file of its own, as root, in the folder /, with nothing on its standard input.
// Its output goes into the operation's log. Its environment, beside the variables that systemd sets for services:
//
//	ARGOSY_STAGE               pre-install, pre-join or post-join
//	ARGOSY_COMMAND             which of the stage's commands it is, from 1
//	ARGOSY_CLUSTER             the cluster's name
//	ARGOSY_MACHINE             the machine's name in argosy.yaml
//	ARGOSY_NODE_NAME           its name in Kubernetes
//	ARGOSY_SERVER              the API server, https://host:port
//	ARGOSY_KUBERNETES_VERSION  the version, as v1.34.4
//	ARGOSY_BINARIES_PATH       where kubeadm, kubelet, kubectl and containerd are, or will be
//	ARGOSY_CNI_BINARIES_PATH   where the network plugins are
//	ARGOSY_CRI_SOCKET          the container runtime's socket, a path
//	HOME                       /root
//	PATH                       the binaries' folder, then the system's
//	KUBECONFIG                 after the join only: the kubelet's own credentials
//
// Every command runs once in a join: one that succeeded is noted on the machine and never run again by a later attempt,
// also when another command was changed meanwhile. Once the kubelet has its credentials, pre-install and pre-join are
// closed, also where a later phase failed; post-join is closed when it is over. Changed commands run at the next join
// after a reset.
//
// A command is not interrupted by a request to stop: the operation ends after it. It is killed, with all that it
// started, when its own time or the operation's is over.
type stage struct {
	// name of the stage, and key of its commands in the documents.
	name, key string
	commands  func(spec.Hooks) []string
}

var (
	beforeInstall = stage{preInstall, "preInstallCommands", func(h spec.Hooks) []string { return h.PreInstall }}
	beforeJoin    = stage{preJoin, "preJoinCommands", func(h spec.Hooks) []string { return h.PreJoin }}
	afterJoin     = stage{postJoin, "postJoinCommands", func(h spec.Hooks) []string { return h.PostJoin }}
)

// phase returns the stage as a phase of the join.
func (s stage) phase(short string) node.Phase {
	return node.Phase{Name: s.name, Short: short, Check: s.check, Apply: s.apply}
}

func (s stage) check(_ context.Context, c *node.Context) (bool, string, error) {
	ran, err := readHooks(c.Host, c.Operation.Join)
	if err != nil {
		return false, "", err
	}
	if ran.state == unknown && hasHooks(c.Operation.Join) {
		return false, "", hooksUnknownError(ran.unreadable)
	}
	wanted := s.commands(c.Operation.Join.Hooks)
	left := ran.left(s.name, wanted)
	begins := ran.state == fresh && hasHooks(c.Operation.Join)
	switch {
	case len(left) > 0:
		return false, fmt.Sprintf("%s of %s to run", count.Of(len(left), "command"), s.key), nil
	case begins && s.name == preInstall:
		return false, "it has to be noted that a join begins", nil
	case (begins || ran.state == underway || ran.state == joined) && s.name == postJoin:
		return false, "it has to be noted that the join is over", nil
	}
	return true, s.held(c, ran, wanted), nil
}

// held returns the detail of a stage with nothing to run, and notes changed commands that only another join runs.
func (s stage) held(c *node.Context, r *commandRuns, wanted []string) string {
	switch {
	case len(wanted) == 0:
		return "there are no " + s.key
	case r.open(s.name):
		return "all " + s.key + " ran"
	case r.unreadable != nil:
		return "none run on a node whose note of them is lost: " + r.unreadable.Error()
	case len(r.missing(s.name, wanted)) == 0:
		return "they ran when the machine joined"
	}
	if r.known {
		c.AddChanges(spec.Change{
			What: "changed " + s.key + ", which run at the next join after a reset", Effect: spec.NeedsRejoin,
		})
	}
	return s.key + " changed; they run at the next join after a reset"
}

// hooksUnknownError returns the error for a join whose note of commands is damaged: running one twice may format a
// disk.
func hooksUnknownError(err error) error {
	return &node.Failure{
		Err: errclass.Errorf(errclass.Permanent,
			"%w; which commands of the join ran already is not known, and none is run", err),
		Hint: "reset the machine and join it again, or remove the file if every command may run once more",
	}
}

func (s stage) apply(ctx context.Context, c *node.Context) (string, error) {
	j := c.Operation.Join
	ran, err := readHooks(c.Host, j)
	if err != nil {
		return "", err
	}
	if ran.state == unknown {
		return "", hooksUnknownError(ran.unreadable)
	}
	if err := ran.begin(c.Host, j); err != nil {
		return "", err
	}
	wanted := s.commands(j.Hooks)
	left := ran.left(s.name, wanted)
	for _, i := range left {
		// Between two commands the operation can stop with nothing half done.
		if err := cmp.Or(c.Stopped(), context.Cause(ctx)); err != nil {
			return "", err
		}
		c.SetMessage("running %s %d of %d", s.key, i+1, len(wanted))
		if err := s.run(ctx, c, i, wanted[i]); err != nil {
			return "", err
		}
		if err := ran.succeeded(c.Host, s.name, wanted[i]); err != nil {
			return "", err
		}
	}
	switch s.name {
	case preInstall:
		err = checkAgain(ctx, c)
	case postJoin:
		err = ran.finish(c.Host)
	}
	if err != nil {
		return "", err
	}
	if len(left) == 0 {
		return "noted", nil
	}
	return count.Of(len(left), "command") + " of " + s.key + " ran", nil
}

// run runs one command until it ends, or until its own deadline or the operation's.
func (s stage) run(ctx context.Context, c *node.Context, i int, command string) error {
	file := filepath.Join(c.Store.Dir(c.Operation.ID), fmt.Sprintf("%s-%d.sh", s.name, i+1))
	if _, err := c.Host.WriteProgress(file, []byte(command+"\n"), 0o700); err != nil {
		return fmt.Errorf("preparing %s[%d]: %w", s.key, i, err)
	}
	defer func() {
		if err := c.Host.Remove(file); err != nil {
			fmt.Fprintln(c.Log, err)
		}
	}()
	limit := cmp.Or(time.Duration(c.Operation.Join.Hooks.Timeout), commandTimeout)
	limited, cancel := context.WithTimeoutCause(ctx, limit, errCommandTimeout)
	defer cancel()
	fmt.Fprintf(c.Log, "%s[%d]:\n", s.key, i)
	_, err := c.Host.Runner.Run(limited, host.Command{
		Argv: []string{"/bin/sh", "-e", c.Host.Path(file)},
		Env:  s.environment(c, i), Log: c.Log,
	})
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		// It succeeded. Processes that it left in the background are not waited for.
		return nil
	case errors.Is(err, errCommandTimeout):
		return s.failure(c, i, fmt.Sprintf("it was killed, with all that it started, after %s "+
			"(join.commandTimeout)", limit), err)
	case ctx.Err() != nil:
		return fmt.Errorf("running %s[%d]: %w", s.key, i, err)
	}
	return s.failure(c, i, "", err)
}

// errCommandTimeout is the cause when a command's own deadline ends it.
var errCommandTimeout = errors.New("the command's time is over")

// commandFailed is the error of a user's command. Its text does not name the command's file, which is removed.
type commandFailed struct {
	text string
	err  error
}

func (e *commandFailed) Error() string { return e.text }
func (e *commandFailed) Unwrap() error { return e.err }

// failure returns the error of a command, with how it ended and the last lines of its output. The log has all of it.
func (s stage) failure(c *node.Context, i int, how string, err error) error {
	failure := &node.Failure{
		Command: host.Command{Argv: []string{"cat", c.Store.Dir(c.Operation.ID) + "/log"}}.String(),
		Hint: fmt.Sprintf("mend the machine, or privateNodes.joinNode.%s, and join again; commands that succeeded "+
			"are not run again", s.key),
	}
	var failed *host.CommandError
	if errors.As(err, &failed) {
		failure.Tail = failed.Tail(shownLines)
		how = cmp.Or(how, "it ended with "+failed.Err.Error())
		if last := failed.Tail(1); len(last) == 1 {
			how += ": " + last[0]
		}
	}
	text := fmt.Sprintf("running %s[%d], command %d of stage %s: %s", s.key, i, i+1, s.name, cmp.Or(how, err.Error()))
	failure.Err = errclass.With(errclass.Permanent, &commandFailed{text, err})
	return failure
}

func (s stage) environment(c *node.Context, i int) []string {
	j := c.Operation.Join
	variables := []string{
		"ARGOSY_STAGE=" + s.name,
		"ARGOSY_COMMAND=" + strconv.Itoa(i+1),
		"ARGOSY_CLUSTER=" + c.Operation.Cluster,
		"ARGOSY_MACHINE=" + c.Operation.Machine,
		"ARGOSY_NODE_NAME=" + j.NodeName,
		"ARGOSY_SERVER=" + j.Server,
		"ARGOSY_KUBERNETES_VERSION=" + j.KubernetesVersion,
		"ARGOSY_BINARIES_PATH=" + j.BinariesPath,
		"ARGOSY_CNI_BINARIES_PATH=" + j.CNIBinariesPath,
		"ARGOSY_CRI_SOCKET=" + criSocket(j),
		"HOME=/root",
	}
	if s.name == postJoin {
		variables = append(variables, "KUBECONFIG="+inspect.KubeletConf)
	}
	return append(variables, searchPath(j)...)
}

func hasHooks(j *spec.Join) bool {
	return len(j.Hooks.PreInstall)+len(j.Hooks.PreJoin)+len(j.Hooks.PostJoin) > 0
}
