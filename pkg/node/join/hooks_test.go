package join

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/spec"
)

// shell is a machine whose commands are really run.
func shell(t *testing.T, hooks spec.Hooks) *machine {
	t.Helper()
	m := newMachine(t)
	m.host.Runner = host.Processes{}
	m.join.Hooks = hooks
	assert.NilError(t, m.context.Store.Prepare("op"))
	return m
}

// commands makes each shell command succeed, unless its text is among those that fail, and returns those that ran.
func (m *machine) commands(fail ...string) *[]string {
	ran := &[]string{}
	m.programs.answers["sh"] = func(argv []string) (string, error) {
		assert.DeepEqual(m.t, argv[:2], []string{"/bin/sh", "-e"})
		info, err := os.Stat(argv[2])
		assert.NilError(m.t, err)
		assert.Equal(m.t, info.Mode(), os.FileMode(0o700))
		text, err := os.ReadFile(argv[2])
		assert.NilError(m.t, err)
		command := strings.TrimSuffix(string(text), "\n")
		*ran = append(*ran, command)
		if slices.Contains(fail, command) {
			return "trying\n\nno such licence\n", errors.New("exit status 3")
		}
		return "", nil
	}
	return ran
}

// joinNow writes the files of kubeadm and the healthy phase.
func (m *machine) joinNow() {
	m.t.Helper()
	m.joined(m.ca, m.join.Server, m.join.NodeName, time.Now().Add(time.Hour))
	assert.NilError(m.t, m.context.Store.WriteRecord(recordOf(m.context.Operation, nil)))
}

// expire makes the node's credentials of an hour ago.
func (m *machine) expire() {
	m.joined(m.ca, m.join.Server, m.join.NodeName, time.Now().Add(-time.Hour))
}

var stages = []stage{beforeInstall, beforeJoin, afterJoin}

// runStages runs the three phases as the engine would, with a join after the second.
func (m *machine) runStages() error {
	m.t.Helper()
	for _, s := range stages {
		held, _, err := s.check(context.Background(), m.context)
		assert.NilError(m.t, err)
		if !held {
			if _, err := s.apply(context.Background(), m.context); err != nil {
				return err
			}
			assert.Assert(m.t, holds(m.t, m, s.check), s.name)
		}
		if s.name == preJoin {
			m.joinNow()
		}
	}
	return nil
}

func TestCommandsRunOncePerJoinNeverOnANode(t *testing.T) {
	m := newMachine(t)
	m.join.Hooks = spec.Hooks{PreInstall: []string{"a", "a", "b"}, PreJoin: []string{"c"}, PostJoin: []string{"d"}}
	ran := m.commands()
	assert.NilError(t, m.runStages())
	assert.DeepEqual(t, *ran, []string{"a", "a", "b", "c", "d"})
	assert.Equal(t, len(m.below("/var/lib/argosy/ops/op")), 0, "the files of the commands are gone")

	m.context.Operation.ID = "another"
	m.join.Hooks.PostJoin = []string{"d", "e"}
	for _, s := range stages {
		held, detail, err := s.check(context.Background(), m.context)
		assert.NilError(t, err)
		assert.Assert(t, held)
		changed := strings.Contains(detail, "changed; they run at the next join after a reset")
		assert.Equal(t, changed, s.name == postJoin, detail)
	}
	assert.Equal(t, len(*ran), 5)
}

func TestInterruptedJoinContinuesAfterSucceededCommands(t *testing.T) {
	for name, test := range map[string]struct {
		hooks, mended spec.Hooks
		fail          string
		ran           []string
	}{
		"before installing": {
			spec.Hooks{PreInstall: []string{"a", "fails", "b"}},
			spec.Hooks{PreInstall: []string{"a", "mended", "b"}},
			"fails",
			[]string{"a", "fails", "mended", "b"},
		},
		"in a later stage": {
			spec.Hooks{PreInstall: []string{"a"}, PreJoin: []string{"b", "fails"}},
			spec.Hooks{PreInstall: []string{"a"}, PreJoin: []string{"new", "b"}},
			"fails",
			[]string{"a", "b", "fails", "new"},
		},
		"when it is a node already": {
			spec.Hooks{PreJoin: []string{"a"}, PostJoin: []string{"b", "fails"}},
			spec.Hooks{PreJoin: []string{"a"}, PostJoin: []string{"b", "mended"}},
			"fails",
			[]string{"a", "b", "fails", "mended"},
		},
		"and nothing is wanted any more": {
			spec.Hooks{PostJoin: []string{"fails"}}, spec.Hooks{}, "fails", []string{"fails"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.join.Hooks = test.hooks
			ran := m.commands(test.fail)
			assert.ErrorContains(t, m.runStages(), "no such licence")
			m.context.Operation.ID, m.join.Hooks = "another", test.mended
			assert.NilError(t, m.runStages())
			assert.DeepEqual(t, *ran, test.ran)

			m.join.Hooks = spec.Hooks{
				PreInstall: []string{"late"}, PreJoin: []string{"late"},
				PostJoin: []string{"late"},
			}
			assert.NilError(t, m.runStages())
			assert.DeepEqual(t, *ran, test.ran)
		})
	}
}

