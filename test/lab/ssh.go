package lab

// SSHArgv is a command line of OpenSSH that logs in to a machine with the lab's
// key, over the bastion where there is one; add a command to run there.
func (l *Lab) SSHArgv(name string) ([]string, error) {
	m, err := l.Spec(name)
	if err != nil {
		return nil, err
	}
	options := []string{
		"-F", "none", "-i", l.KeyPath(), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile=" + l.KnownHostsPath(), "-o", "LogLevel=ERROR",
	}
	argv := append([]string{"ssh"}, options...)
	if m.Bastion != "" {
		bastion, err := l.SSHArgv(m.Bastion)
		if err != nil {
			return nil, err
		}
		host := bastion[len(bastion)-1]
		jump := append(bastion[:len(bastion)-1:len(bastion)-1], "-W", "[%h]:%p", host)
		argv = append(argv, "-o", "ProxyCommand="+quoteArgv(jump))
	}
	return append(argv, m.Login+"@"+m.Address), nil
}
