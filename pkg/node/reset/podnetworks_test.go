package reset

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

const (
	podID    = "1111111111111111111111111111111111111111111111111111111111111111"
	podmanID = "2222222222222222222222222222222222222222222222222222222222222222"
)

// known are networks in which one pod is, or was, and no other container.
func known(network, id string) *podNetworks {
	p := &podNetworks{pods: newAttached(), others: newAttached()}
	p.pods.networks[network], p.pods.ids[id], p.pods.addresses["10.244.5.2"] = true, true, true
	return p
}

// result writes libcni's note of a container in a network; uid is the pod's, as its caller gives it.
func (m *machine) result(network, id, uid, bridge, link, address string) {
	m.t.Helper()
	m.write(resultsDir+"/"+network+"-"+id+"-eth0",
		fmt.Sprintf(`{"kind":"cniCacheV1","containerId":%q,"networkName":%q,"ifName":"eth0",
"cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAMESPACE","x"],["K8S_POD_NAME","x"],["K8S_POD_UID",%q]],
"result":{"cniVersion":"1.0.0","interfaces":[{"name":%q},{"name":%q},{"name":"eth0","sandbox":"/var/run/netns/cni-%s"}],
"ips":[{"interface":2,"address":"%s/24"}]}}`, id, network, uid, bridge, link, id[:1], address))
	m.write(leasesDir+"/"+network+"/"+address, id+"\r\neth0")
	m.write(leasesDir+"/"+network+"/last_reserved_ip.0", address)
}

// podmanBeside gives a node containers of podman, which call the same plugins.
func podmanBeside(m *machine) {
	m.result("cbr0", podID, "01234567-89ab-cdef-0123-456789abcdef", "cni0", "veth1", "10.244.5.2")
	m.result("podman", podmanID, "", "cni-podman0", "veth7", "10.88.0.5")
	m.write("/etc/cni/net.d/87-podman-bridge.conflist",
		`{"name":"podman","plugins":[{"type":"bridge","bridge":"cni-podman0"}]}`)
	m.write("/run/netns/cni-2", "")
	m.mounts = append(m.mounts, "/run/netns/cni-2")
	m.writeMounts()
	m.links = append(m.links, link{"cni-podman0", "bridge", ""}, link{"veth7", "veth", "cni-podman0"})
}

func TestWhatPodmanHasInTheSameFoldersStays(t *testing.T) {
	m := newNode(t)
	podmanBeside(m)
	// Podman may also have a container on the bridge of pods.
	m.result("cbr0", "3333", "", "cni0", "veth8", "10.244.5.9")
	m.links = append(m.links, link{"veth8", "veth", "cni0"})
	status, log := m.reset()
	assert.Equal(t, status.State, spec.Succeeded, log)
	for name, stays := range map[string]bool{
		leasesDir + "/podman/10.88.0.5": true, leasesDir + "/podman/last_reserved_ip.0": true, leasesDir +
			"/cbr0/10.244.5.9": true,
		leasesDir + "/cbr0/10.244.5.2": false, resultsDir + "/podman-" + podmanID + "-eth0": true,
		resultsDir + "/cbr0-" + podID + "-eth0": false, resultsDir + "/cbr0-3333-eth0": true,
		"/etc/cni/net.d/87-podman-bridge.conflist": true, layout.FlannelConf: false,
		"/run/netns/cni-2": true, "/run/netns/cni-1": false,
	} {
		assert.Equal(t, m.host.Exists(name), stays, name)
	}
	assert.Assert(t, slices.Contains(m.mounts, "/run/netns/cni-2"))
	assert.DeepEqual(t, m.links[len(m.links)-4:], []link{
		{"cni0", "bridge", ""}, {"cni-podman0", "bridge", ""}, {"veth7", "veth", "cni-podman0"}, {
			"veth8", "veth",
			"cni0",
		},
	})
	m.calls = nil
	assert.Equal(t, m.plan().State, spec.Succeeded, "a second reset has nothing to do")
}

