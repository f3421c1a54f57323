package join

import (
	"context"
	"fmt"
	"strings"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// pinned keeps the kubelet's garbage collection away from an image.
const pinned = "io.cri-containerd.pinned=pinned"

// importsPause says whether there is an image to import: not when the bundle has none, and not when another pause image
// is asked for, which containerd then pulls when the first pod needs it.
func importsPause(c *node.Context) (image string, why string) {
	j := c.Operation.Join
	bundled := bundledPause(c.Host, j)
	if wanted := j.Containerd.PauseImage; wanted != "" && bundled != "" && wanted != bundled {
		return "", fmt.Sprintf("%s is asked for instead of the bundle's %s and pulled when it is first needed", wanted, bundled)
	}
	if bundled != "" && !c.Host.Exists(release(j, "pause-image.tar")) {
		return "", fmt.Sprintf("the bundle carries no archive of %s, so it is pulled when it is first needed", bundled)
	}
	return bundled, ""
}

func checkPause(ctx context.Context, c *node.Context) (bool, string, error) {
	image, why := importsPause(c)
	if why != "" {
		return true, why, nil
	}
	if image == "" || inspect.Answers(ctx, c.Host, layout.ContainerdSocket) != nil {
		return false, "the pause image has to be imported", nil
	}
	output, err := c.Host.Runner.Run(ctx, ctr(c, "images", "list", "name=="+image))
	if err != nil {
		return false, "", fmt.Errorf("listing images: %w", err)
	}
	if !strings.Contains(string(output), image) || !strings.Contains(string(output), pinned) {
		return false, image + " has to be imported", nil
	}
	return true, image + " is there and pinned", nil
}

func applyPause(ctx context.Context, c *node.Context) (string, error) {
	image, _ := importsPause(c)
	archive := c.Host.Path(release(c.Operation.Join, "pause-image.tar"))
	if _, err := c.Host.Runner.Run(ctx, ctr(c, "images", "import", "--label", pinned, archive)); err != nil {
		// The ctr of containerd 1.x cannot label while it imports.
		if _, err := c.Host.Runner.Run(ctx, ctr(c, "images", "import", archive)); err != nil {
			return "", fmt.Errorf("importing image %q: %w", image, err)
		}
		if _, err := c.Host.Runner.Run(ctx, ctr(c, "images", "label", image, pinned)); err != nil {
			return "", fmt.Errorf("pinning image %q: %w", image, err)
		}
	}
	return image + " imported", nil
}

// ctr calls containerd's client in the namespace where the kubelet looks.
func ctr(c *node.Context, args ...string) host.Command {
	j := c.Operation.Join
	argv := []string{c.Host.Path(program(j, "ctr")), "--address", c.Host.Path(layout.ContainerdSocket), "--namespace", "k8s.io"}
	return host.Command{Argv: append(argv, args...), Env: searchPath(j), Log: c.Log}
}

// searchPath lets programs find each other wherever the binaries are installed.
func searchPath(j *spec.Join) []string {
	return []string{"PATH=" + j.BinariesPath + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
}
