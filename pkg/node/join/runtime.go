package join

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/cri"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// criSocket returns the path of the container runtime's socket.
func criSocket(j *spec.Join) string {
	if j.Registration.CRISocket == "" {
		return layout.ContainerdSocket
	}
	return strings.TrimPrefix(j.Registration.CRISocket, "unix://")
}

// checkExternalRuntime checks a runtime that is not Argosy's: it has to answer, to be new enough, and to have the
// kubelet's cgroup driver.
func checkExternalRuntime(ctx context.Context, h *host.Host, j *spec.Join, f *findings) {
	if !j.Containerd.External {
		return
	}
	found := findings{}
	askRuntime(ctx, h, j, &found)
	f.remarks = append(f.remarks, found.remarks...)
	if len(found.problems) > 0 && len(j.Hooks.PreInstall) > 0 {
		f.remark("%s It is looked at again when preInstallCommands have run.", found.problems[0].text)
		return
	}
	f.problems = append(f.problems, found.problems...)
}

// This is the oldest containerd that kubelets of supported versions are tested with.
const (
	containerdMajor = 1
	containerdMinor = 7
)

func askRuntime(ctx context.Context, h *host.Host, j *spec.Join, f *findings) {
	socket := criSocket(j)
	if err := inspect.Answers(ctx, h, socket); errors.Is(err, fs.ErrNotExist) {
		f.problem("There is no container runtime at %s; install and start one, or leave it to Argosy with "+
			"containerd.enabled: true.", socket)
		return
	} else if err != nil {
		f.transient("The container runtime at %s does not answer (%v); start it.", socket, err)
		return
	}
	client := cri.New(h.Path(socket))
	defer client.Close()
	version, err := client.Version(ctx)
	if cri.IsUnimplemented(err) {
		f.problem("What answers at %s is no container runtime for a kubelet; if it is containerd, take \"cri\" out "+
			"of disabled_plugins in its configuration and restart it.", socket)
		return
	}
	if err != nil {
		f.transient("The container runtime does not report its version (%v); see why on the machine.", err)
		return
	}
	checkRuntimeVersion(version, socket, f)
	status, err := client.Status(ctx)
	switch {
	case err != nil:
		f.transient("The container runtime does not report its status (%v); see why on the machine.", err)
	case !status.Ready:
		f.transient("The container runtime %s %s is not ready: %s.", version.Name, version.Version,
			status.Message)
	}
	checkCgroupDriver(ctx, client, j.Containerd.CgroupDriver, f)
	if has, err := client.HasRuntimeConfig(ctx); err == nil && !has {
		f.remark("The container runtime %s %s lacks the call RuntimeConfig, which kubelets need from 1.38 on; upgrade "+
			"it before then.", version.Name, version.Version)
	}
}

func checkRuntimeVersion(version cri.Version, socket string, f *findings) {
	if version.API != "" && version.API != "v1" {
		f.problem("The container runtime %s %s at %s speaks version %s of the interface, and kubelets speak v1; "+
			"upgrade it.", version.Name, version.Version, socket, version.API)
	}
	if version.Name != "containerd" {
		f.remark("The container runtime at %s is %s %s, of which Argosy only knows that it speaks the kubelet's "+
			"interface.", socket, version.Name, version.Version)
		return
	}
	if major, minor := majorMinor(version.Version); major < containerdMajor || major == containerdMajor &&
		minor < containerdMinor {
		f.problem("The machine's containerd is %s, and %d.%d or later is needed; upgrade it.", version.Version,
			containerdMajor, containerdMinor)
	}
}

func checkCgroupDriver(ctx context.Context, client *cri.Client, wanted string, f *findings) {
	driver, err := client.CgroupDriver(ctx)
	switch {
	case err != nil:
		f.transient("The container runtime does not tell its cgroup driver (%v); see why on the machine.", err)
	case driver == "":
		f.remark("The container runtime does not tell its cgroup driver; it has to be the kubelet's, %s.", wanted)
	case driver != wanted:
		f.problem("The container runtime's cgroup driver is %s, and the kubelet's is %s; make them agree, in "+
			"containerd's configuration by SystemdCgroup = %t in the options of runc, and restart it.",
			driver, wanted, wanted == cri.Systemd)
	}
}

// runtimeCheck is kubeadm's name for the check of the container runtime.
const runtimeCheck = "CRI"

// checkRuntime holds when the external runtime can be used. Only the user can change it.
func checkRuntime(ctx context.Context, c *node.Context) (bool, string, error) {
	j := c.Operation.Join
	found := findings{}
	askRuntime(ctx, c.Host, j, &found)
	if len(found.problems) == 0 || ignored(j, runtimeCheck) {
		return true, fits(j, found), nil
	}
	if len(j.Hooks.PreInstall) > 0 {
		return false, "a container runtime has to answer at " + criSocket(j), nil
	}
	return false, "", runtimeError(found)
}

// runtimeTimeout bounds the wait for a runtime that the user's own commands installed.
const runtimeTimeout = 30 * time.Second

// waitForRuntime waits for the runtime that the user's own commands installed.
func waitForRuntime(ctx context.Context, c *node.Context) (string, error) {
	j := c.Operation.Join
	c.SetMessage("waiting for the container runtime at %s", criSocket(j))
	for deadline := time.Now().Add(runtimeTimeout); ; {
		found := findings{}
		askRuntime(ctx, c.Host, j, &found)
		if len(found.problems) == 0 {
			return fits(j, found), nil
		}
		starting := inspect.Answers(ctx, c.Host, criSocket(j)) != nil ||
			slices.ContainsFunc(found.problems, func(p problem) bool { return p.transient })
		if !starting || time.Now().After(deadline) {
			return "", runtimeError(found)
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(pollInterval):
		}
	}
}

// fits returns the detail for a runtime that is used, with its remarks.
func fits(j *spec.Join, found findings) string {
	parts := []string{"the container runtime at " + criSocket(j) + " is used and not touched."}
	for _, p := range found.problems {
		parts = append(parts, p.text+" Ignored, as ignorePreflightErrors says.")
	}
	return strings.Join(append(parts, found.remarks...), " ")
}

// runtimeError returns the problems of the runtime as an error.
func runtimeError(found findings) error {
	class := errclass.Transient
	var problems []string
	for _, p := range found.problems {
		problems = append(problems, p.text)
		if !p.transient {
			class = errclass.Permanent
		}
	}
	return node.Problems(class, "the present container runtime cannot be used", problems)
}
