package lab

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// bootScript makes a container look to kubelet like a machine.
//
//go:embed manifests/boot.sh
var bootScript string

//go:embed manifests/lab-boot.service
var bootUnit string

// machineFiles lists the files of a machine's disk beyond the common root file system: those that the owner of a site
// would have put there, and nothing of Argosy's.
func (l *Lab) machineFiles(ctx context.Context, m MachineSpec, in inputs) ([]file, error) {
	files := []file{
		{path: "/etc/hostname", mode: 0o644, data: m.Name + "\n"},
		{path: "/etc/hosts", mode: 0o644, data: hostsFile()},
		{path: "/etc/machine-id", mode: 0o444, data: machineID(l.state, m.Name) + "\n"},
		{path: "/usr/local/sbin/lab-boot", mode: 0o755, data: bootScript},
		{path: "/etc/systemd/system/lab-boot.service", mode: 0o644, data: bootUnit},
		{path: "/etc/systemd/system/sysinit.target.wants/lab-boot.service", link: true, data: "../lab-boot.service"},
	}
	ssh, err := l.sshFiles(m)
	if err != nil {
		return nil, err
	}
	files = append(files, ssh...)
	login, err := l.loginFiles(ctx, m, in.rootfs)
	if err != nil {
		return nil, err
	}
	files = append(files, login...)
	files = append(files, kubernetesSiteFiles(m)...)
	if m.WithoutSCP {
		files = append(files, file{path: "/usr/bin/scp", gone: true},
			file{path: "/usr/lib/openssh/sftp-server", gone: true})
	}
	if m.hasCluster() {
		cluster, err := clusterFiles(m, in.pause)
		if err != nil {
			return nil, err
		}
		files = append(files, cluster...)
	}
	return files, nil
}

func hostsFile() string {
	lines := []string{"127.0.0.1 localhost"}
	for _, m := range machines() {
		lines = append(lines, m.Address+" "+m.Name)
	}
	return strings.Join(lines, "\n") + "\n"
}

// machineID is stable for a machine of a lab and differs between machines.
func machineID(state, name string) string {
	sum := sha256.Sum256([]byte(state + "\n" + name))
	return hex.EncodeToString(sum[:16])
}

