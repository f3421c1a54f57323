package join

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

// pollInterval is the time between two checks that a service answers.
const pollInterval = 25 * time.Millisecond

// containerdService returns containerd's unit with its files; errNoBundle when no bundle is unpacked.
func containerdService(h *host.Host, op *spec.Operation) (service, error) {
	j := op.Join
	manifest, err := bundle.ReadManifest(h.Path(bundleDir(j)))
	if err != nil {
		return service{}, fmt.Errorf("%w: %w", errNoBundle, err)
	}
	settings := containerdSettings{
		join: j, version: manifest.Versions["containerd"], pause: pauseImage(h, j),
		logins: op.Secrets.Registries, others: readOtherRuntimes(h, j.Containerd.CgroupDriver),
	}
	s := service{name: "containerd", binary: digestOf(manifest, "release/containerd")}
	if len(settings.logins) == 0 {
		s.obsolete = []string{layout.RegistryLogins}
	} else {
		logins, err := settings.renderLogins()
		if err != nil {
			return service{}, err
		}
		// Before the file that imports it: containerd does not start when it is missing.
		s.files = append(s.files, file{name: layout.RegistryLogins, content: logins, secret: true})
	}
	config, err := settings.render()
	if err != nil {
		return service{}, err
	}
	s.files = append(s.files,
		file{name: layout.ContainerdConfig, content: config},
		file{name: layout.Unit("containerd"), content: renderContainerdUnit(j)},
	)
	return s, nil
}

var errNoBundle = errors.New("the bundle is not unpacked yet")

func digestOf(manifest *bundle.Manifest, path string) string {
	for _, f := range manifest.Files {
		if f.Path == path {
			return f.SHA256
		}
	}
	return ""
}

// pauseImage returns the image of every pod's first container.
func pauseImage(h *host.Host, j *spec.Join) string {
	if j.Containerd.PauseImage != "" {
		return j.Containerd.PauseImage
	}
	return bundledPauseImage(h, j)
}

// bundledPauseImage returns the name of the bundle's own pause image.
func bundledPauseImage(h *host.Host, j *spec.Join) string {
	return h.ReadLine(release(j, "pause-image.txt"))
}

func checkContainerd(ctx context.Context, c *node.Context) (bool, string, error) {
	if c.Operation.Join.Containerd.External {
		return checkRuntime(ctx, c)
	}
	s, err := containerdService(c.Host, c.Operation)
	if errors.Is(err, errNoBundle) {
		c.AddChanges(spec.Change{What: "service containerd", Effect: spec.RestartsContainerd})
		return false, "containerd has to be set up", nil
	}
	if err != nil {
		return false, "", err
	}
	if missing := s.missing(c); missing != "" {
		return false, missing, nil
	}
	if err := inspect.Answers(ctx, c.Host, layout.ContainerdSocket); err != nil {
		c.AddChanges(spec.Change{What: "service containerd", Effect: spec.RestartsContainerd})
		return false, "containerd has to be started: " + err.Error(), nil
	}
	return true, "containerd runs with Argosy's configuration", nil
}

func applyContainerd(ctx context.Context, c *node.Context) (string, error) {
	if c.Operation.Join.Containerd.External {
		return waitForRuntime(ctx, c)
	}
	s, err := containerdService(c.Host, c.Operation)
	if err != nil {
		return "", err
	}
	if err := noteContainerd(ctx, c); err != nil {
		return "", err
	}
	note, err := original.Read(c.Host)
	if err != nil {
		return "", err
	}
	foreign := c.Host.Exists(layout.ContainerdConfig) && !inspect.Marked(c.Host, layout.ContainerdConfig) &&
		note.Of(layout.ContainerdConfig) == nil
	edited, err := s.write(c.Host)
	if err != nil {
		return "", err
	}
	if err := systemctl(ctx, c, "daemon-reload"); err != nil {
		return "", err
	}
	c.SetMessage("starting containerd")
	// The unit has Type=notify, so the restart returns when containerd is ready.
	if err := systemctl(ctx, c, "restart", "containerd.service"); err != nil {
		return "", withJournal(ctx, c, "containerd.service", err)
	}
	if err := waitForSocket(ctx, c.Host, layout.ContainerdSocket); err != nil {
		return "", withJournal(ctx, c, "containerd.service", err)
	}
	if err := s.applied(c.Host); err != nil {
		return "", err
	}
	detail := "containerd started" + keptAs(edited)
	if foreign {
		detail += fmt.Sprintf("; the %s that was there comes back by a reset; "+
			"settings of it that are needed until then go into %s",
			layout.ContainerdConfig, filepath.Dir(layout.ContainerdDropIns))
	}
	return detail, nil
}

func waitForSocket(ctx context.Context, h *host.Host, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := inspect.Answers(ctx, h, socket)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for containerd: %w", err)
		case <-time.After(pollInterval):
		}
	}
}

// majorMinor parses "v2.1.4" as 2, 1. A version that it cannot parse counts as the newest, since new forms come with
// new versions.
func majorMinor(version string) (int, int) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return 99, 0
	}
	major, errMajor := strconv.Atoi(parts[0])
	minor, errMinor := strconv.Atoi(parts[1])
	if errMajor != nil || errMinor != nil {
		return 99, 0
	}
	return major, minor
}

func renderContainerdUnit(j *spec.Join) []byte {
	return fmt.Appendf(nil, `%s: the container runtime of a Kubernetes node.
[Unit]
Description=containerd
Documentation=https://containerd.io
After=network.target local-fs.target dbus.service

[Service]
Type=notify
Environment=PATH=%s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=%s
Restart=always
RestartSec=2
# Containers outlive their runtime.
KillMode=process
Delegate=yes
LimitNPROC=infinity
LimitCORE=infinity
LimitNOFILE=1048576
TasksMax=infinity
OOMScoreAdjust=-999

[Install]
WantedBy=multi-user.target
`, inspect.Mark, j.BinariesPath, program(j, "containerd"))
}
