package reset

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// apart does something with a network and mounts of its own, which only root may.
func apart(t *testing.T, do func() error) {
	t.Helper()
	done, refused := make(chan error, 1), make(chan error, 1)
	go func() {
		// Go ends a thread with the goroutine that locked it, and the namespaces with the thread.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			refused <- err
			return
		}
		done <- errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), do())
	}()
	select {
	case err := <-refused:
		t.Skipf("a network of its own is not to be had here: %v", err)
	case err := <-done:
		assert.NilError(t, err)
	}
}

func jump(to string) []expr.Any {
	return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictJump, Chain: to}}
}

// filterRules are those of a node with many Services, beside others' that look alike.
func filterRules() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	nat := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "nat"})
	base := c.AddChain(&nftables.Chain{
		Table: nat, Name: "PREROUTING", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	for _, name := range []string{"KUBE-SERVICES", "FLANNEL-POSTRTG", "CNI-HOSTPORT-DNAT", "DOCKER"} {
		chain := c.AddChain(&nftables.Chain{Table: nat, Name: name})
		c.AddRule(&nftables.Rule{Table: nat, Chain: base, Exprs: jump(name)})
		if name == "KUBE-SERVICES" {
			for i := range 2 * batch {
				if i%50 == 0 {
					// The kernel repeats each rule that it is given.
					if err := c.Flush(); err != nil {
						return fmt.Errorf("setting up: %w", err)
					}
				}
				service := c.AddChain(&nftables.Chain{Table: nat, Name: fmt.Sprintf("KUBE-SVC-%d", i)})
				c.AddRule(&nftables.Rule{Table: nat, Chain: chain, Exprs: jump(service.Name)})
			}
		}
	}
	kubeProxy := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv6, Name: "kube-proxy"})
	c.AddChain(&nftables.Chain{Table: kubeProxy, Name: "services"})
	own := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "site"})
	c.AddChain(&nftables.Chain{Table: own, Name: "KUBE-LOOKALIKE"})
	return c.Flush()
}

func TestOnlyANodesRulesAreRemovedFromThePacketFilter(t *testing.T) {
	var before, left, chains []string
	leading := 0
	apart(t, func() (err error) {
		if err := filterRules(); err != nil {
			return err
		}
		if before, err = (linux{}).Rules(&podNetworks{}); err != nil {
			return err
		}
		if err := (linux{}).RemoveRules(&podNetworks{}); err != nil {
			return err
		}
		if left, err = (linux{}).Rules(&podNetworks{}); err != nil {
			return err
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		all, err := c.ListChains()
		for _, chain := range all {
			chains = append(chains, family(chain.Table)+" "+chain.Table.Name+" "+chain.Name)
			if chain.Name == "PREROUTING" {
				rules, listErr := c.GetRules(chain.Table, chain)
				leading, err = len(rules), errors.Join(err, listErr)
			}
		}
		return errors.Join(err, (linux{}).RemoveRules(&podNetworks{}))
	})
	assert.Equal(t, len(before), 1+3+2*batch)
	assert.Equal(t, before[0], "ip6 kube-proxy")
	assert.Equal(t, len(left), 0, "%v", left)
	slices.Sort(chains)
	assert.DeepEqual(t, chains, []string{"inet site KUBE-LOOKALIKE", "ip nat DOCKER", "ip nat PREROUTING"})
	assert.Equal(t, leading, 1, "rules of others' chains")
}

func TestLinksAreListedWithTheirMastersAndRemovedOnce(t *testing.T) {
	var links, left []link
	apart(t, func() (err error) {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cni0"}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		port := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "veth1", MasterIndex: bridge.Index}, PeerName: "veth2"}
		if err := netlink.LinkAdd(port); err != nil {
			return err
		}
		if links, err = (&cleaner{kernel: linux{}}).kernel.Links(); err != nil {
			return err
		}
		for _, name := range []string{"veth1", "veth2", "cni0", "cni0"} {
			if err := (linux{}).RemoveLink(name); err != nil {
				return err
			}
		}
		left, err = linux{}.Links()
		return err
	})
	assert.Assert(t, slices.Contains(links, link{"cni0", "bridge", ""}) &&
		slices.Contains(links, link{"veth1", "veth", "cni0"}), "%v", links)
	assert.Assert(t, !slices.ContainsFunc(left, func(l link) bool { return l.Name != "lo" }), "%v", left)
}

func TestWhatIsMountedIsTakenAwayEvenInUse(t *testing.T) {
	dir := t.TempDir()
	var again error
	apart(t, func() error {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
		file, err := os.Create(filepath.Join(dir, "open"))
		if err != nil {
			return err
		}
		defer file.Close()
		if err := (linux{}).Unmount(dir); err != nil {
			return err
		}
		again = linux{}.Unmount(dir)
		return nil
	})
	assert.ErrorIs(t, again, unix.EINVAL)
}

func TestLegacyRulesAreRemovedByTheMachinesOwnProgram(t *testing.T) {
	if _, err := exec.LookPath("iptables-legacy"); err != nil {
		t.Skip("there is no iptables-legacy here")
	}
	n := savesOf(t)
	var found, left []string
	var saved string
	apart(t, func() (err error) {
		for _, rule := range []string{
			"-N KUBE-SERVICES", "-N KUBE-SVC", "-N DOCKER",
			"-A PREROUTING -m comment --comment kubernetes -j KUBE-SERVICES", "-A PREROUTING -j DOCKER",
			"-A KUBE-SERVICES -j KUBE-SVC",
		} {
			argv := append([]string{"-t", "nat"}, strings.Fields(rule)...)
			if output, err := exec.Command("iptables-legacy", argv...).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, output)
			}
		}
		if found, err = findLegacy(t.Context(), n, &podNetworks{}); err != nil {
			return err
		}
		if err := removeLegacy(t.Context(), n, &podNetworks{}); err != nil {
			return err
		}
		if left, err = findLegacy(t.Context(), n, &podNetworks{}); err != nil {
			return err
		}
		output, err := exec.Command("iptables-legacy-save", "-t", "nat").Output()
		saved = string(output)
		return err
	})
	assert.DeepEqual(t, found, []string{"iptables-legacy nat KUBE-SERVICES", "iptables-legacy nat KUBE-SVC"})
	assert.Equal(t, len(left), 0, "%v", left)
	assert.Assert(t, strings.Contains(saved, "-A PREROUTING -j DOCKER") && !strings.Contains(saved, "KUBE"), saved)
}

// savesOf is a machine that has this computer's programs for legacy rules, if there are any.
func savesOf(t *testing.T) *node.Context {
	t.Helper()
	h := &host.Host{Root: t.TempDir(), Runner: host.Processes{}}
	link := func(to, name string) {
		assert.NilError(t, os.MkdirAll(filepath.Dir(h.Path(name)), 0o755))
		assert.NilError(t, os.Symlink(to, h.Path(name)))
	}
	for _, name := range []string{"iptables-legacy-save", "iptables-legacy-restore"} {
		if file, err := exec.LookPath(name); err == nil {
			link(file, "/usr/sbin/"+name)
		}
	}
	link("/proc/thread-self/net", "/proc/net")
	return &node.Context{Operation: &spec.Operation{ID: "reset-1"}, Host: h, Store: node.NewStore(h), Log: io.Discard}
}
