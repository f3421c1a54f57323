package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/pki"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func server() pki.Leaf {
	return pki.Leaf{
		CommonName: "kube-apiserver", Hosts: []string{"kubernetes", "10.96.0.1"},
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

func authority(t *testing.T) *pki.Authority {
	t.Helper()
	made, err := pki.NewAuthority("kubernetes", now)
	assert.NilError(t, err)
	return made
}

func TestSignedCertificatesAreTrustedThroughTheirAuthority(t *testing.T) {
	ca := authority(t)
	pair, err := ca.Issue(server(), now)
	assert.NilError(t, err)
	loaded, err := tls.X509KeyPair(pair.Cert, pair.Key)
	assert.NilError(t, err)

	roots := x509.NewCertPool()
	assert.Assert(t, roots.AppendCertsFromPEM(ca.Cert))
	for _, host := range []string{"kubernetes", "10.96.0.1"} {
		_, err = loaded.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now})
		assert.NilError(t, err)
	}
	_, err = loaded.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "10.96.0.2", CurrentTime: now})
	assert.ErrorContains(t, err, "10.96.0.2")
}

func TestCertificateIsWornWhenAnyPropertyDiffers(t *testing.T) {
	ca := authority(t)
	pair, err := ca.Issue(server(), now)
	assert.NilError(t, err)
	other, err := ca.Issue(server(), now)
	assert.NilError(t, err)

	for _, tt := range []struct {
		name   string
		ca     *pki.Authority
		pair   pki.Pair
		change func(*pki.Leaf)
		after  time.Duration
		worn   string
	}{
		{name: "as wanted", ca: ca, pair: pair},
		{
			name: "hosts in another order", ca: ca, pair: pair,
			change: func(l *pki.Leaf) { l.Hosts = []string{"10.96.0.1", "kubernetes"} },
		},
		{name: "91 days before its end", ca: ca, pair: pair, after: pki.LeafLife - 91*24*time.Hour},
		{
			name: "89 days before its end", ca: ca, pair: pair, after: pki.LeafLife - 89*24*time.Hour,
			worn: "it ends on 2027-03-01",
		},
		{
			name: "another host", ca: ca, pair: pair,
			change: func(l *pki.Leaf) { l.Hosts = append(l.Hosts, "10.0.0.1") },
			worn:   "it is for other addresses",
		},
		{
			name: "a host less", ca: ca, pair: pair, change: func(l *pki.Leaf) { l.Hosts = l.Hosts[:1] },
			worn: "it is for other addresses",
		},
		{
			name: "another subject", ca: ca, pair: pair,
			change: func(l *pki.Leaf) { l.Organizations = []string{"system:masters"} },
			worn:   "it is for another subject",
		},
		{
			name: "another use", ca: ca, pair: pair, change: func(l *pki.Leaf) { l.Usages = nil },
			worn: "it is for another use",
		},
		{name: "another authority", ca: authority(t), pair: pair, worn: "another authority signed it"},
		{
			name: "another's key", ca: ca, pair: pki.Pair{Cert: pair.Cert, Key: other.Key},
			worn: "its key is not its own",
		},
		{name: "nothing", ca: ca, worn: "there is none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leaf := server()
			if tt.change != nil {
				tt.change(&leaf)
			}
			assert.Equal(t, tt.ca.Worn(tt.pair, leaf, now.Add(tt.after)), tt.worn)
		})
	}
}

func TestACertificateNeverOutlivesItsAuthority(t *testing.T) {
	ca := authority(t)
	late := now.Add(pki.AuthorityLife - 24*time.Hour)
	pair, err := ca.Issue(server(), late)
	assert.NilError(t, err)
	ends, err := pki.Expiry(pair.Cert)
	assert.NilError(t, err)
	assert.Equal(t, ends, ca.NotAfter())
	assert.Equal(t, ca.Worn(pair, server(), late), "", "renewing it would change nothing")
}

func TestAnAuthorityIsReadBackOnlyWithItsOwnKey(t *testing.T) {
	ca, other := authority(t), authority(t)
	again, err := pki.LoadAuthority(ca.Pair)
	assert.NilError(t, err)
	pair, err := again.Issue(server(), now)
	assert.NilError(t, err)
	assert.Equal(t, ca.Worn(pair, server(), now), "")

	_, err = pki.LoadAuthority(pki.Pair{Cert: ca.Cert, Key: other.Key})
	assert.ErrorContains(t, err, "belongs to another certificate")
	_, err = pki.LoadAuthority(pair)
	assert.ErrorContains(t, err, "is not of an authority")
	_, err = pki.LoadAuthority(pki.Pair{Cert: ca.Cert, Key: []byte("a secret text")})
	assert.ErrorContains(t, err, "it is not PEM")
}

func TestFitReturnsTheEndOrTheReason(t *testing.T) {
	ca := authority(t)
	leaf := server()
	leaf.Life = time.Hour
	pair, err := ca.Issue(leaf, now)
	assert.NilError(t, err)
	ends, why := pki.Fit(ca.Cert, pair, leaf)
	assert.Equal(t, why, "")
	assert.Assert(t, ends.Equal(now.Add(time.Hour)), ends)

	leaf.Organizations = []string{"others"}
	_, why = pki.Fit(ca.Cert, pair, leaf)
	assert.Equal(t, why, "it is for another subject")
	_, why = pki.Fit(authority(t).Cert, pair, server())
	assert.Equal(t, why, "another authority signed it")
}

func TestRequestHasSubjectAndSignatureOfItsKey(t *testing.T) {
	text, key, err := pki.Request(pki.Leaf{CommonName: "alice", Organizations: []string{"dev"}})
	assert.NilError(t, err)
	block, _ := pem.Decode(text)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	assert.NilError(t, err)
	assert.NilError(t, request.CheckSignature())
	assert.Equal(t, request.Subject.CommonName, "alice")
	assert.DeepEqual(t, request.Subject.Organization, []string{"dev"})
	block, _ = pem.Decode(key)
	own, err := x509.ParseECPrivateKey(block.Bytes)
	assert.NilError(t, err)
	assert.Assert(t, own.PublicKey.Equal(request.PublicKey))
}