func TestPodNetworksComeFromConfigurationsOtherThanPodmans(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"none": {nil, nil},
		"a site": {
			map[string]string{"10-site.conflist": `{"name":"site"}`, "20-other.conf": `{"name":"other"}`},
			[]string{"site", "other"},
		},
		"podman":  {map[string]string{"87.conflist": `{"name":"podman","plugins":[{"bridge":"cni-podman0"}]}`}, nil},
		"nerdctl": {map[string]string{"nerdctl.conflist": `{"name":"bridge","plugins":[{"bridge":"nerdctl0"}]}`}, nil},
		"both": {map[string]string{
			"05-podman.conflist": `{"name":"podman","plugins":[{"bridge":"cni-podman1"}]}`,
			"10-calico.conflist": `{"name":"k8s-pod-network"}`,
		}, []string{"k8s-pod-network"}},
		"what cannot be read": {map[string]string{
			"05-x.conflist": "{", "06-y.conflist": `{"name":"y"}`,
			"01-note.txt": `{"name":"n"}`,
		}, []string{"y"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := place(t, "")
			for file, content := range test.files {
				m.write("/etc/cni/net.d/"+file, content)
			}
			assert.DeepEqual(t, configuredNetworks(m.host), test.want)
		})
	}
}

func TestWhoseARuleIsStandsInItsComment(t *testing.T) {
	p := known("cbr0", podID)
	p.others.ids["3333"] = true
	for comment, want := range map[string]owner{
		`name: "cbr0" id: "` + podID + `"`: ownedByPods, `dnat name: "cbr0" id: "` + podID + `"`: ownedByPods,
		`dnat name: "cbr0" id: "` + podID[:30]: ownedByPods, `name: "cbr0" id: "` + podmanID + `"`: ownedByPods,
		`name: "cbr0" id: "3333"`: ownedByOthers, `name: "podman" id: "` + podmanID + `"`: ownedByOthers,
		`name: "cbr" id: "4"`: ownedByOthers, `name: "elsewhere" id: "` + podID + `"`: ownedByPods,
		"0123456789abcdef, net: cbr0, if: eth0, id: " + podID:      ownedByPods,
		"0123456789abcdef, net: podman, if: eth0, id: " + podmanID: ownedByOthers,
		podID:                              ownedByPods,
		podmanID:                           ownedByOthers,
		"":                                 unknown,
		"CNI portfwd masquerade mark":      unknown,
		`my rule for name: "cbr0" id: "1"`: unknown,
	} {
		assert.Equal(t, p.ofComment(comment), want, comment)
	}
}

// pluginRules are those that the plugins portmap, bridge and firewall make for a pod, in the words of iptables.
func pluginRules(network, id, address, hash, bridge string) []string {
	comment := fmt.Sprintf(`name: "%s" id: "%s"`, network, id)
	return []string{
		"nat|-N|CNI-" + hash, "nat|-A|CNI-" + hash + "|-d|" + address + "/24|-m|comment|--comment|" + comment +
			"|-j|ACCEPT",
		"nat|-A|POSTROUTING|-s|" + address + "/32|-m|comment|--comment|" + comment + "|-j|CNI-" + hash,
		"nat|-N|CNI-DN-" + hash, "nat|-A|CNI-DN-" + hash + "|-p|tcp|-j|DNAT|--to-destination|" + address + ":80",
		"nat|-A|CNI-HOSTPORT-DNAT|-p|tcp|-m|comment|--comment|dnat " + comment + "|-j|CNI-DN-" + hash,
		"filter|-A|CNI-FORWARD|-d|" + address + "/32|-m|conntrack|--ctstate|RELATED,ESTABLISHED|-j|ACCEPT",
		"filter|-A|CNI-FORWARD|-s|" + address + "/32|-j|ACCEPT",
		"filter|-A|CNI-ISOLATION-STAGE-1|-i|" + bridge + "|!|-o|" + bridge + "|-j|CNI-ISOLATION-STAGE-2",
		"filter|-A|CNI-ISOLATION-STAGE-2|-o|" + bridge + "|-j|DROP",
	}
}

