package bootstrap

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 5280 §4.2.1.2 names keys by their SHA-1; nothing rests on its strength
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// RootCASecret is the secret whose versions hold the root CA's private key and certificate.
const RootCASecret = "isectech-ca-root" //nolint:gosec // the name of a secret, not a secret

// The root CA's certificate is valid for a year, and from a little before it was made, for clocks that
// are behind.
const (
	caLifetime = 365 * 24 * time.Hour
	caBackdate = 5 * time.Minute
)

// Certificate is the document certificates/<name>.
type Certificate struct {
	Kind          string    `json:"kind"`
	Serial        string    `json:"serial"`
	Fingerprint   string    `json:"sha256_fingerprint"`
	NotBefore     time.Time `json:"not_before"`
	NotAfter      time.Time `json:"not_after"`
	SecretVersion int64     `json:"secret_version"` // the active one
	PEM           string    `json:"certificate"`
}

// RootCARef is the document of the root CA.
var RootCARef = store.Ref{Collection: store.Certs, ID: "ca-root"}

func (p *Platform) makeRootCA(ctx context.Context) (bool, error) {
	if found, err := p.exists(ctx, RootCARef); found || err != nil {
		return false, err
	}
	keyPEM, cert, err := newRootCA(p.Now())
	if err != nil {
		return false, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	version, err := p.putSecret(ctx, RootCASecret, append(keyPEM, certPEM...))
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(cert.Raw)
	record := Certificate{
		Kind: "ca", Serial: cert.SerialNumber.Text(16), Fingerprint: hex.EncodeToString(sum[:]),
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, SecretVersion: version, PEM: string(certPEM),
	}
	return first(p.commit(ctx, store.Write{Ref: RootCARef, Data: record, If: store.Absent()}))
}

// newRootCA makes a self-signed CA (RFC 5280 §4.2) on ECDSA P-256.
func newRootCA(now time.Time) (keyPEM []byte, cert *x509.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	public, err := key.PublicKey.ECDH()
	if err != nil {
		return nil, nil, err
	}
	keyID := sha1.Sum(public.Bytes()) //nolint:gosec // see the import
	template := &x509.Certificate{
		SerialNumber:          serial.SetBit(serial, 127, 1), // always 128 bits, never negative
		Subject:               pkix.Name{Organization: []string{"iSECTECH"}, CommonName: "iSECTECH Root CA"},
		NotBefore:             now.Add(-caBackdate).UTC().Truncate(time.Second),
		NotAfter:              now.Add(caLifetime).UTC().Truncate(time.Second),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1, // an issuing intermediate, and leaves
		SubjectKeyId:          keyID[:],
		AuthorityKeyId:        keyID[:],
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("create certificate: %w", err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), cert, nil
}
