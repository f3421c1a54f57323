package inventory_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/inventory"
)

func TestHostsOfAnSSHConfigurationAreRead(t *testing.T) {
	hosts, err := inventory.SSHConfig([]byte(`
Host gpu-1
  HostName 192.0.2.11
  User ops
Host gpu-2 gpu-3
  HostName %h.example.com
  Port 2222
Host dmz-*
  User nobody
Host dmz-1
  HostName 198.51.100.7
  ProxyJump jump@gate:2200,inner
Host gate
  HostName gate.example.com
Host *
  User root
`))
	assert.NilError(t, err)
	assert.DeepEqual(t, hosts, []inventory.Host{
		{Name: "gpu-1", Address: "192.0.2.11", User: "ops"},
		{Name: "gpu-2", Address: "gpu-2.example.com", User: "root", Port: 2222},
		{Name: "gpu-3", Address: "gpu-3.example.com", User: "root", Port: 2222},
		{Name: "dmz-1", Address: "198.51.100.7", User: "nobody", Bastions: []inventory.Hop{
			{Address: "gate.example.com", User: "jump", Port: 2200}, {Address: "inner", User: "root"},
		}},
		{Name: "gate", Address: "gate.example.com", User: "root"},
	})
}

func TestABastionForAllHostsIsNotItsOwn(t *testing.T) {
	hosts, err := inventory.SSHConfig([]byte("Host gate\n  HostName 192.0.2.1\nHost m1\n  HostName 192.0.2.2\n" +
		"Host *\n  ProxyJump gate\n"))
	assert.NilError(t, err)
	assert.DeepEqual(t, hosts, []inventory.Host{
		{Name: "gate", Address: "192.0.2.1"},
		{Name: "m1", Address: "192.0.2.2", Bastions: []inventory.Hop{{Address: "192.0.2.1"}}},
	})
}

// Both have the same hosts, groups and variables.
const (
	ini = `
alone ansible_host=192.0.2.1   # before any group

[gpu]
gpu[01:02] ansible_port=2222
"gpu9:22" ansible_host='192.0.2.9'

[gpu:vars]
ansible_user=ops

[workers:children]
gpu

[workers:vars]
ansible_user = nobody

[all:vars]
ansible_user=root
[local]
localhost ansible_connection=local
`
	inYAML = `---
ungrouped: {hosts: {alone: {ansible_host: 192.0.2.1}}}
all:
  vars: {ansible_user: root}
  children:
    local: {hosts: {localhost: {ansible_connection: local}}}
    workers:
      vars: {ansible_user: nobody, ansible_port: 22}
      children:
        gpu:
          vars: {ansible_user: ops}
          hosts:
            gpu[01:02]: {ansible_port: 2222}
            gpu9: {ansible_host: 192.0.2.9}
`
)

func TestHostsOfAnAnsibleInventoryAreRead(t *testing.T) {
	for name, text := range map[string]string{"INI": ini, "YAML": inYAML} {
		hosts, err := inventory.Ansible([]byte(text))
		assert.NilError(t, err, name)
		byName := map[string]inventory.Host{}
		for _, host := range hosts {
			byName[host.Name] = host
		}
		workers := []string{"gpu", "workers"}
		assert.DeepEqual(t, byName, map[string]inventory.Host{
			"alone": {Name: "alone", Address: "192.0.2.1", User: "root", Groups: []string{}},
			"gpu01": {Name: "gpu01", Address: "gpu01", User: "ops", Port: 2222, Groups: workers},
			"gpu02": {Name: "gpu02", Address: "gpu02", User: "ops", Port: 2222, Groups: workers},
			"gpu9":  {Name: "gpu9", Address: "192.0.2.9", User: "ops", Port: 22, Groups: workers},
		})
		chosen, err := inventory.Matching(hosts, []string{"gpu"})
		assert.NilError(t, err, name)
		assert.Equal(t, len(chosen), 3, "a group is a choice of its hosts")
	}
}

func TestATableOfHostsIsRead(t *testing.T) {
	hosts, err := inventory.CSV([]byte("\ufeffAddress, name,port\n192.0.2.1, m1,\n# a comment\n" +
		"\"192.0.2.2\",m2,2222\n"))
	assert.NilError(t, err)
	assert.DeepEqual(t, hosts, []inventory.Host{
		{Name: "m1", Address: "192.0.2.1"}, {Name: "m2", Address: "192.0.2.2", Port: 2222},
	})
}

