package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hierarchy is one mounted cgroup tree and where this process is in it.
type hierarchy struct {
	controllers string // "cpuset", "name=systemd", "" for version 2
	own         string // absolute folder of this process's cgroup
}

// hierarchies joins /proc/self/cgroup with /proc/self/mountinfo. A version 1
// tree counts always, the version 2 tree too: a machine needs a group of its
// own in each, or the kubepods groups of two machines are one.
func hierarchies() ([]hierarchy, error) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("reading this process's cgroups: %w", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading this process's mounts: %w", err)
	}
	return joinHierarchies(string(groups), string(mounts)), nil
}

func joinHierarchies(groups, mounts string) []hierarchy {
	var found []hierarchy
	for _, line := range strings.Split(strings.TrimSpace(groups), "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		root, point := cgroupMount(mounts, parts[1])
		if point == "" {
			continue
		}
		// In a container the mount shows a part of the tree only.
		rel := strings.TrimPrefix(parts[2], strings.TrimSuffix(root, "/"))
		found = append(found, hierarchy{controllers: parts[1], own: filepath.Join(point, rel)})
	}
	return found
}

// cgroupMount finds the root and mount point of the tree with these controllers.
func cgroupMount(mountinfo, controllers string) (root, point string) {
	scanner := bufio.NewScanner(strings.NewReader(mountinfo))
	for scanner.Scan() {
		before, after, ok := strings.Cut(scanner.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		if controllers == "" && right[0] == "cgroup2" {
			return left[3], left[4]
		}
		if right[0] == "cgroup" && hasAll(strings.Split(right[2], ","), strings.Split(controllers, ",")) {
			return left[3], left[4]
		}
	}
	return "", ""
}

func hasAll(options, wanted []string) bool {
	for _, w := range wanted {
		if w == "" || !slices.Contains(options, w) {
			return false
		}
	}
	return true
}

// cgroupVersion is 1 where any controller is on a version 1 tree.
func cgroupVersion(trees []hierarchy) int {
	for _, tree := range trees {
		if tree.controllers != "" && !strings.HasPrefix(tree.controllers, "name=") {
			return 1
		}
	}
	return 2
}

// makeCgroups makes a group called name beneath this process's own in every
// tree and returns the folders.
func makeCgroups(name string) ([]string, error) {
	trees, err := hierarchies()
	if err != nil {
		return nil, err
	}
	if cgroupVersion(trees) == 2 {
		return makeUnifiedCgroup(trees, name)
	}
	var dirs []string
	for _, tree := range trees {
		dir := filepath.Join(tree.own, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return dirs, fmt.Errorf("making cgroup %q: %w", dir, err)
		}
		dirs = append(dirs, dir)
		if slices.Contains(strings.Split(tree.controllers, ","), "cpuset") {
			if err := inheritCpuset(dir); err != nil {
				return dirs, err
			}
		}
	}
	return dirs, nil
}

// makeUnifiedCgroup puts the group at the top of the tree: the one place whose
// children may have controllers although it holds processes itself.
func makeUnifiedCgroup(trees []hierarchy, name string) ([]string, error) {
	if len(trees) == 0 {
		return nil, errors.New("finding cgroups: none are mounted")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading this process's mounts: %w", err)
	}
	_, top := cgroupMount(string(mounts), "")
	available, err := os.ReadFile(filepath.Join(top, "cgroup.controllers"))
	if err != nil {
		return nil, fmt.Errorf("reading the controllers of %q: %w", top, err)
	}
	dir := filepath.Join(top, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making cgroup %q: %w", dir, err)
	}
	for _, controller := range strings.Fields(string(available)) {
		file := filepath.Join(top, "cgroup.subtree_control")
		if err := os.WriteFile(file, []byte("+"+controller), 0o644); err != nil {
			return []string{dir}, fmt.Errorf("passing controller %q on in %q: %w", controller, top, err)
		}
	}
	return []string{dir}, nil
}

// inheritCpuset copies the parent's CPUs and memory nodes: a version 1 cpuset
// starts empty and then takes no process.
func inheritCpuset(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			return fmt.Errorf("reading the parent's %s: %w", file, err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
			return fmt.Errorf("setting %s of %q: %w", file, dir, err)
		}
	}
	return nil
}

func enterCgroups(dirs []string) error {
	pid := []byte(strconv.Itoa(os.Getpid()))
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), pid, 0o644); err != nil {
			return fmt.Errorf("entering cgroup %q: %w", dir, err)
		}
	}
	return nil
}

// removeCgroups kills whatever is left in these groups and removes them with
// all their children.
func removeCgroups(dirs []string) error {
	deadline := time.Now().Add(waitLimit)
	for {
		killed := 0
		for _, dir := range dirs {
			killed += killTree(dir)
		}
		err := removeTrees(dirs)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		if killed > 0 {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		time.Sleep(30 * time.Millisecond)
	}
}

func killTree(dir string) (killed int) {
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() != "cgroup.procs" {
			return nil
		}
		procs, _ := os.ReadFile(path)
		for _, field := range strings.Fields(string(procs)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 1 && pid != os.Getpid() {
				if syscall.Kill(pid, syscall.SIGKILL) == nil {
					killed++
				}
			}
		}
		return nil
	})
	return killed
}

func removeTrees(dirs []string) error {
	var problems []error
	for _, dir := range dirs {
		var folders []string
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				folders = append(folders, path)
			}
			return nil
		})
		for _, folder := range slices.Backward(folders) {
			if err := syscall.Rmdir(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
				problems = append(problems, fmt.Errorf("removing cgroup %q: %w", folder, err))
			}
		}
	}
	return errors.Join(problems...)
}
