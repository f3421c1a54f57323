package join

import (
	"context"
	"errors"
	"fmt"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

func kubeletService(h *host.Host, j *spec.Join) (service, error) {
	manifest, err := bundle.ReadManifest(h.Path(bundleDir(j)))
	if err != nil {
		return service{}, fmt.Errorf("%w: %w", errNoBundle, err)
	}
	return service{
		name:   "kubelet",
		binary: digestOf(manifest, "release/kubelet"),
		files: []file{
			{name: layout.Unit("kubelet"), content: renderKubeletUnit(j)},
			{name: layout.KubeletDropIn, content: renderKubeletDropIn(j)},
		},
	}, nil
}

func checkKubelet(_ context.Context, c *node.Context) (bool, string, error) {
	s, err := kubeletService(c.Host, c.Operation.Join)
	if errors.Is(err, errNoBundle) {
		c.AddChanges(spec.Change{What: "service kubelet", Effect: spec.RestartsKubelet})
		return false, "the kubelet's unit has to be installed", nil
	}
	if err != nil {
		return false, "", err
	}
	if missing := s.missing(c); missing != "" {
		return false, missing, nil
	}
	return true, "the kubelet's unit is installed and enabled", nil
}

// applyKubelet installs the unit. It does not start it: kubeadm does, after telling systemd to read its units again.
// Only a kubelet that runs already gets the new unit here.
func applyKubelet(ctx context.Context, c *node.Context) (string, error) {
	s, err := kubeletService(c.Host, c.Operation.Join)
	if err != nil {
		return "", err
	}
	edited, err := s.write(c.Host)
	if err != nil {
		return "", err
	}
	detail := "unit installed"
	if c.Host.Exists(layout.KubeletConfig) {
		if err := systemctl(ctx, c, "daemon-reload"); err != nil {
			return "", err
		}
		if _, err := restartKubelet(ctx, c, "try-restart"); err != nil {
			return "", withJournal(ctx, c, "kubelet.service", err)
		}
		detail = "unit installed, kubelet restarted if it ran"
	}
	return detail + keptAs(edited), s.applied(c.Host)
}

func renderKubeletUnit(j *spec.Join) []byte {
	return fmt.Appendf(nil, `%s: the kubelet of a Kubernetes node.
[Unit]
Description=kubelet
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target containerd.service
# It has nothing to do before kubeadm wrote its configuration.
ConditionPathExists=%s
StartLimitIntervalSec=0

[Service]
Environment=PATH=%s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=%s
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
`, inspect.Mark, layout.KubeletConfig, j.BinariesPath, program(j, "kubelet"))
}

// renderKubeletDropIn returns the drop-in by which the unit reads kubeadm's flags, as in kubeadm's own package.
func renderKubeletDropIn(j *spec.Join) []byte {
	return fmt.Appendf(nil, `%s: how kubeadm configures the kubelet.
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=%s --kubeconfig=%s"
Environment="KUBELET_CONFIG_ARGS=--config=%s"
EnvironmentFile=-%s
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=%s $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
`, inspect.Mark, layout.BootstrapConf, inspect.KubeletConf, layout.KubeletConfig, layout.KubeletFlags,
		program(j, "kubelet"))
}