// sharedRules are those that these plugins make once for all.
var sharedRules = []string{
	"nat|-N|CNI-HOSTPORT-DNAT", "nat|-N|CNI-HOSTPORT-SETMARK", "nat|-N|CNI-HOSTPORT-MASQ",
	"nat|-A|CNI-HOSTPORT-SETMARK|-m|comment|--comment|CNI portfwd masquerade mark|-j|MARK|--or-mark|0x2000",
	"nat|-A|CNI-HOSTPORT-MASQ|-m|mark|--mark|0x2000/0x2000|-j|MASQUERADE",
	"nat|-A|PREROUTING|-m|addrtype|--dst-type|LOCAL|-j|CNI-HOSTPORT-DNAT",
	"nat|-A|POSTROUTING|-m|comment|--comment|CNI portfwd requiring masquerade|-j|CNI-HOSTPORT-MASQ",
	"filter|-N|CNI-ADMIN", "filter|-N|CNI-FORWARD", "filter|-A|CNI-FORWARD|-m|comment|--comment|CNI firewall " +
		"plugin admin overrides|-j|CNI-ADMIN",
	"filter|-A|FORWARD|-m|comment|--comment|CNI firewall plugin rules|-j|CNI-FORWARD",
	"filter|-N|CNI-ISOLATION-STAGE-1", "filter|-N|CNI-ISOLATION-STAGE-2", "filter|-A|FORWARD|-j|CNI-ISOLATION-STAGE-1",
	"filter|-A|CNI-ISOLATION-STAGE-1|-j|RETURN", "filter|-A|CNI-ISOLATION-STAGE-2|-j|RETURN",
}

// TestOnlyPodsRulesOfPluginsAreRemoved has iptables itself make the rules, of both kinds where they are installed.
func TestOnlyPodsRulesOfPluginsAreRemoved(t *testing.T) {
	pods := pluginRules("cbr0", podID, "10.244.5.2", "0123456789abcdef0123", "cni0")
	podman := pluginRules("podman", podmanID, "10.88.0.5", "fedcba98765432100123", "cni-podman0")
	for _, kind := range []string{"nft", "legacy"} {
		t.Run(kind, func(t *testing.T) {
			program, err := exec.LookPath("iptables-" + kind)
			if err != nil {
				t.Skipf("there is no iptables-%s here", kind)
			}
			n := savesOf(t)
			var alone, before, beside, proven, saved string
			apart(t, func() (err error) {
				networks := known("cbr0", podID)
				find := func() string {
					rules, nftErr := (linux{}).Rules(networks)
					legacy, legacyErr := findLegacy(t.Context(), n, networks)
					err = errors.Join(err, nftErr, legacyErr)
					return strings.Join(append(rules, legacy...), "\n")
				}
				remove := func() error {
					return errors.Join((linux{}).RemoveRules(networks), removeLegacy(t.Context(), n, networks))
				}
				if err := iptables(program, append(slices.Clone(sharedRules), pods...)...); err != nil {
					return err
				}
				if err := remove(); err != nil {
					return err
				}
				alone = save(program)
				if err := iptables(program, append(append(slices.Clone(sharedRules), podman...),
					"filter|-A|CNI-ADMIN|-s|192.0.2.1|-j|DROP",
					"filter|-A|CNI-ADMIN|-s|10.244.5.2|-j|DROP")...); err != nil {
					return err
				}
				before = save(program)
				networks.others.networks["podman"], networks.others.ids[podmanID] = true, true
				if err := iptables(program, pods...); err != nil {
					return err
				}
				beside = find()
				if err := remove(); err != nil {
					return err
				}
				proven, saved = find(), save(program)
				return err
			})
			assert.Assert(t, !strings.Contains(alone, "CNI-"), alone)
			assert.Assert(t, strings.Contains(beside, "CNI-0123456789abcdef0123") &&
				strings.Contains(beside, "CNI-DN-0123456789abcdef0123"), beside)
			assert.Assert(t, !strings.Contains(beside, "fedcba"), beside)
			assert.Equal(t, proven, "")
			assert.Equal(t, saved, before)
		})
	}
}

// iptables makes rules: "table|-A|CHAIN|…".
func iptables(program string, rules ...string) error {
	for _, rule := range rules {
		argv := append([]string{"-w", "-t"}, strings.Split(rule, "|")...)
		if output, err := exec.Command(program, argv...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", rule, err, output)
		}
	}
	return nil
}

