package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// rebootStatus is the exit status of systemd-nspawn when the machine rebooted.
const rebootStatus = 133

// bootPlan has the settings with which a machine's supervisor boots it. It is written with the disk.
type bootPlan struct {
	Rootfs string `json:"rootfs"`
	// Binds are read-only folders and files: machine's path to this computer's.
	Binds map[string]string `json:"binds"`
}

func (d disk) planFile() string    { return filepath.Join(d.dir, "boot.json") }
func (d disk) pidFile() string     { return filepath.Join(d.dir, "supervisor.pid") }
func (d disk) logFile() string     { return filepath.Join(d.dir, "console.log") }
func (d disk) cgroupsFile() string { return filepath.Join(d.dir, "cgroups") }

func (d disk) writePlan(plan bootPlan) error {
	data, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding boot plan: %w", err)
	}
	if err := os.WriteFile(d.planFile(), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing boot plan: %w", err)
	}
	return nil
}

func (d disk) readPlan() (bootPlan, error) {
	data, err := os.ReadFile(d.planFile())
	if err != nil {
		return bootPlan{}, fmt.Errorf("reading boot plan: %w", err)
	}
	var plan bootPlan
	if err := json.Unmarshal(data, &plan); err != nil {
		return bootPlan{}, fmt.Errorf("reading boot plan %q: %w", d.planFile(), err)
	}
	return plan, nil
}

// Supervise runs a machine until it powers off or this process gets SIGTERM,
// and boots it again when it reboots. It is the body of a background process.
func Supervise(stateDir, name string) error {
	l := openState(stateDir, os.Stderr)
	m, err := l.Spec(name)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	self, err := thisProcess()
	if err != nil {
		return err
	}
	if err := self.write(l.disk(m).pidFile()); err != nil {
		return err
	}
	for {
		status, err := l.runMachine(ctx, m)
		if err != nil || ctx.Err() != nil || status != rebootStatus {
			l.logf("machine %s ended with status %d", name, status)
			return err
		}
		l.logf("machine %s reboots", name)
	}
}

// runMachine boots a machine with a fresh network and fresh cgroups, and
// returns when it is off and its cgroups are gone.
func (l *Lab) runMachine(ctx context.Context, m MachineSpec) (status int, err error) {
	d := l.disk(m)
	groups, err := makeCgroups("argosy-lab-" + m.Name)
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(d.cgroupsFile(), []byte(strings.Join(groups, "\n")+"\n"), 0o644); err != nil {
		return 0, fmt.Errorf("recording cgroups: %w", err)
	}
	defer func() { err = errors.Join(err, d.clearCgroups()) }()
	if err := connect(ctx, m); err != nil {
		return 0, err
	}
	cmd := exec.Command(l.programPath(), "run-machine", m.Name)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// The overlay is mounted in a namespace of its own and goes with the machine.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting machine %q: %w", m.Name, err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		if err := removeCgroups(groups); err != nil {
			return 0, err
		}
		<-ended
	}
	return cmd.ProcessState.ExitCode(), nil
}

// clearCgroups kills everything in the machine's recorded cgroups and removes
// them.
func (d disk) clearCgroups() error {
	data, err := os.ReadFile(d.cgroupsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("reading recorded cgroups: %w", err)
	}
	if err := removeCgroups(strings.Fields(string(data))); err != nil {
		return err
	}
	if err := os.Remove(d.cgroupsFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting cgroups: %w", err)
	}
	return nil
}

// BecomeMachine turns this process, which has a mount namespace of its own,
// into systemd-nspawn with the machine. It returns only errors.
func BecomeMachine(stateDir, name string) error {
	l := openState(stateDir, os.Stderr)
	m, err := l.Spec(name)
	if err != nil {
		return err
	}
	d := l.disk(m)
	plan, err := d.readPlan()
	if err != nil {
		return err
	}
	groups, err := os.ReadFile(d.cgroupsFile())
	if err != nil {
		return fmt.Errorf("reading recorded cgroups: %w", err)
	}
	if err := enterCgroups(strings.Fields(string(groups))); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", plan.Rootfs, d.upper(), d.work())
	if err := unix.Mount("argosy-lab-"+m.Name, d.root(), "overlay", 0, options); err != nil {
		return fmt.Errorf("mounting the disk of machine %q: %w", m.Name, err)
	}
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	env := append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="+map[int]string{
		1: "0",
		2: "1",
	}[cgroupVersion(trees)],
		"SYSTEMD_NSPAWN_API_VFS_WRITABLE=network",
		// nspawn's filter refuses keyctl and bpf, which runc needs.
		"SYSTEMD_SECCOMP=0")
	nspawn, err := exec.LookPath("systemd-nspawn")
	if err != nil {
		return fmt.Errorf("finding systemd-nspawn: %w", err)
	}
	if err := syscall.Exec(nspawn, nspawnArgv(m, d, plan), env); err != nil {
		return fmt.Errorf("becoming systemd-nspawn: %w", err)
	}
	return nil
}

func nspawnArgv(m MachineSpec, d disk, plan bootPlan) []string {
	argv := []string{
		"systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--capability=all",
		"--network-namespace-path=/run/netns/" + m.namespace(),
		"--directory=" + d.root(), "--machine=" + m.Name, "--hostname=" + m.Name,
		"--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe",
	}
	for _, folder := range boundFolders(m) {
		argv = append(argv, "--bind="+d.bound(folder)+":"+folder)
	}
	for target, source := range plan.Binds {
		argv = append(argv, "--bind-ro="+source+":"+target)
	}
	return argv
}
