package site

import (
	"fmt"
	"os"
	"path/filepath"

	"argosy.dev/argosy/test/lab"
)

// Secret names of the site.
const (
	kubeconfigSecret = "team-a-kubeconfig"
	rootSecret       = "team-a-ssh"
	sudoSecret       = "team-a-ssh-sudo"
	knownHostsSecret = "team-a-known-hosts"
)

// Overrides are a test's changes of the documents; zero values keep the site's own.
type Overrides struct {
	// Version of Kubernetes in vcluster.yaml.
	Version string
	// Bundles replaces the section.
	Bundles map[string]any
	// Join replaces the section.
	Join map[string]any
	// Limits replaces the section.
	Limits map[string]any
	// Machine changes one machine's entry.
	Machine func(entry map[string]any)
	// KubeconfigSecret of another name.
	KubeconfigSecret string
	// VCluster changes vcluster.yaml, and Document argosy.yaml, before they are applied.
	VCluster, Document func(document map[string]any)
}

// Documents are the ConfigMap, Secrets and permissions of cluster team-a for the lab's five machines.
func (s *Site) Documents(change Overrides) ([]any, error) {
	secrets, err := s.secrets()
	if err != nil {
		return nil, err
	}
	config, err := s.ConfigMap(change)
	if err != nil {
		return nil, err
	}
	return append(secrets, config, readRole(), readBinding()), nil
}

// ConfigMap holds both documents.
func (s *Site) ConfigMap(change Overrides) (any, error) {
	fleet, err := s.fleet(change)
	if err != nil {
		return nil, err
	}
	version := change.Version
	if version == "" {
		version = Version
	}
	document := map[string]any{
		"privateNodes": map[string]any{"enabled": true},
		"controlPlane": map[string]any{"distro": map[string]any{"k8s": map[string]any{
			"image": map[string]any{"tag": version},
		}}},
	}
	ignoreChecks(document)
	if change.VCluster != nil {
		change.VCluster(document)
	}
	if change.Document != nil {
		change.Document(fleet)
	}
	vcluster, err := toYAML(document)
	if err != nil {
		return nil, err
	}
	argosy, err := toYAML(fleet)
	if err != nil {
		return nil, err
	}
	return object("v1", "ConfigMap", TeamA, map[string]any{"data": map[string]any{
		"vcluster.yaml": vcluster,
		"argosy.yaml":   argosy,
	}}), nil
}

func (s *Site) fleet(change Overrides) (map[string]any, error) {
	var machines []any
	for _, m := range s.Lab.Members() {
		entry, err := s.machine(m)
		if err != nil {
			return nil, err
		}
		if change.Machine != nil {
			change.Machine(entry)
		}
		machines = append(machines, entry)
	}
	fleet := map[string]any{
		"apiVersion": "argosy.dev/v1alpha1",
		"kind":       "Fleet",
		"cluster":    map[string]any{"kubeconfigSecret": or(change.KubeconfigSecret, kubeconfigSecret)},
		"ssh":        map[string]any{"secret": rootSecret, "knownHostsSecret": knownHostsSecret},
		"machines":   machines,
		"bundles":    map[string]any{"repository": lab.RepositoryURL},
	}
	for key, section := range map[string]map[string]any{
		"bundles": change.Bundles, "join": change.Join,
		"limits": change.Limits,
	} {
		if section != nil {
			fleet[key] = section
		}
	}
	return fleet, nil
}

func or(value, fallback string) string {
	if value != "" {
		return value
	}
	return fallback
}

