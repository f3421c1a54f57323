package lab

import (
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"gotest.tools/v3/assert"
)

func TestResolverKnowsOnlyTheLabsMachines(t *testing.T) {
	known := map[string]netip.Addr{"m1": netip.MustParseAddr("10.117.0.101")}
	for name, c := range map[string]struct {
		kind   dnsmessage.Type
		code   dnsmessage.RCode
		answer string
	}{
		"M1.":              {dnsmessage.TypeA, dnsmessage.RCodeSuccess, "10.117.0.101"},
		"m1.example.org.":  {dnsmessage.TypeA, dnsmessage.RCodeSuccess, "10.117.0.101"},
		"m1.":              {dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, ""},
		"registry.k8s.io.": {dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
	} {
		asked := dnsmessage.Message{
			Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
			Questions: []dnsmessage.Question{
				{Name: dnsmessage.MustNewName(name), Type: c.kind, Class: dnsmessage.ClassINET},
			},
		}
		question, err := asked.Pack()
		assert.NilError(t, err)
		packed, err := resolve(known, question)
		assert.NilError(t, err, name)
		var reply dnsmessage.Message
		assert.NilError(t, reply.Unpack(packed))
		assert.Equal(t, reply.ID, uint16(7))
		assert.Equal(t, reply.RCode, c.code, name)
		if c.answer == "" {
			assert.Equal(t, len(reply.Answers), 0, name)
			continue
		}
		address := reply.Answers[0].Body.(*dnsmessage.AResource)
		assert.Equal(t, netip.AddrFrom4(address.A).String(), c.answer, name)
	}
	_, err := resolve(known, []byte("x"))
	assert.ErrorContains(t, err, "parsing its header")
}