// save prints the rules, without the numbers and the remarks that differ from time to time.
func save(program string) string {
	output, _ := exec.Command(program + "-save").Output()
	var lines []string
	for line := range strings.Lines(string(output)) {
		if !strings.HasPrefix(line, "#") {
			line, _, _ = strings.Cut(line, " [")
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}

func TestTablesOfPluginsGoWhenOnlyPodsAreInThem(t *testing.T) {
	for name, others := range map[string]bool{"only pods": false, "podman beside": true} {
		t.Run(name, func(t *testing.T) {
			networks := known("cbr0", podID)
			if others {
				networks.others.networks["podman"], networks.others.ids[podmanID] = true, true
			}
			var found, left []string
			rules := 0
			apart(t, func() error {
				c, err := nftables.New()
				if err != nil {
					return err
				}
				table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "cni_hostport"})
				ports := c.AddChain(&nftables.Chain{Table: table, Name: "hostports"})
				comments := []string{podID}
				if others {
					comments = append(comments, podmanID)
				}
				for _, comment := range comments {
					c.AddRule(&nftables.Rule{
						Table: table, Chain: ports, Exprs: []expr.Any{&expr.Counter{}},
						UserData: userdata.AppendString(nil, userdata.TypeComment, comment),
					})
				}
				if err := c.Flush(); err != nil {
					return err
				}
				if found, err = (linux{}).Rules(networks); err != nil {
					return err
				}
				if err := (linux{}).RemoveRules(networks); err != nil {
					return err
				}
				tables, err := c.ListTables()
				for _, one := range tables {
					left = append(left, one.Name)
					of, listErr := c.GetRules(one, ports)
					rules, err = len(of), errors.Join(err, listErr)
				}
				return err
			})
			if others {
				assert.DeepEqual(t, found, []string{"ip cni_hostport hostports, a rule for pods"})
				assert.DeepEqual(t, left, []string{"cni_hostport"})
				assert.Equal(t, rules, 1)
				return
			}
			assert.DeepEqual(t, found, []string{"ip cni_hostport"})
			assert.Equal(t, len(left), 0, "%v", left)
		})
	}
}

// TestOnlyVirtualServersOfKubeProxyAreChosen simulates the kernel's answers: not every kernel has virtual servers.
func TestOnlyVirtualServersOfKubeProxyAreChosen(t *testing.T) {
	number := func(n uint16) *uint16 { return &n }
	sets := []netlink.IPSetResult{
		{SetName: "KUBE-NODE-PORT-TCP", Entries: []netlink.IPSetEntry{{Port: number(30080)}}},
		{SetName: "site-ports", Entries: []netlink.IPSetEntry{{Port: number(443)}}},
		{SetName: "KUBE-CLUSTER-IP", Entries: []netlink.IPSetEntry{{Port: number(5432)}}},
	}
	server := func(address string, protocol, port uint16) *ipvs.Service {
		return &ipvs.Service{Address: net.ParseIP(address), Protocol: protocol, Port: port}
	}
	service, dns := server("10.96.0.1", unix.IPPROTO_TCP, 443), server("fd00::a", unix.IPPROTO_UDP, 53)
	nodePort := server("192.0.2.7", unix.IPPROTO_TCP, 30080)
	others := []*ipvs.Service{
		server("192.0.2.100", unix.IPPROTO_TCP, 443), server("192.0.2.100", unix.IPPROTO_UDP, 30080),
		server("192.0.2.100", unix.IPPROTO_TCP, 5432),
		{FWMark: 7},
		{
			FWMark: 8, Port: 30080,
			Protocol: unix.IPPROTO_TCP,
		},
	}
	chosen := ofKubeProxy(append([]*ipvs.Service{service, dns, nodePort}, others...),
		[]net.IP{net.ParseIP("10.96.0.1").To4(), net.ParseIP("fd00::a")}, nodePorts(sets))
	assert.Equal(t, len(chosen), 3)
	for i, want := range []*ipvs.Service{service, dns, nodePort} {
		assert.Assert(t, chosen[i] == want)
	}
	assert.Equal(t, len(ofKubeProxy(others, nil, nodePorts(nil))), 0, "a machine of keepalived's")
}

func TestARuleOfTheOwnersKeepsItsChain(t *testing.T) {
	chains := []chain{
		{"CNI-FORWARD", []rule{{jump: ownersChain}, {source: "10.244.5.2", jump: "ACCEPT"}}},
		{ownersChain, []rule{{source: "10.244.5.2", jump: "DROP"}}},
	}
	chosen := known("cbr0", podID).selectRemoval(chains)
	assert.DeepEqual(t, chosen.rules, map[string][]int{"CNI-FORWARD": {1}})
	assert.Equal(t, len(chosen.chains), 0)
	chains[1].rules = nil
	assert.DeepEqual(t, known("cbr0", podID).selectRemoval(chains).chains, []string{"CNI-FORWARD", ownersChain})
}
