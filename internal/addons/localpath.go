package addons

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// defaultNodePath is the folder on the node that holds volumes; SELinux policies for it exist.
const defaultNodePath = "/opt/local-path-provisioner"

func localPathProvisioner(s *site) (Addon, error) {
	settings := s.cluster.VCluster.Deploy.LocalPathProvisioner
	if !settings.Enabled {
		return Addon{}, nil
	}
	path := settings.NodePath
	if path == "" {
		path = defaultNodePath
	}
	d := read(s, "local-path-provisioner")
	d.pull("local-path-provisioner", map[string]string{"local-path-provisioner": settings.Image},
		settings.ImagePullPolicy)
	edit(d, "local-path-config", func(c *corev1.ConfigMap) (err error) {
		if c.Data["config.json"], err = localPaths(path); err != nil {
			return err
		}
		c.Data["helperPod.yaml"], err = d.helperPod(c.Data["helperPod.yaml"], settings.ImagePullPolicy)
		return err
	})
	d.restartWith("local-path-config")
	return d.addon()
}

// localPaths writes the provisioner's configuration: one folder for all nodes.
func localPaths(path string) (string, error) {
	type entry struct {
		Node  string   `json:"node"`
		Paths []string `json:"paths"`
	}
	content, err := json.MarshalIndent(map[string][]entry{
		"nodePathMap": {{Node: "DEFAULT_PATH_FOR_NON_LISTED_NODES", Paths: []string{path}}},
	}, "", "  ")
	return string(content) + "\n", err
}

// helperPod gives the pod that makes and removes folders its image.
func (d *draft) helperPod(manifest, policy string) (string, error) {
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(manifest), &pod); err != nil {
		return "", fmt.Errorf("reading helperPod.yaml of manifest %q: %w", d.name, err)
	}
	container := &pod.Spec.Containers[0]
	container.Image = d.image(container.Image, "")
	container.ImagePullPolicy = corev1.PullPolicy(policy)
	content, err := yaml.Marshal(map[string]any{
		"apiVersion": pod.APIVersion, "kind": pod.Kind, "metadata": map[string]any{"name": pod.Name}, "spec": pod.Spec,
	})
	return string(content), err
}