// machine is the entry of one lab machine, reached as it wants to be reached. Its key is pinned where it stands behind
// a bastion, so that both ways of knowing a host are in use.
func (s *Site) machine(m lab.MachineSpec) (map[string]any, error) {
	ssh := map[string]any{}
	if m.Login != "root" {
		ssh["user"] = m.Login
	}
	if m.Sudo == "password" {
		ssh["secret"] = sudoSecret
	}
	if m.Bastion != "" {
		bastion, err := s.Lab.Spec(m.Bastion)
		if err != nil {
			return nil, err
		}
		key, err := s.Lab.HostKey(m.Name)
		if err != nil {
			return nil, err
		}
		bastionKey, err := s.Lab.HostKey(bastion.Name)
		if err != nil {
			return nil, err
		}
		ssh["hostKeys"] = []string{key}
		ssh["bastions"] = []any{map[string]any{
			"address": bastion.Address, "user": bastion.Login,
			"hostKeys": []string{bastionKey},
		}}
	}
	entry := map[string]any{"name": m.Name, "address": m.Address, "labels": map[string]any{"lab": "argosy"}}
	if len(ssh) > 0 {
		entry["ssh"] = ssh
	}
	return entry, nil
}

func (s *Site) secrets() ([]any, error) {
	kubeconfig, err := os.ReadFile(s.Lab.KubeconfigPath(TeamA))
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of %s: %w", TeamA, err)
	}
	secrets, err := s.sshSecrets()
	if err != nil {
		return nil, err
	}
	return append(secrets, secret(kubeconfigSecret, map[string]any{"value": string(kubeconfig)})), nil
}

func secret(name string, data map[string]any) any {
	return object("v1", "Secret", name, map[string]any{"stringData": data})
}

// sshSecrets are how the lab's machines are reached.
func (s *Site) sshSecrets() ([]any, error) {
	files := map[string]string{
		"key":      s.Lab.KeyPath(),
		"known":    s.Lab.KnownHostsPath(),
		"password": filepath.Join(s.Lab.StateDir(), "secrets", "ops-password"),
	}
	content := map[string]string{}
	for name, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading the lab's %s: %w", name, err)
		}
		content[name] = string(data)
	}
	return []any{
		secret(rootSecret, map[string]any{"ssh-privatekey": content["key"]}),
		secret(sudoSecret, map[string]any{"ssh-privatekey": content["key"], "sudo-password": content["password"]}),
		secret(knownHostsSecret, map[string]any{"known_hosts": content["known"]}),
	}, nil
}

// readRole lets the plugin read only the objects that this cluster names, as examples/team-a/rbac.yaml does.
func readRole() any {
	return object("rbac.authorization.k8s.io/v1", "Role", "argosy-cluster-team-a", map[string]any{"rules": []any{
		map[string]any{
			"apiGroups": []string{""}, "resources": []string{"configmaps"},
			"resourceNames": []string{TeamA}, "verbs": []string{"get"},
		},
		map[string]any{
			"apiGroups": []string{""}, "resources": []string{"secrets"}, "verbs": []string{"get"},
			"resourceNames": []string{kubeconfigSecret, rootSecret, sudoSecret, knownHostsSecret},
		},
	}})
}

func readBinding() any {
	return object("rbac.authorization.k8s.io/v1", "RoleBinding", "argosy-cluster-team-a", map[string]any{
		"roleRef": map[string]any{
			"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
			"name": "argosy-cluster-team-a",
		},
		"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "argosy-executor-plugin"}},
	})
}

// ignoredChecks is the key of the checks that a join leaves out.
const ignoredChecks = "privateNodes.joinNode.nodeRegistration.ignorePreflightErrors"

// IgnoredChecks returns the value of that key for the lab's machines, with the checks given.
func IgnoredChecks(checks ...string) []any {
	ignored := []any{}
	for _, check := range checks {
		ignored = append(ignored, check)
	}
	if cgroupV1() {
		// kubeadm refuses cgroup v1 from 1.35 on, whatever the kubelet's configuration allows.
		ignored = append(ignored, "SystemVerification")
	}
	return ignored
}

// ignoreChecks writes the key into vcluster.yaml, where the lab's machines need it.
func ignoreChecks(document map[string]any) {
	if ignored := IgnoredChecks(); len(ignored) > 0 {
		Set(document, ignoredChecks, ignored)
	}
}

// cgroupV1 reports whether this computer, and so each machine of the lab, has cgroups of version 1.
func cgroupV1() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err != nil
}