func TestAMachineThatJoinedBeforeOrWithoutCommandsRunsNone(t *testing.T) {
	for name, lost := range map[string]bool{"with its record": false, "that lost its records": true} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.joinNow()
			if lost {
				m.remove(spec.RecordFile)
			}
			m.join.Hooks = spec.Hooks{PreInstall: []string{"mkfs"}, PreJoin: []string{"a"}, PostJoin: []string{"b"}}
			ran := m.commands()
			assert.NilError(t, m.runStages())
			assert.Equal(t, len(*ran), 0)
		})
	}
}

func TestFormerNodeRunsCommandsOnlyAfterReset(t *testing.T) {
	for name, change := range map[string]func(m *machine){
		"joins another cluster":                func(m *machine) { m.join.ClusterUID = "another" },
		"joins by another name":                func(m *machine) { m.join.NodeName = "m2" },
		"joins again without its credentials":  func(m *machine) { m.remove(inspect.KubeletConf) },
		"joins again with expired credentials": (*machine).expire,
		"lost its note and its credentials": func(m *machine) {
			m.remove(hooksFile)
			m.remove(inspect.KubeletConf)
		},
		"has a note that a power cut emptied": func(m *machine) { m.write(hooksFile, "") },
		"has an emptied note and record": func(m *machine) {
			m.write(hooksFile, "")
			m.write(spec.RecordFile, "")
			m.remove(inspect.KubeletConf)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.join.Hooks = spec.Hooks{PreInstall: []string{"mkfs"}, PreJoin: []string{"a"}, PostJoin: []string{"b"}}
			ran := m.commands()
			assert.NilError(t, m.runStages())
			change(m)
			assert.NilError(t, m.runStages())
			assert.DeepEqual(t, *ran, []string{"mkfs", "a", "b"})

			for _, file := range []string{spec.RecordFile, hooksFile, inspect.KubeletConf} {
				assert.NilError(t, m.host.Remove(file))
			}
			assert.NilError(t, m.runStages())
			assert.DeepEqual(t, *ran, []string{"mkfs", "a", "b", "mkfs", "a", "b"})
		})
	}
}

func TestCommandsBeforeJoinEndWithKubeletCredentials(t *testing.T) {
	for name, change := range map[string]func(m *machine){
		"a later phase failed": func(*machine) {},
		"and the credentials were removed": func(m *machine) {
			assert.NilError(m.t, noteJoined(m.host, m.join))
			m.remove(inspect.KubeletConf)
		},
		"and the credentials expired": (*machine).expire,
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.join.Hooks = spec.Hooks{PreInstall: []string{"mkfs b"}, PreJoin: []string{"a"}, PostJoin: []string{"b"}}
			ran := m.commands()
			for _, s := range []stage{beforeInstall, beforeJoin} {
				apply(t, m, s.apply)
			}
			m.joined(m.ca, m.join.Server, "m1", time.Now().Add(time.Hour))
			change(m)

			m.join.Hooks = spec.Hooks{
				PreInstall: []string{"mkfs c"}, PreJoin: []string{"a", "c"}, PostJoin: []string{"d"},
			}
			for _, s := range []stage{beforeInstall, beforeJoin} {
				held, detail, err := s.check(t.Context(), m.context)
				assert.NilError(t, err)
				assert.Assert(t, held)
				assert.Equal(t, detail, s.key+" changed; they run at the next join after a reset")
				changes := m.differences(s.check)
				assert.Equal(t, len(changes), 1)
				assert.Equal(t, changes[0].Effect, spec.NeedsRejoin)
				apply(t, m, s.apply) // which the engine does not call
			}
			apply(t, m, afterJoin.apply)
			assert.DeepEqual(t, *ran, []string{"mkfs b", "a", "d"})
		})
	}
}

func TestAJoinWhoseNoteCannotBeReadRunsNoCommand(t *testing.T) {
	m := newMachine(t)
	m.join.Hooks = spec.Hooks{PreInstall: []string{"mkfs"}, PostJoin: []string{"a"}}
	ran := m.commands("a")
	m.write(hooksFile, "")
	for _, s := range stages {
		_, _, err := s.check(t.Context(), m.context)
		assert.ErrorContains(t, err, `reading "/var/lib/argosy/hooks.json"`)
		assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
		_, err = s.apply(t.Context(), m.context)
		assert.ErrorContains(t, err, "none is run")
	}
	assert.Equal(t, len(*ran), 0)
	m.join.Hooks = spec.Hooks{}
	assert.NilError(t, m.runStages(), "a join without commands needs no note")
}

func TestAJoinWithoutCommandsNotesNothing(t *testing.T) {
	m := newMachine(t)
	assert.NilError(t, m.runStages())
	assert.Assert(t, !m.host.Exists(hooksFile))
}

