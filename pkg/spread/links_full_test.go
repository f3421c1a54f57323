//go:build full

package spread

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// network is a switch and hosts, each in a network namespace of its own behind a shaped link. It needs root, and
// removes all of it when the test ends.
type network struct {
	t      *testing.T
	prefix string
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, prefix: fmt.Sprintf("argosy-spread-%d-", os.Getpid())}
	n.namespace("switch")
	n.in("switch", "ip", "link", "add", "bridge", "type", "bridge")
	n.in("switch", "ip", "link", "set", "bridge", "up")
	return n
}

func (n *network) namespace(name string) {
	n.t.Helper()
	n.command("ip", "netns", "add", n.prefix+name)
	n.t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", n.prefix+name).Run() })
}

// host makes a host with an address whose link carries so many Mbit a second in each direction.
func (n *network) host(index int, mbit int) (name string) {
	n.t.Helper()
	name = strconv.Itoa(index)
	n.namespace(name)
	port := "port" + name
	n.in(name, "ip", "link", "add", "eth0", "address", hardwareOf(index), "type", "veth",
		"peer", "name", port, "netns", n.prefix+"switch")
	n.in(name, "ip", "address", "add", addressOf(index)+"/16", "dev", "eth0")
	n.in(name, "ip", "link", "set", "eth0", "up")
	n.in("switch", "ip", "link", "set", port, "master", "bridge", "up")
	n.shape(name, "eth0", mbit)
	n.shape("switch", port, mbit)
	return name
}

// acquaint tells hosts each other's hardware addresses: the kernel's table of those that it learns is one for all
// namespaces, and too small for so many.
func (n *network) acquaint(hosts int) {
	n.t.Helper()
	var all strings.Builder
	for index := range hosts {
		fmt.Fprintf(&all, "neighbour replace %s lladdr %s nud permanent dev eth0\n", addressOf(index),
			hardwareOf(index))
	}
	for index := range hosts {
		batch := exec.Command("ip", "-netns", n.prefix+strconv.Itoa(index), "-batch", "-")
		batch.Stdin = strings.NewReader(all.String())
		output, err := batch.CombinedOutput()
		assert.NilError(n.t, err, "%s", output)
	}
}

func hardwareOf(index int) string { return fmt.Sprintf("02:00:0a:4d:%02x:%02x", index/256, index%256) }

func addressOf(index int) string { return fmt.Sprintf("10.77.%d.%d", index/250, index%250+1) }

// shape bounds the traffic that leaves an interface. The burst is that of 4 ms.
func (n *network) shape(namespace, device string, mbit int) {
	n.in(namespace, "tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", fmt.Sprintf("%dmbit", mbit),
		"burst", fmt.Sprintf("%dk", max(16, mbit/2)), "latency", "50ms")
}

// in runs a command in a namespace.
func (n *network) in(namespace string, args ...string) string {
	n.t.Helper()
	return n.command("ip", append([]string{"netns", "exec", n.prefix + namespace}, args...)...)
}

func (n *network) command(name string, args ...string) string {
	n.t.Helper()
	output, err := exec.Command(name, args...).CombinedOutput()
	assert.NilError(n.t, err, "%s %s: %s", name, strings.Join(args, " "), output)
	return string(output)
}

// sent returns how many bytes a host has sent over its link.
func (n *network) sent(host string) int64 {
	n.t.Helper()
	text := n.in(host, "cat", "/sys/class/net/eth0/statistics/tx_bytes")
	sent, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	assert.NilError(n.t, err)
	return sent
}

// program is this test's own program, started on a host with another task.
func (n *network) program(host, task string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	assert.NilError(n.t, err)
	program := exec.Command("ip", append([]string{"netns", "exec", n.prefix + host, self}, args...)...)
	program.Env = append(os.Environ(), taskVariable+"="+task)
	program.Stderr = os.Stderr
	return program
}
