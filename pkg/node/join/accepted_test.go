package join

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

// said is the end of a real kubelet's output, by the reason that it gave.
func said(reason string) string {
	return fmt.Sprintf("I1130 15:06:12.0 1 server.go:530] \"Kubelet version\" kubeletVersion=\"v1.37.2\"\n"+
		"E1130 15:06:12.1 1 run.go:72] \"command failed\" err=%q\n", reason)
}

const (
	accepts = "failed to run Kubelet: cannot exit on lock file contention: no lock file specified"
	lenient = `I1130 15:06:13.3 1 codec.go:102] "Using lenient decoding as strict decoding failed" ` +
		`err="strict decoding error: unknown field \"maxPodz\", unknown field \"noSuchField\""` + "\n"
)

// staged is a machine with the bundle of an upgrade, whose kubelet answers with output.
func staged(t *testing.T, output string) *machine {
	t.Helper()
	m := newMachine(t).withBundle()
	m.context.Operation.Kind = spec.KindUpgrade
	m.join.KubeletConfig = "kind: KubeletConfiguration\n"
	m.join.Registration.KubeletExtraArgs = []spec.Arg{{Name: "pod-infra-container-image", Value: "pause"}}
	m.programs.answers["kubelet"] = func(argv []string) (string, error) {
		assert.Assert(t, slices.Contains(argv, "--pod-infra-container-image=pause"), argv)
		// Nothing may be touched, whatever the kubelet makes of the rest.
		assert.DeepEqual(t, argv[len(argv)-2:], []string{"--lock-file=", "--exit-on-lock-contention=true"})
		for _, arg := range argv {
			file, given := strings.CutPrefix(arg, "--config=")
			if !given {
				continue
			}
			content, err := os.ReadFile(file)
			assert.NilError(t, err)
			assert.Equal(t, string(content), m.join.KubeletConfig)
		}
		return output, errors.New("exit status 1")
	}
	return m
}

func TestTheNewKubeletIsAskedAboutItsSettings(t *testing.T) {
	for name, test := range map[string]struct{ output, err, remark string }{
		"accepted":      {output: said(accepts)},
		"its own guard": {output: said("failed to run Kubelet: invalid kubeconfig: stat /run/x/none: no such file")},
		"an unknown flag": {
			output: said("failed to parse kubelet flag: unknown flag: --pod-infra-container-image"),
			err:    "have: unknown flag: --pod-infra-container-image; change",
		},
		"a feature gate": {
			output: said("failed to set feature gates from initial flags-based config: unrecognized feature gate: Old"),
			err:    "unrecognized feature gate: Old;",
		},
		"a bad value": {
			output: said("failed to validate kubelet configuration, error: invalid configuration: maxPods -4, path: " +
				"&TypeMeta{Kind:,}"),
			err: "maxPods -4; change",
		},
		"a gate in a file": {
			output: "goroutine 1\npanic: unrecognized feature gate: Old\n\ngoroutine 1 [running]:\n",
			err:    "unrecognized feature gate: Old;",
		},
		"ignored fields": {
			lenient + said(accepts), "",
			`kubelet v1.34.4 ignores settings of its configuration: unknown field "maxPodz", unknown field ` +
				`"noSuchField"`,
		},
		"a flag of the question": {output: said("failed to parse kubelet flag: unknown flag: --lock-file")},
		"something else":         {output: "exec format error"},
	} {
		t.Run(name, func(t *testing.T) {
			m := staged(t, test.output)
			held, detail, err := checkBundle(context.Background(), m.context)
			left, globErr := os.ReadDir(m.host.Path("/run"))
			assert.NilError(t, globErr)
			for _, entry := range left {
				assert.Assert(t, !strings.HasPrefix(entry.Name(), ".argosy-kubelet"), "the question was left")
			}
			if test.err != "" {
				assert.ErrorContains(t, err, "kubelet v1.34.4 does not start with the settings")
				assert.ErrorContains(t, err, test.err)
				assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
				return
			}
			assert.NilError(t, err)
			assert.Assert(t, held && strings.Contains(detail, test.remark), detail)
		})
	}
}

func TestAKubeletIsAskedOnceAboutTheSameSettings(t *testing.T) {
	m := staged(t, said(accepts))
	assert.Assert(t, holds(t, m, checkBundle))
	assert.NilError(t, noteAccepted(m.context, "it ignores one"))
	m.programs.calls = nil
	_, detail, err := checkBundle(context.Background(), m.context)
	assert.NilError(t, err)
	assert.Assert(t, strings.HasSuffix(detail, "; it ignores one"), detail)
	assert.Assert(t, !m.programs.called("kubelet"), "its node may be out of service")
	m.join.KubeletConfig += "maxPods: 3\n"
	assert.Assert(t, holds(t, m, checkBundle))
	assert.Assert(t, m.programs.called("kubelet"))
}

func TestAJoinWithoutArgumentsOfItsOwnAsksNoKubelet(t *testing.T) {
	m := newMachine(t).withBundle()
	m.programs.calls = nil
	assert.Assert(t, holds(t, m, checkBundle))
	assert.Equal(t, len(m.programs.calls), 0)

	m.join.Registration.KubeletExtraArgs = []spec.Arg{{Name: "boot-id-file", Value: "/x"}}
	m.programs.answers["kubelet"] = func(argv []string) (string, error) {
		assert.Assert(t, slices.Contains(argv, "--help"), "there is no configuration yet")
		return said("failed to parse kubelet flag: unknown flag: --boot-id-file"), errors.New("exit status 1")
	}
	_, _, err := checkBundle(context.Background(), m.context)
	assert.ErrorContains(t, err, "unknown flag: --boot-id-file")
	m.programs.answers["kubelet"] = func([]string) (string, error) { return "Usage:\n  kubelet [flags]\n", nil }
	assert.Assert(t, holds(t, m, checkBundle))
}
