package inspect

import (
	"net"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
)

func TestIdentityIsReadFromFiles(t *testing.T) {
	for name, test := range map[string]struct {
		files    map[string]string
		id, uuid string
	}{
		"none": {},
		"systemd's": {
			map[string]string{"/etc/machine-id": "1111\n", "/var/lib/dbus/machine-id": "2222\n"}, "1111", "",
		},
		"only D-Bus's": {map[string]string{"/etc/machine-id": "", "/var/lib/dbus/machine-id": "2222\n"}, "2222", ""},
		"firmware's": {
			map[string]string{productFile: "03AA02FC-0414-0587-5D06-090A0B0C0D0E\n"},
			"",
			"03aa02fc-0414-0587-5d06-090a0b0c0d0e",
		},
		"zeros":         {map[string]string{productFile: "00000000-0000-0000-0000-000000000000\n"}, "", ""},
		"ones":          {map[string]string{productFile: "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF\n"}, "", ""},
		"not specified": {map[string]string{productFile: "Not Settable\n"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := machine(t, test.files)
			assert.Equal(t, MachineID(h), test.id)
			assert.Equal(t, productUUID(h), test.uuid)
		})
	}
}

const productFile = "/sys/class/dmi/id/product_uuid"

func TestMandatoryAccessControlIsShown(t *testing.T) {
	h, _ := machine(t, map[string]string{"/sys/fs/selinux/enforce": "1"})
	assert.Equal(t, selinux(h), "enforcing")
	h, _ = machine(t, map[string]string{"/sys/fs/selinux/enforce": "0"})
	assert.Equal(t, selinux(h), "permissive")
	h, _ = machine(t, nil)
	assert.Equal(t, selinux(h), "")
}

func TestInterfacesOfPodsAreLeftOut(t *testing.T) {
	h, _ := machine(t, map[string]string{
		"/proc/net/route": "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n" +
			"eth0 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0\neth1 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n",
		"/proc/net/ipv6_route": "00000000000000000000000000000000 00 00000000000000000000000000000000 00 " +
			"fe800000000000000000000000000001 00000400 1 0 00000003 eth1\n" +
			"00000000000000000000000000000000 00 00000000000000000000000000000000 00 " +
			"00000000000000000000000000000000 ffffffff 1 0 00200200 lo\n",
	})
	default4, default6 := defaultRoutes(h)
	assert.DeepEqual(t, default4, []string{"eth0"})
	assert.DeepEqual(t, default6, []string{"eth1"})

	network := func(cidr string) net.Addr {
		ip, ipNet, err := net.ParseCIDR(cidr)
		assert.NilError(t, err)
		return &net.IPNet{IP: ip, Mask: ipNet.Mask}
	}
	var found []spec.Interface
	for name, address := range map[string]string{
		"lo": "127.0.0.1/8", "cni0": "10.244.0.1/24", "flannel.1": "10.244.0.0/32", "docker0": "172.17.0.1/16",
		"eth2": "fe80::1/64", "eth0": "192.168.1.5/24",
	} {
		found = appendInterface(found, net.Interface{Name: name}, []net.Addr{network(address)}, default4, default6)
	}
	assert.DeepEqual(t, found, []spec.Interface{{Name: "eth0", Addresses: []string{"192.168.1.5"}, Default4: true}})
}
