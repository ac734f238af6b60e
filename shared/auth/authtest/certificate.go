package authtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// CA is an authority that issues certificates with a root of its own.
type CA struct {
	Root *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA returns an authority with a new root.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root for tests"},
		NotBefore: Now.AddDate(-1, 0, 0), NotAfter: Now.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key := newKey(tb)
	return &CA{Root: create(tb, template, template, key, key), key: key}
}

// ClientTemplate returns the template of an honest client certificate, good for a day around Now.
func ClientTemplate(service string, env auth.Environment) *x509.Certificate {
	id, _ := url.Parse(auth.MustSubject(service).SPIFFE(env)) // made of what a URL may hold
	return &x509.Certificate{
		SerialNumber: big.NewInt(0xad3e0ebc), Subject: pkix.Name{CommonName: service}, URIs: []*url.URL{id},
		NotBefore: Now.Add(-12 * time.Hour), NotAfter: Now.Add(12 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// Issue issues what a template asks for, with a new key.
func (c *CA) Issue(tb testing.TB, template *x509.Certificate) tls.Certificate {
	tb.Helper()
	key := newKey(tb)
	leaf := create(tb, template, c.Root, key, c.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// Pool returns the set of the authority's root alone.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.Root)
	return pool
}

// CertificatePEM returns a certificate as text.
func CertificatePEM(cert *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func create(tb testing.TB, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}
