package join

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

const (
	// acceptedFile, in a bundle's folder, has the digest of the settings that its kubelet accepted last, and its
	// remark.
	acceptedFile = ".accepted"
	// askTimeout bounds the question; a kubelet answers within a second.
	askTimeout = 20 * time.Second
)

// checkAccepted asks the kubelet of the unpacked bundle whether it would start with the arguments and the configuration
// that it will be given: each minor version drops some. It returns a remark where the kubelet would ignore a setting.
// Without that, an upgrade would find out with the node out of service.
//
// Upgrades are always asked for; joins only with arguments of the documents, since kubeadm of the same version writes
// the rest.
func checkAccepted(ctx context.Context, c *node.Context) (remark string, err error) {
	j := c.Operation.Join
	if !asksKubelet(c) {
		return "", nil
	}
	noted, _ := c.Host.ReadFile(filepath.Join(bundleDir(j), acceptedFile))
	if digest, remark, _ := strings.Cut(string(noted), "\n"); digest == questionDigest(c) {
		return remark, nil
	}
	output, err := askKubelet(ctx, c, currentArgs(c), nextConfig(c))
	if err != nil {
		return "", err
	}
	known, problem := judgeKubelet(output)
	switch {
	case problem != "":
		return "", errclass.Errorf(errclass.Configuration, "kubelet %s does not start with the settings that it would "+
			"have: %s; change kubeletExtraArgs, privateNodes.kubelet.config or the cluster's kubelet-config",
			j.KubernetesVersion, problem)
	case !known:
		fmt.Fprintf(c.Log, "kubelet %s did not tell whether it accepts its settings:\n%s\n", j.KubernetesVersion,
			output)
		return "", nil
	}
	if fields := ignoredFields.FindStringSubmatch(output); fields != nil {
		return fmt.Sprintf("kubelet %s ignores settings of its configuration: %s", j.KubernetesVersion,
			strings.ReplaceAll(fields[1], `\"`, `"`)), nil
	}
	return "", nil
}

// noteAccepted notes the answer of the bundle's kubelet, so that it is not asked again while its node is out of
// service.
func noteAccepted(c *node.Context, remark string) error {
	if !asksKubelet(c) {
		return nil
	}
	_, err := c.Host.WriteFile(filepath.Join(bundleDir(c.Operation.Join), acceptedFile),
		[]byte(questionDigest(c)+"\n"+remark), 0o600)
	return err
}

// asksKubelet reports whether the bundle's kubelet is asked about its settings.
func asksKubelet(c *node.Context) bool {
	upgrades := c.Operation.Kind == spec.KindStage || c.Operation.Kind == spec.KindUpgrade
	return (upgrades || len(c.Operation.Join.Registration.KubeletExtraArgs) > 0) && !hasSettings(c)
}

func questionDigest(c *node.Context) string {
	digest := sha256.Sum256(fmt.Append(nil, currentArgs(c), nextConfig(c)))
	return hex.EncodeToString(digest[:])
}

// hasSettings reports whether the bundle's kubelet is installed and was given the wanted settings before.
func hasSettings(c *node.Context) bool {
	j := c.Operation.Join
	known, found, err := readSettings(c.Host)
	return err == nil && found && slices.Equal(known.Args, currentArgs(c)) &&
		(j.KubeletConfig == "" || known.ClusterConfig == j.KubeletConfig) &&
		installed(c.Host, install{release(j, "kubelet"), program(j, "kubelet")})
}

// nextConfig returns the configuration that kubeadm will write: the cluster's, or else the machine's; "" when neither
// is known.
func nextConfig(c *node.Context) string {
	if config := c.Operation.Join.KubeletConfig; config != "" {
		return config
	}
	config, err := c.Host.ReadFile(layout.KubeletConfig)
	if err != nil {
		return ""
	}
	return string(config)
}

// askKubelet runs the bundle's kubelet so far that it has parsed and validated all settings. The last arguments have it
// end then, before it touches anything: without a lock file it cannot exit on contention, and it finds no kubeconfig.
// Without a configuration it only parses its arguments.
func askKubelet(ctx context.Context, c *node.Context, args []spec.Arg, config string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	folder, err := os.MkdirTemp(c.Host.Path("/run"), ".argosy-kubelet-")
	if err != nil {
		return "", fmt.Errorf("making a folder for a question to the kubelet: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	argv := []string{c.Host.Path(release(c.Operation.Join, "kubelet"))}
	for _, arg := range args {
		argv = append(argv, "--"+arg.Name+"="+arg.Value)
	}
	if config == "" {
		argv = append(argv, "--help")
	} else {
		file := filepath.Join(folder, "config.yaml")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return "", fmt.Errorf("writing a question to the kubelet: %w", err)
		}
		argv = append(argv, "--config="+file)
	}
	argv = append(argv, "--kubeconfig="+filepath.Join(folder, "none"), "--bootstrap-kubeconfig=", "--cert-dir="+folder,
		"--root-dir="+folder, "--lock-file=", "--exit-on-lock-contention=true")
	output, err := c.Host.Runner.Run(ctx, host.Command{Argv: argv, Env: searchPath(c.Operation.Join)})
	if err == nil && config == "" {
		return helpShown, nil
	}
	// A kubelet that was asked in this way always fails.
	return string(output), nil
}

// helpShown stands for the help of a kubelet, which it shows once it has parsed its arguments.
const helpShown = "the help was shown"

var (
	// ownFlag matches a kubelet that does not have a flag of the question itself.
	ownFlag = regexp.MustCompile(`unknown flag: --(config|kubeconfig|bootstrap-kubeconfig|cert-dir|root-dir|` +
		`lock-file|exit-on-lock-contention)\b`)
	// failedWith matches the last words of a kubelet, with quotes escaped.
	failedWith = regexp.MustCompile(`"command failed" err="((?:[^"\\]|\\.)*)"`)
	// panicked matches those about a feature gate in its configuration.
	panicked = regexp.MustCompile(`(?m)^panic: (.*)$`)
	// ignoredFields matches its warning about fields that it does not know.
	ignoredFields = regexp.MustCompile(`lenient decoding[^\n]*strict decoding error: ([^\n]*)"`)
)

// judgeKubelet returns whether the kubelet told that it accepts its settings, or why it does not:
//
//	the kubelet's last words                          its settings
//	no lock file, no kubeconfig, or its help          are accepted
//	a flag of the question itself is unknown          not known
//	command failed, or a panic                        are refused, for the reason that it gives
//	anything else                                     not known
func judgeKubelet(output string) (known bool, problem string) {
	failed := failedWith.FindStringSubmatch(output)
	switch {
	case output == helpShown:
		return true, ""
	case ownFlag.MatchString(output):
		return false, ""
	case failed == nil:
		if match := panicked.FindStringSubmatch(output); match != nil {
			return true, strings.TrimSpace(match[1])
		}
		return false, ""
	case strings.Contains(failed[1], "no lock file specified"), strings.Contains(failed[1], "invalid kubeconfig"):
		return true, ""
	}
	reason := strings.ReplaceAll(failed[1], `\"`, `"`)
	reason, _, _ = strings.Cut(reason, ", path: &TypeMeta")
	return true, strings.TrimPrefix(reason, "failed to parse kubelet flag: ")
}