func TestACommandKnowsWhereItIs(t *testing.T) {
	print := `echo "$ARGOSY_STAGE $ARGOSY_COMMAND $ARGOSY_CLUSTER $ARGOSY_MACHINE $ARGOSY_NODE_NAME $ARGOSY_KUBERNETES_VERSION"
echo "$ARGOSY_SERVER $ARGOSY_BINARIES_PATH $ARGOSY_CNI_BINARIES_PATH $ARGOSY_CRI_SOCKET $HOME ${KUBECONFIG:-none} $PATH"`
	m := shell(t, spec.Hooks{PreJoin: []string{":", print}, PostJoin: []string{print}})
	var log bytes.Buffer
	m.context.Log = &log
	assert.NilError(t, m.runStages())
	const common = " team-a m1 m1 v1.34.4\nhttps://127.0.0.1:1 /usr/local/bin /opt/cni/bin " +
		"/run/containerd/containerd.sock /root "
	const path = " /usr/local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
	assert.Equal(t, log.String(), "preJoinCommands[0]:\npreJoinCommands[1]:\npre-join 2"+common+"none"+path+
		"postJoinCommands[0]:\npost-join 1"+common+"/etc/kubernetes/kubelet.conf"+path)
}

func TestACommandThatFailsIsNamedWithItsLastLines(t *testing.T) {
	m := shell(t, spec.Hooks{PreInstall: []string{"true", "echo one\necho two >&2\nfalse\necho three"}})
	_, err := beforeInstall.apply(context.Background(), m.context)
	assert.Error(t, err, "running preInstallCommands[1], command 2 of stage pre-install: it ended with exit status "+
		"1: two")
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
	var failure *node.Failure
	assert.Assert(t, errors.As(err, &failure))
	assert.DeepEqual(t, failure.Tail, []string{"one", "two"})
	assert.Equal(t, failure.Command, "cat /var/lib/argosy/ops/op/log")
	assert.Assert(t, strings.Contains(failure.Hint, "privateNodes.joinNode.preInstallCommands"), failure.Hint)
}

func TestCommandAndChildrenEndAtTimeout(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "alive")
	m := shell(t, spec.Hooks{
		PreJoin: []string{"echo waiting\n(while :; do touch " + marker + "; sleep 0.02; done) >/dev/null 2>&1 &\nwait"},
		Timeout: spec.Duration(200 * time.Millisecond),
	})
	_, err := beforeJoin.apply(context.Background(), m.context)
	assert.Error(t, err, "running preJoinCommands[0], command 1 of stage pre-join: it was killed, with all that it "+
		"started, after 200ms (join.commandTimeout): waiting")
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
	assert.NilError(t, os.Remove(marker))
	time.Sleep(100 * time.Millisecond)
	_, err = os.Stat(marker)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestBackgroundProcessesOfACommandAreNotAwaited(t *testing.T) {
	m := shell(t, spec.Hooks{PreJoin: []string{"sleep 8 >/dev/null 2>&1 &"}})
	began := time.Now()
	_, err := beforeJoin.apply(context.Background(), m.context)
	assert.NilError(t, err)
	assert.Assert(t, time.Since(began) < 5*time.Second)
}

func TestAnOperationThatEndsMeanwhileIsNotTheCommandsFault(t *testing.T) {
	m := shell(t, spec.Hooks{PreJoin: []string{"sleep 60"}})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := beforeJoin.apply(ctx, m.context)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	var failure *node.Failure
	assert.Assert(t, !errors.As(err, &failure))
}

func TestACancelledOperationEndsBetweenTwoCommands(t *testing.T) {
	m := newMachine(t)
	m.join.Hooks = spec.Hooks{PreInstall: []string{"a", "b"}}
	assert.NilError(t, m.context.Store.Prepare("op"))
	assert.NilError(t, m.context.Store.WriteOperation(m.context.Operation))
	stop, end := context.WithCancelCause(context.Background())
	ran := m.commands()
	first := m.programs.answers["sh"]
	m.programs.answers["sh"] = func(argv []string) (string, error) {
		output, err := first(argv)
		end(node.ErrCancelled)
		return output, err
	}
	engine := &node.Engine{
		Host: m.host, Store: m.context.Store,
		Phases: map[spec.Kind][]node.Phase{spec.KindJoin: {beforeInstall.phase("first")}},
	}
	status, err := engine.Run(context.Background(), "op", stop, &bytes.Buffer{})
	assert.NilError(t, err)
	assert.Equal(t, status.State, spec.Cancelled)
	assert.DeepEqual(t, *ran, []string{"a"})

	m.programs.answers["sh"] = first
	assert.NilError(t, m.context.Store.WriteOperation(m.context.Operation))
	status, err = engine.Run(context.Background(), "op", context.Background(), &bytes.Buffer{})
	assert.NilError(t, err)
	assert.Equal(t, status.State, spec.Succeeded)
	assert.DeepEqual(t, *ran, []string{"a", "b"})
}
