package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/util/validation"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/internal/inventory"
	"argosy.dev/argosy/pkg/config"
)

// initRequest has the flags of "init".
type initRequest struct {
	cluster    string
	namespace  string
	folder     string
	kubeconfig string
	user       string
	// files has the file of each source; at most one is set.
	files    map[string]*string
	patterns []string
	accepted []string
}

// sources read machines from a file, by the flags that name it.
var sources = []struct {
	flag, usage string
	read        func([]byte) ([]inventory.Host, error)
}{
	{"ssh-config", "OpenSSH client configuration with the machines, e.g. ~/.ssh/config", inventory.SSHConfig},
	{"ansible", "Ansible inventory with the machines, in INI or YAML", inventory.Ansible},
	{"csv", "table with the machines: name,address and, where wanted, user,port", inventory.CSV},
}

func initCommand() *cobra.Command {
	request := initRequest{files: map[string]*string{}}
	command := &cobra.Command{
		Use:   "init",
		Short: "Write both documents of a cluster, from machines that it asks for or reads from a file",
		Long: `Asks for machines, or reads them from an OpenSSH client configuration, an Ansible inventory or a table.
It then scans the host key of each and shows the fingerprints: compare them on the machines' consoles. Keys
that you confirm are pinned in argosy.yaml. Scripts confirm them with --accept-host-key, once for each.

Writes FOLDER/cluster.yaml, the ConfigMap with both documents, prints the commands to go on with, and logs
in to no machine. An existing file is not replaced. The host key of a machine behind a bastion can't be
scanned, and is to be added by hand.`,
		Example: `  argosy init --cluster team-a
  argosy init --cluster team-a --ansible hosts.ini --host gpu --kubeconfig-secret team-a-kubeconfig
  argosy init --cluster team-a --csv machines.csv --accept-host-key SHA256:…`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			dialog := dialog{in: bufio.NewReader(command.InOrStdin()), out: command.OutOrStdout()}
			if file, ok := command.InOrStdin().(*os.File); ok {
				dialog.terminal = term.IsTerminal(int(file.Fd()))
			}
			return request.run(command.Context(), dialog, scanSSH)
		},
	}
	request.flags(command)
	return command
}

func (r *initRequest) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVarP(&r.cluster, "cluster", "c", "", "name of the cluster, which is its ConfigMap's (required)")
	flags.StringVarP(&r.namespace, "namespace", "n", "", "namespace of the host cluster (default: the cluster's name)")
	flags.StringVar(&r.folder, "folder", "", "folder to write cluster.yaml into (default: the cluster's name)")
	flags.StringVar(&r.kubeconfig, "kubeconfig-secret", "",
		"Secret with the kubeconfig of a cluster that exists (default: Argosy makes the cluster)")
	flags.StringVar(&r.user, "user", "", "user to log in as where no other is given (default: root)")
	for _, source := range sources {
		r.files[source.flag] = flags.String(source.flag, "", source.usage)
	}
	flags.StringSliceVar(&r.patterns, "host", nil, "only hosts or groups of the file that match, e.g. 'gpu-*'")
	flags.StringSliceVar(&r.accepted, "accept-host-key", nil, "fingerprint SHA256:… of a host key to accept unasked")
}

// dialog is how a command asks a person.
type dialog struct {
	in  *bufio.Reader
	out io.Writer
	// terminal is true where a person can answer.
	terminal bool
}

