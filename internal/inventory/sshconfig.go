package inventory

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kevinburke/ssh_config"
)

// SSHConfig reads an OpenSSH client's configuration: each host that it names without a pattern, with HostName, User,
// Port and ProxyJump, of which the first that matches holds, as ssh has it.
func SSHConfig(text []byte) ([]Host, error) {
	parsed, err := ssh_config.Decode(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("reading the SSH configuration: %w", err)
	}
	var hosts []Host
	for _, section := range parsed.Hosts {
		for _, pattern := range section.Patterns {
			name := pattern.String()
			known := slices.ContainsFunc(hosts, func(h Host) bool { return h.Name == name })
			if known || strings.ContainsAny(name, "*?!") {
				continue
			}
			host, err := inSSHConfig(parsed, name)
			if err != nil {
				return nil, fmt.Errorf("reading host %q of the SSH configuration: %w", name, err)
			}
			hosts = append(hosts, host)
		}
	}
	return hosts, nil
}

// inSSHConfig returns the host of a name with its bastions.
func inSSHConfig(parsed *ssh_config.Config, name string) (Host, error) {
	host, err := endpoint(parsed, name)
	if err != nil {
		return host, err
	}
	command, err := valueOf(parsed, name, "ProxyCommand")
	if err != nil {
		return host, err
	}
	if command != "" {
		return host, fmt.Errorf("it has a ProxyCommand, %q; only ProxyJump is known", command)
	}
	jumps, err := valueOf(parsed, name, "ProxyJump")
	if err != nil || jumps == "" {
		return host, err
	}
	for _, text := range strings.Split(jumps, ",") {
		bastion, err := hop(text)
		if err != nil {
			return host, err
		}
		if bastion.Address == name {
			return host, nil // a section for all hosts, the bastion included
		}
		of, err := endpoint(parsed, bastion.Address)
		if err != nil {
			return host, err
		}
		host.Bastions = append(host.Bastions, Hop{
			Address: of.Address, User: cmp.Or(bastion.User, of.User), Port: cmp.Or(bastion.Port, of.Port),
		})
	}
	return host, nil
}

// endpoint returns the host of a name without its bastions.
func endpoint(parsed *ssh_config.Config, name string) (Host, error) {
	host := Host{Name: name, Address: name}
	address, err := valueOf(parsed, name, "HostName")
	if err != nil {
		return host, err
	}
	if address != "" {
		host.Address = strings.ReplaceAll(address, "%h", name)
	}
	if host.User, err = valueOf(parsed, name, "User"); err != nil {
		return host, err
	}
	number, err := valueOf(parsed, name, "Port")
	if err != nil {
		return host, err
	}
	host.Port, err = port(number)
	return host, err
}

// valueOf returns the value of a key that holds for a host; empty for none, and for the word none.
func valueOf(parsed *ssh_config.Config, name, key string) (string, error) {
	value, err := parsed.Get(name, key)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", key, err)
	}
	if value = strings.Trim(value, `"`); value == "none" {
		value = ""
	}
	return value, nil
}