func TestFilesThatCannotBeMeantAreRefused(t *testing.T) {
	ansible, table, ssh := inventory.Ansible, inventory.CSV, inventory.SSHConfig
	for text, test := range map[string]struct {
		read func([]byte) ([]inventory.Host, error)
		says string
	}{
		"m1 ansible_port=x":                  {ansible, "line 1"},
		"m1 ansible_port=70000":              {ansible, `reading host "m1": reading port "70000"`},
		"m1 ansible_host={{ ip }}":           {ansible, "is no variable of host"},
		"m1 ansible_host='{{ ip }}'":         {ansible, "is a template"},
		"web[a:c]":                           {ansible, "only ranges of numbers"},
		"web[1:99999999999]":                 {ansible, "the range has to rise"},
		"m1 ansible_host='x":                 {ansible, "does not end"},
		"[a:b]":                              {ansible, `unknown section "[a:b]"`},
		"#!/usr/bin/python\nprint()":         {ansible, "it is a program"},
		"all: {hosts: [m1]}":                 {ansible, "hosts is a list"},
		"all: {hosts: {m1: 3}}":              {ansible, `decoding host "m1"`},
		"name,adress\nm1,192.0.2.1":          {table, `unknown column "adress"`},
		"name\nm1":                           {table, `no column "address"`},
		"name,address\nm1,":                  {table, "reading line 2 of the table: name and address"},
		"name,address\nm1,a,b":               {table, "wrong number of fields"},
		"":                                   {table, "reading the head of the table"},
		"Host m1\n  Port many":               {ssh, `reading port "many"`},
		"Host m1\n  ProxyCommand nc gate 22": {ssh, "only ProxyJump is known"},
		"Host m1\n  ProxyJump :22":           {ssh, "it has no host"},
	} {
		_, err := test.read([]byte(text))
		if test.says == "line 1" {
			assert.ErrorContains(t, err, `reading port "x"`, text)
			continue
		}
		assert.ErrorContains(t, err, test.says, text)
	}
}

func TestNamesOfMachinesAreLabelsAndDiffer(t *testing.T) {
	for _, test := range []struct{ hosts, want, says string }{
		{"gpu-1.example.com GPU_2", "gpu-1 gpu-2", ""},
		{"a.north.example a.south.example b.north.example", "a-north-example a-south-example b", ""},
		{"192.0.2.1 192.0.2.2", "192-0-2-1 192-0-2-2", ""},
		{"a_b a-b", "", `rename one of them`},
		{"-x", "", `naming the machine of host "-x"`},
		{strings.Repeat("x", 64), "", "no more than 63"},
	} {
		var hosts []inventory.Host
		for _, name := range strings.Fields(test.hosts) {
			hosts = append(hosts, inventory.Host{Name: name})
		}
		names, err := inventory.Names(hosts)
		if test.says != "" {
			assert.ErrorContains(t, err, test.says, test.hosts)
			continue
		}
		assert.NilError(t, err, test.hosts)
		assert.Equal(t, strings.Join(names, " "), test.want)
	}
}

func TestAPatternThatMatchesNothingIsAnError(t *testing.T) {
	hosts := []inventory.Host{{Name: "m1"}, {Name: "m2"}, {Name: "n1"}}
	chosen, err := inventory.Matching(hosts, []string{"m*"})
	assert.NilError(t, err)
	assert.Equal(t, len(chosen), 2)
	_, err = inventory.Matching(hosts, []string{"m1", "x*"})
	assert.ErrorContains(t, err, `no host or group matches "x*"; there are m1, m2, n1`)
	_, err = inventory.Matching(hosts, []string{"["})
	assert.ErrorContains(t, err, `reading pattern "["`)
}

func FuzzFilesWithMachines(f *testing.F) {
	for _, text := range []string{ini, inYAML, "Host m1\n  ProxyJump a@b:1,c\n", "name,address\nm1,192.0.2.1\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, read := range []func([]byte) ([]inventory.Host, error){
			inventory.Ansible, inventory.CSV, inventory.SSHConfig,
		} {
			hosts, err := read(text)
			if err != nil {
				continue
			}
			for _, host := range hosts {
				assert.Assert(t, host.Name != "" && host.Port >= 0 && host.Port < 65536, "%+v", host)
			}
			_, _ = inventory.Names(hosts)
		}
	})
}