// ask returns the answer to a question, one line.
func (d dialog) ask(question string) (string, error) {
	if _, err := io.WriteString(d.out, question); err != nil {
		return "", err
	}
	line, err := d.in.ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || line == "") {
		return "", fmt.Errorf("reading the answer: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// fingerprintOfKey is the form of a SHA-256 digest in base64 without padding.
var fingerprintOfKey = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)

// check completes the defaults, and refuses flags that can't be meant. It touches nothing.
func (r *initRequest) check() error {
	if r.cluster == "" {
		return program.UsageErrorf("flag --cluster is required: the name of the cluster")
	}
	if problems := validation.IsDNS1123Label(r.cluster); len(problems) > 0 {
		return program.UsageErrorf("flag --cluster %q: %s", r.cluster, strings.Join(problems, "; "))
	}
	given := 0
	for _, name := range r.files {
		if *name != "" {
			given++
		}
	}
	if given > 1 {
		return program.UsageErrorf("give one of --ssh-config, --ansible and --csv")
	}
	for _, fingerprint := range r.accepted {
		if !fingerprintOfKey.MatchString(fingerprint) {
			return program.UsageErrorf("flag --accept-host-key %q: give a fingerprint as ssh-keygen -l shows it: "+
				"SHA256:…", fingerprint)
		}
	}
	if r.namespace == "" {
		r.namespace = r.cluster
	}
	if r.folder == "" {
		r.folder = r.cluster
	}
	if _, err := os.Lstat(r.path()); err == nil {
		return program.UsageErrorf("%q exists, and is not replaced; give another --folder, or edit it", r.path())
	}
	return nil
}

func (r *initRequest) path() string { return filepath.Join(r.folder, "cluster.yaml") }

// run asks, scans, has the keys confirmed, and writes the documents.
func (r *initRequest) run(ctx context.Context, dialog dialog, scan scanKey) error {
	if err := r.check(); err != nil {
		return err
	}
	hosts, err := r.hosts(dialog)
	if err != nil {
		return err
	}
	machines, err := r.machinesOf(hosts)
	if err != nil {
		return err
	}
	keys, err := scanAll(ctx, machines, scan)
	if err != nil {
		return err
	}
	if err := r.confirm(dialog, keys); err != nil {
		return err
	}
	pin(machines, keys)
	text, err := r.documents(machines)
	if err != nil {
		return err
	}
	if err := writeNew(r.path(), text); err != nil {
		return err
	}
	_, err = io.WriteString(dialog.out, r.told(machines))
	return err
}

// hosts returns those of the file, or those that a person types.
func (r *initRequest) hosts(dialog dialog) ([]inventory.Host, error) {
	for _, source := range sources {
		name := *r.files[source.flag]
		if name == "" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, program.UsageErrorf("flag --%s: %w", source.flag, err)
		}
		hosts, err := source.read(text)
		if err == nil {
			hosts, err = inventory.Matching(hosts, r.patterns)
		}
		if err == nil && len(hosts) == 0 {
			err = errors.New("it has no hosts")
		}
		if err != nil {
			return nil, program.UsageErrorf("flag --%s %q: %w", source.flag, name, err)
		}
		return hosts, nil
	}
	switch {
	case len(r.patterns) > 0:
		return nil, program.UsageErrorf("flag --host needs a file: --ssh-config, --ansible or --csv")
	case !dialog.terminal:
		return nil, program.UsageErrorf("there is no terminal to ask for machines at: give --ssh-config, --ansible " +
			"or --csv")
	}
	return askHosts(dialog)
}

// askHosts asks for machines until an empty line.
func askHosts(dialog dialog) ([]inventory.Host, error) {
	question := "Machines, one a line, as NAME ADDRESS [USER [PORT]]; an empty line ends.\n"
	columns := []string{"name", "address", "user", "port"}
	var hosts []inventory.Host
	for {
		line, err := dialog.ask(fmt.Sprintf("%smachine %d: ", question, len(hosts)+1))
		question = ""
		switch {
		case err != nil:
			return nil, err
		case line == "" && len(hosts) > 0:
			return hosts, nil
		case line == "":
			continue
		}
		words := strings.Fields(line)
		var host []inventory.Host
		if len(words) >= 2 && len(words) <= len(columns) {
			host, err = inventory.CSV([]byte(strings.Join(columns[:len(words)], ",") + "\n" + strings.Join(words, ",")))
		}
		if err != nil || len(host) != 1 {
			question = fmt.Sprintf("%q is no machine: give NAME ADDRESS [USER [PORT]]\n", line)
			continue
		}
		hosts = append(hosts, host[0])
	}
}

// initMachine is a machine in argosy.yaml, with its keys in the order in which people read them.
type initMachine struct {
	Name    string   `yaml:"name"`
	Address string   `yaml:"address"`
	SSH     *initSSH `yaml:"ssh,omitempty"`
}

type initSSH struct {
	User     string    `yaml:"user,omitempty"`
	Port     int       `yaml:"port,omitempty"`
	HostKeys []string  `yaml:"hostKeys,omitempty"`
	Bastions []bastion `yaml:"bastions,omitempty"`
}

type bastion struct {
	Address  string   `yaml:"address"`
	Port     int      `yaml:"port,omitempty"`
	User     string   `yaml:"user,omitempty"`
	HostKeys []string `yaml:"hostKeys,omitempty"`
}

