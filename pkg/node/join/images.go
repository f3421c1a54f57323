package join

import (
	"context"
	"fmt"
	"strings"

	"argosy.dev/argosy/internal/imageref"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/images"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// pinned keeps the kubelet's garbage collection away from an image.
const pinned = "io.cri-containerd.pinned=pinned"

// pause is the state of the pause image.
type pause struct {
	// image as containerd names it; "" before the bundle is there.
	image string
	// why is the reason why there is no archive to import it from; "" when the bundle has one.
	why string
	// present and pinned are its state in containerd.
	present, pinned bool
}

// readPause returns the state of the wanted pause image. Another one than the bundle's is among the images that the
// user imports, or is pulled for the first pod; containerd then pins it, by its configuration.
func readPause(ctx context.Context, c *node.Context) (pause, error) {
	j := c.Operation.Join
	bundled := bundledPauseImage(c.Host, j)
	if bundled == "" {
		return pause{}, nil
	}
	ours, err := imageref.Normalize(bundled)
	if err != nil {
		return pause{}, err
	}
	wanted, err := imageref.Normalize(pauseImage(c.Host, j))
	if err != nil {
		return pause{}, err
	}
	p := pause{image: wanted}
	if wanted != ours {
		p.why = fmt.Sprintf("%s is asked for instead of the bundle's %s", p.image, bundled)
	} else if !c.Host.Exists(release(j, "pause-image.tar")) {
		p.why = fmt.Sprintf("the bundle carries no archive of %s", p.image)
	}
	if inspect.Answers(ctx, c.Host, layout.ContainerdSocket) != nil {
		return p, nil
	}
	output, err := c.Host.Runner.Run(ctx, ctr(c, "images", "list", "name=="+p.image))
	if err != nil {
		return p, fmt.Errorf("listing images: %w", err)
	}
	for line := range strings.Lines(string(output)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == p.image {
			p.present, p.pinned = true, strings.Contains(line, pinned)
		}
	}
	return p, nil
}

func checkPause(ctx context.Context, c *node.Context) (bool, string, error) {
	if c.Operation.Join.Containerd.External {
		return true, externalPause(c.Operation.Join), nil
	}
	p, err := readPause(ctx, c)
	switch {
	case err != nil:
		return false, "", err
	case p.image == "":
		return false, "the pause image has to be imported", nil
	case p.present && p.pinned:
		return true, p.image + " is there and pinned", nil
	case p.present:
		return false, p.image + " has to be pinned", nil
	case p.why != "":
		return true, p.why + ", so it is pulled when it is first needed, and pinned then", nil
	}
	return false, p.image + " has to be imported", nil
}

// externalPause returns a remark on the pause image of a runtime that is not Argosy's.
func externalPause(j *spec.Join) string {
	if j.Containerd.PauseImage == "" {
		return "the runtime that was there has its own pause image"
	}
	return "the runtime that was there keeps its own pause image; set " + j.Containerd.PauseImage +
		" in its configuration if it is to have that"
}

func applyPause(ctx context.Context, c *node.Context) (string, error) {
	p, err := readPause(ctx, c)
	if err != nil {
		return "", err
	}
	if p.present || p.why != "" {
		return p.image + " pinned", pin(ctx, c, p.image)
	}
	archive := c.Host.Path(release(c.Operation.Join, "pause-image.tar"))
	args := images.ImportArgs(ctx, c.Host, ctr(c, "images", "import", "--help"))
	if _, err := c.Host.Runner.Run(ctx, ctr(c, append(args, "--label", pinned, archive)...)); err != nil {
		// The ctr of containerd 1.x cannot label while it imports.
		if _, err := c.Host.Runner.Run(ctx, ctr(c, append(args, archive)...)); err != nil {
			return "", fmt.Errorf("importing image %q: %w", p.image, err)
		}
		if err := images.Flush(ctx, c.Host, args); err != nil {
			return "", err
		}
		if err := pin(ctx, c, p.image); err != nil {
			return "", err
		}
		return p.image + " imported", nil
	}
	return p.image + " imported", images.Flush(ctx, c.Host, args)
}

func pin(ctx context.Context, c *node.Context, image string) error {
	if _, err := c.Host.Runner.Run(ctx, ctr(c, "images", "label", image, pinned)); err != nil {
		return fmt.Errorf("pinning image %q: %w", image, err)
	}
	return nil
}

// ctr returns a command of containerd's client in the kubelet's namespace.
func ctr(c *node.Context, args ...string) host.Command {
	j := c.Operation.Join
	argv := []string{
		c.Host.Path(program(j, "ctr")), "--address", c.Host.Path(layout.ContainerdSocket), "--namespace",
		"k8s.io",
	}
	return host.Command{Argv: append(argv, args...), Env: searchPath(j), Log: c.Log}
}

// searchPath returns a PATH that begins with the folder of the binaries, so that programs find each other.
func searchPath(j *spec.Join) []string {
	return []string{"PATH=" + j.BinariesPath + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
}