// sshFiles are sshd's keys and settings.
func (l *Lab) sshFiles(m MachineSpec) ([]file, error) {
	config := []string{
		"HostKey /etc/ssh/ssh_host_ed25519_key",
		"TrustedUserCAKeys /etc/ssh/user_ca.pub",
		"UseDNS no",
		// Fleets are dialled in parallel, and tests dial a lot.
		"MaxStartups 100:30:200",
		"PermitRootLogin " + map[bool]string{true: "prohibit-password", false: "no"}[m.Login == "root"],
		"PasswordAuthentication " + yesNo(m.Sudo == "password"),
		"KbdInteractiveAuthentication " + yesNo(m.Sudo == "password"),
	}
	type source struct {
		name, target string
		mode         os.FileMode
	}
	sources := []source{
		{"host_" + m.Name, "/etc/ssh/ssh_host_ed25519_key", 0o600},
		{"host_" + m.Name + ".pub", "/etc/ssh/ssh_host_ed25519_key.pub", 0o644},
		{"ca_user.pub", "/etc/ssh/user_ca.pub", 0o644},
	}
	if certificate := "host_" + m.Name + "-cert.pub"; exists(filepath.Join(l.keysDir(), certificate)) {
		sources = append(sources, source{certificate, "/etc/ssh/ssh_host_ed25519_key-cert.pub", 0o644})
		config = append(config, "HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub")
	}
	files := []file{{path: "/etc/ssh/sshd_config.d/lab.conf", mode: 0o644, data: strings.Join(config, "\n") + "\n"}}
	for _, s := range sources {
		data, err := os.ReadFile(filepath.Join(l.keysDir(), s.name))
		if err != nil {
			return nil, fmt.Errorf("reading key %q: %w", s.name, err)
		}
		files = append(files, file{path: s.target, mode: s.mode, data: string(data)})
	}
	return files, nil
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// loginFiles let the lab's keys in as the machine's user, and set what that user may do.
func (l *Lab) loginFiles(ctx context.Context, m MachineSpec, rootfs string) ([]file, error) {
	keys, err := l.authorizedKeys()
	if err != nil {
		return nil, err
	}
	home, owner, err := account(rootfs, m.Login)
	if err != nil {
		return nil, err
	}
	files := []file{{
		path: filepath.Join(home, ".ssh/authorized_keys"), mode: 0o600, owner: owner,
		data: keys,
	}}
	switch m.Sudo {
	case "nopasswd":
		files = append(files, file{path: "/etc/sudoers.d/ops", mode: 0o440, data: "ops ALL=(ALL:ALL) NOPASSWD: ALL\n"})
	case "password":
		shadow, err := l.shadowWithPassword(ctx, rootfs)
		if err != nil {
			return nil, err
		}
		files = append(files, file{path: "/etc/sudoers.d/ops", mode: 0o440, data: "ops ALL=(ALL:ALL) ALL\n"},
			file{path: "/etc/shadow", mode: 0o600, data: shadow})
	}
	return files, nil
}

// authorizedKeys are the lab's keys for every machine's user.
func (l *Lab) authorizedKeys() (string, error) {
	var keys strings.Builder
	for _, name := range []string{"id_ed25519", "id_passphrase"} {
		key, err := l.publicKey(name)
		if err != nil {
			return "", err
		}
		keys.WriteString(key + "\n")
	}
	return keys.String(), nil
}

// account reads a user's home and number from the root file system.
func account(rootfs, user string) (home string, id int, err error) {
	data, err := os.ReadFile(filepath.Join(rootfs, "etc/passwd"))
	if err != nil {
		return "", 0, fmt.Errorf("reading the accounts of %q: %w", rootfs, err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		if fields := strings.Split(line, ":"); len(fields) == 7 && fields[0] == user {
			id, err := strconv.Atoi(fields[2])
			if err != nil {
				return "", 0, fmt.Errorf("reading the number of user %q: %w", user, err)
			}
			return fields[5], id, nil
		}
	}
	return "", 0, fmt.Errorf("looking for user %q in %q: no such account", user, rootfs)
}

// shadowWithPassword is the root file system's shadow file in which ops has
// the lab's password. The salt is fixed per password so that the file, and with
// it the disk's stamp, stays the same.
func (l *Lab) shadowWithPassword(ctx context.Context, rootfs string) (string, error) {
	password, err := os.ReadFile(filepath.Join(l.secretsDir(), "ops-password"))
	if err != nil {
		return "", fmt.Errorf("reading the password of ops: %w", err)
	}
	salt := sha256.Sum256(password)
	hash, err := runInput(ctx, strings.NewReader(string(password)), "openssl", "passwd", "-6", "-salt",
		hex.EncodeToString(salt[:6]), "-stdin")
	if err != nil {
		return "", fmt.Errorf("hashing the password of ops: %w", err)
	}
	shadow, err := os.ReadFile(filepath.Join(rootfs, "etc/shadow"))
	if err != nil {
		return "", fmt.Errorf("reading the passwords of %q: %w", rootfs, err)
	}
	lines := strings.Split(string(shadow), "\n")
	for i, line := range lines {
		if fields := strings.Split(line, ":"); fields[0] == "ops" {
			fields[1] = strings.TrimSpace(hash)
			lines[i] = strings.Join(fields, ":")
		}
	}
	return strings.Join(lines, "\n"), nil
}

// kubernetesSiteFiles are the settings that a site brings for any node: how pods get addresses, the settings that its
// containers need from containerd, and how to speak to the lab's registry.
func kubernetesSiteFiles(m MachineSpec) []file {
	var files []file
	if m.PodSubnet != "" {
		files = append(files, file{path: "/etc/cni/net.d/10-lab.conflist", mode: 0o644, data: cniConfig(m)})
	}
	if m.hasCluster() || m.Role == RoleMember {
		files = append(files, file{path: "/etc/containerd/conf.d/lab.toml", mode: 0o644, data: containerdDropIn},
			file{path: registriesFolder + "/" + RegistryAddress + "/hosts.toml", mode: 0o644, data: registryHosts()})
	}
	return files
}

// registriesFolder is where containerd looks for a registry's settings, if its configuration asks for it; Argosy's
// does, and so does the lab's own.
const registriesFolder = "/etc/containerd/certs.d"

// registryHosts tells containerd that the registry speaks plain HTTP.
func registryHosts() string {
	return fmt.Sprintf("server = \"http://%[1]s\"\n\n[host.\"http://%[1]s\"]\n"+
		"  capabilities = [\"pull\", \"resolve\"]\n", RegistryAddress)
}

// containerdDropIn is needed because the lab's root lacks CAP_SYS_RESOURCE in
// many places where it runs, and may then not lower a process's OOM score.
const containerdDropIn = `version = 3

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
`

func cniConfig(m MachineSpec) string {
	// The host cluster's pods speak to machines that have no route back to them.
	masquerade := m.Role == RoleHost
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "lab",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cni0",
      "isGateway": true,
      "ipMasq": %t,
      "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": %q}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, masquerade, m.PodSubnet)
}