// machinesOf returns the machines for hosts.
func (r *initRequest) machinesOf(hosts []inventory.Host) ([]initMachine, error) {
	names, err := inventory.Names(hosts)
	if err != nil {
		return nil, program.UsageErrorf("%w", err)
	}
	var machines []initMachine
	for i, host := range hosts {
		ssh := &initSSH{User: host.User, Port: host.Port}
		if ssh.User == r.user {
			ssh.User = "" // it is all machines' own
		}
		for _, hop := range host.Bastions {
			ssh.Bastions = append(ssh.Bastions, bastion{Address: hop.Address, Port: hop.Port, User: hop.User})
		}
		machines = append(machines, initMachine{Name: names[i], Address: host.Address, SSH: ssh})
	}
	return machines, nil
}

// documents returns the manifest of the ConfigMap, once both documents in it are valid.
func (r *initRequest) documents(machines []initMachine) ([]byte, error) {
	fleet := struct {
		APIVersion string            `yaml:"apiVersion"`
		Kind       string            `yaml:"kind"`
		Cluster    map[string]string `yaml:"cluster,omitempty"`
		SSH        map[string]string `yaml:"ssh"`
		Machines   []initMachine     `yaml:"machines"`
	}{APIVersion: "argosy.dev/v1alpha1", Kind: "Fleet", SSH: map[string]string{"secret": r.secret()}}
	if r.kubeconfig != "" {
		fleet.Cluster = map[string]string{"kubeconfigSecret": r.kubeconfig}
	}
	if r.user != "" {
		fleet.SSH["user"] = r.user
	}
	for _, machine := range machines {
		if ssh := machine.SSH; ssh.User == "" && ssh.Port == 0 && len(ssh.HostKeys)+len(ssh.Bastions) == 0 {
			machine.SSH = nil
		}
		fleet.Machines = append(fleet.Machines, machine)
	}
	argosy, err := inYAML(fleet)
	if err != nil {
		return nil, err
	}
	const vcluster = "privateNodes:\n  enabled: true\n"
	if _, err := config.Parse(r.cluster, []byte(vcluster), []byte(argosy)); err != nil {
		return nil, fmt.Errorf("checking the documents, of which nothing was written: %w", err)
	}
	text, err := inYAML(struct {
		APIVersion string            `yaml:"apiVersion"`
		Kind       string            `yaml:"kind"`
		Metadata   map[string]string `yaml:"metadata"`
		Data       map[string]string `yaml:"data"`
	}{
		"v1", "ConfigMap",
		map[string]string{"name": r.cluster},
		map[string]string{config.VClusterDocument: vcluster, config.FleetDocument: argosy},
	})
	return []byte(text), err
}

func inYAML(value any) (string, error) {
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("encoding the documents: %w", err)
	}
	return text.String(), nil
}

// secret is the name of the Secret with the SSH key.
func (r *initRequest) secret() string { return r.cluster + "-ssh" }

// writeNew writes a file that is not there yet, and its folder.
func writeNew(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}

// told returns the names of the files written, and the commands to go on with.
func (r *initRequest) told(machines []initMachine) string {
	lines := []string{fmt.Sprintf("wrote %s with %s", r.path(), count.Of(len(machines), "machine"))}
	for _, machine := range machines {
		if len(machine.SSH.HostKeys) == 0 {
			lines = append(lines, fmt.Sprintf("machine %s is behind a bastion: add its ssh.hostKeys to argosy.yaml, "+
				"the content of its /etc/ssh/ssh_host_ed25519_key.pub", machine.Name))
		}
	}
	lines = append(lines, "", "Next:",
		fmt.Sprintf("  kubectl create secret generic -n %s %s --from-file=ssh-privatekey=$HOME/.ssh/id_ed25519",
			r.namespace, r.secret()))
	if r.kubeconfig != "" {
		lines = append(lines, fmt.Sprintf("  kubectl create secret generic -n %s %s --from-file=value=KUBECONFIG",
			r.namespace, r.kubeconfig))
	}
	path := r.path()
	if strings.ContainsAny(path, " '\"$\\") {
		path = "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	cluster := ""
	if r.namespace != r.cluster {
		cluster = " --cluster " + r.cluster
	}
	next := "provision"
	if r.kubeconfig != "" {
		next = "plan"
	}
	lines = append(lines, fmt.Sprintf("  kubectl apply -n %s -f %s", r.namespace, path),
		fmt.Sprintf("  argosy validate --namespace %s%s", r.namespace, cluster),
		fmt.Sprintf("  argosy %s --namespace %s%s", next, r.namespace, cluster))
	return strings.Join(slices.Concat(lines, []string{""}), "\n")
}
