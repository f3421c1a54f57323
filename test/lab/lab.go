// Package lab makes real machines out of one Linux computer: systemd containers in network namespaces, each with its
// own address, init, sshd, disk and host key, and on two of them real Kubernetes control planes. The end-to-end tests,
// the benchmarks and the demo run on it. It never changes anything on the computer that it did not make itself, except
// for installing Debian packages it lacks.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"argosy.dev/argosy/test/lab/build"
)

const defaultStateDir = "/var/lib/argosy-lab"

// Lab is the lab of this computer; there is at most one per state folder.
type Lab struct {
	state  string
	source string
	cache  string
	// argo is the version of Argo Workflows, "v4.1.4"; empty in the lab's background processes.
	argo string
	// official takes programs from the releases of their projects; nil compiles them.
	official *build.Official
	log      io.Writer
	// program is the lab command's own file, in processes that are it.
	program string
	// claim is the lock of Claim, held as long as the process lives.
	claim *os.File
}

// Open finds the lab's folders; it changes nothing and needs no running lab.
// The state folder is $ARGOSY_LAB_DIR or /var/lib/argosy-lab, and the checkout
// is the one whose go.mod governs the working directory. $ARGOSY_LAB_ARGO chooses the version of Argo Workflows, and
// $ARGOSY_LAB_PROGRAMS where programs come from: "compiled", as without it, or "official", from the releases of their
// projects as far as they can be had.
func Open() (*Lab, error) {
	source, err := checkoutRoot()
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	argo, err := ArgoVersion()
	if err != nil {
		return nil, err
	}
	official, err := officialPrograms(os.Getenv("ARGOSY_LAB_PROGRAMS"))
	if err != nil {
		return nil, err
	}
	return &Lab{state: stateDir(), source: source, cache: cache, argo: argo, official: official, log: os.Stderr}, nil
}

func officialPrograms(setting string) (*build.Official, error) {
	switch setting {
	case "", "compiled":
		return nil, nil
	case "official":
		return &build.Official{}, nil
	}
	return nil, fmt.Errorf("reading ARGOSY_LAB_PROGRAMS: %q is neither compiled nor official", setting)
}

// openState opens the lab for its own background processes, which must work
// without a checkout and a Go tool.
func openState(dir string, log io.Writer) *Lab {
	return &Lab{state: dir, log: log}
}

// OpenFromCommand is Open for the lab command itself.
func OpenFromCommand() (*Lab, error) {
	l, err := Open()
	if err != nil {
		return nil, err
	}
	if l.program, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("finding the lab command: %w", err)
	}
	return l, nil
}

// StateDir is the folder with everything the running lab keeps: keys, disks,
// kubeconfigs, logs.
func (l *Lab) StateDir() string { return l.state }

// BinDir holds argo, kubectl and kubeadm, as `lab env` puts it on the PATH.
func (l *Lab) BinDir() string { return filepath.Join(l.state, "bin") }

// KeyPath is the private key that every machine lets in.
func (l *Lab) KeyPath() string { return filepath.Join(l.keysDir(), "id_ed25519") }

// KnownHostsPath pins the host key of every machine.
func (l *Lab) KnownHostsPath() string { return filepath.Join(l.state, "known_hosts") }

// KubeconfigPath is the administrator's kubeconfig of a cluster, named after
// its machine: "host" or "team-a". It works on this computer, on every machine,
// and in the pods of the host cluster.
func (l *Lab) KubeconfigPath(cluster string) string {
	return filepath.Join(l.state, cluster+".kubeconfig")
}

// HTTPDir is the folder that the lab's web server at RepositoryURL serves.
func (l *Lab) HTTPDir() string { return filepath.Join(l.state, "repository") }

func (l *Lab) keysDir() string    { return filepath.Join(l.state, "keys") }
func (l *Lab) secretsDir() string { return filepath.Join(l.state, "secrets") }

func (l *Lab) machineDir(name string) string {
	return filepath.Join(l.state, "machines", name)
}

func (l *Lab) logf(format string, args ...any) {
	fmt.Fprintf(l.log, "lab: "+format+"\n", args...)
}

func stateDir() string {
	if dir := os.Getenv("ARGOSY_LAB_DIR"); dir != "" {
		return dir
	}
	return defaultStateDir
}

func cacheDir() (string, error) {
	if dir := os.Getenv("ARGOSY_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder: %w", err)
	}
	return filepath.Join(dir, "argosy"), nil
}

func checkoutRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the checkout's go.mod: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("finding the checkout: the working directory is in no Go module")
	}
	return filepath.Dir(mod), nil
}

// requireRoot stops early with the reason, since most operations of the lab would otherwise fail one obscure step
// later.
func requireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("the lab makes namespaces and mounts: run it as root")
	}
	return nil
}

// requireRealDisk refuses a state folder that overlays cannot be stacked on.
func requireRealDisk(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making state folder %q: %w", dir, err)
	}
	fs, err := run(ctx, "stat", "--file-system", "--format=%T", dir)
	if err != nil {
		return fmt.Errorf("reading the file system of %q: %w", dir, err)
	}
	switch kind := strings.TrimSpace(fs); kind {
	case "overlayfs", "tmpfs", "aufs", "nfs":
		return fmt.Errorf("state folder %q is on %s, machines need a real disk: set ARGOSY_LAB_DIR", dir, kind)
	}
	return nil
}
