package lab

import (
	"context"
	"fmt"
)

// kubeletChain holds the rules of FirewallKubelets in the lab's switch.
const kubeletChain = "KUBELETS"

// FirewallKubelets drops packets of the host machine and its pods to the kubelets of members, TCP port 10250, or lets
// it pass again. It holds for connections that are open as well, and until it is ended or the lab's network is made
// again; reboots do not matter. To a machine behind the bastion there is no such way at any time.
func (l *Lab) FirewallKubelets(ctx context.Context, blocked bool) error {
	unlock, err := l.lock("firewall")
	if err != nil {
		return err
	}
	defer unlock()
	if err := removeKubeletChain(ctx); err != nil {
		return err
	}
	if !blocked {
		return nil
	}
	rules, err := l.kubeletRules()
	if err != nil {
		return err
	}
	for _, rule := range rules {
		if err := ebtables(ctx, rule...); err != nil {
			return fmt.Errorf("blocking kubelets: %w", err)
		}
	}
	return nil
}

// kubeletRules make the chain and send everything between two machines through it.
func (l *Lab) kubeletRules() ([][]string, error) {
	host, err := l.Spec("host")
	if err != nil {
		return nil, err
	}
	rules := [][]string{{"-N", kubeletChain, "-P", "RETURN"}}
	for _, m := range l.Members() {
		for _, source := range []string{host.Address, shapeOf(host, "").PodSubnet} {
			rules = append(rules, []string{
				"-A", kubeletChain, "-p", "IPv4", "--ip-source", source, "--ip-destination",
				m.Address,
				"--ip-protocol", "tcp", "--ip-destination-port", "10250", "-j", "DROP",
			})
		}
	}
	return append(rules, []string{"-A", "FORWARD", "-j", kubeletChain}), nil
}

func removeKubeletChain(ctx context.Context) error {
	if ebtables(ctx, "-L", kubeletChain) != nil {
		return nil
	}
	// The jump is missing where making the chain was interrupted.
	_ = ebtables(ctx, "-D", "FORWARD", "-j", kubeletChain)
	for _, step := range []string{"-F", "-X"} {
		if err := ebtables(ctx, step, kubeletChain); err != nil {
			return fmt.Errorf("letting kubelets be reached: %w", err)
		}
	}
	return nil
}

// ebtables filters frames between two ports, which iptables does not see.
func ebtables(ctx context.Context, args ...string) error {
	_, err := inNamespace(ctx, routerNamespace, append([]string{"ebtables"}, args...)...)
	return err
}
